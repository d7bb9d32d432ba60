"""Worker processes: each is watched, however many there are."""

import asyncio
import multiprocessing
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor

from patience import patient, until

from telemetry_server.cli import workers

NAMES = {"worker 0", "worker 1", "worker 2"}


async def test_a_worker_that_dies_is_started_again_though_there_are_more_workers_than_threads(monkeypatch):
    monkeypatch.setattr(workers, "_worker", lambda _: time.sleep(1_000))
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
    context, stop = multiprocessing.get_context("fork"), asyncio.Event()
    watched = [
        asyncio.create_task(workers._keep_worker(context, None, number, stop)) for number in range(len(NAMES))
    ]
    try:
        before = await until_all_run()
        for name in sorted(NAMES, reverse=True):
            os.kill(before[name], signal.SIGKILL)
            assert (await until_all_run(but=before[name]))[name] != before[name]
    finally:
        stop.set()
        async with asyncio.timeout(patient(20)):
            await asyncio.gather(*watched)
    assert running() == {}


def running():
    return {child.name: child.pid for child in multiprocessing.active_children() if child.name in NAMES}


async def until_all_run(but=None):
    await until(lambda: running().keys() == NAMES and but not in running().values())
    return running()
