"""The baseline of all ratios: aiohttp that only reads the body and answers 200."""

import multiprocessing
import sys

from aiohttp import web

from telemetry_server.cli.workers import run, stop_on_signals
from telemetry_server.receive.connections import bind


async def answer(request):
    await request.read()
    return web.Response(body=b"{}", content_type="application/json")


async def serve(port):
    app = web.Application()
    app.router.add_post("/v1/pings", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.SockSite(runner, bind("127.0.0.1", port)).start()
    await stop_on_signals().wait()
    await runner.cleanup()


def worker(port):
    run(serve(port))


if __name__ == "__main__":
    port, workers = map(int, sys.argv[1:])
    others = [
        multiprocessing.get_context("spawn").Process(target=worker, args=(port,)) for _ in range(workers - 1)
    ]
    for other in others:
        other.start()
    worker(port)
    for other in others:
        other.terminate()
        other.join()
