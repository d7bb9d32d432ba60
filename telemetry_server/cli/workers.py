"""Server processes: this process, or several on one port, each restarted when it dies."""

import asyncio
import contextlib
import gc
import multiprocessing
import signal
import socket
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace
from typing import Any

from telemetry_server.app import create_app
from telemetry_server.keyring import Keyring
from telemetry_server.logs import Severity, log, take_over_libraries, write_held_lines
from telemetry_server.receive.connections import Listener, bind
from telemetry_server.settings import Settings

_RESTART_SECONDS = 1
_STOP_SECONDS = 30


@dataclass(frozen=True, slots=True)
class Site:
    """The arguments of a server process; pickled for a new process."""

    settings: Settings
    keyring: Keyring
    dsn: str
    host: str
    port: int

    @property
    def reachable_host(self) -> str:
        """The host for connections from this machine: loopback for an address that means "any"."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)  # noqa: S104  compared, not bound
        return f"[{host}]" if ":" in host else host

    def at_its_address(self) -> "Site":
        """The same; its settings have the address at which the server is reached, not 0.0.0.0 or port 0."""
        listen = f"{self.reachable_host}:{self.port}"
        return replace(self, settings=replace(self.settings, listen=listen))


async def serve_here(site: Site, stop: asyncio.Event, ready: Callable[[], None] = lambda: None) -> None:
    """Serves in this process until `stop` is set, then closes connections gracefully."""
    leaving = asyncio.Event()
    app = create_app(site.settings, site.keyring, site.dsn, leaving)
    listener = Listener(app, leaving)
    await listener.open(bind(site.host, site.port))
    gc.collect()
    gc.freeze()  # objects of the start-up stay; no collection needs to visit them
    gc.set_threshold(10_000, 20, 20)
    ready()
    await stop.wait()
    await listener.close()


async def serve_in_workers(site: Site, stop: asyncio.Event, ready: Callable[[], None] = lambda: None) -> None:
    """Serves in `settings.workers` processes until `stop` is set; one that dies is restarted."""
    context = multiprocessing.get_context("spawn")
    async with asyncio.TaskGroup() as group:
        for number in range(site.settings.workers):
            group.create_task(_keep_worker(context, site, number, stop))
        await _answering(site, stop)
        ready()


async def _keep_worker(context: Any, site: Site, number: int, stop: asyncio.Event) -> None:
    while not stop.is_set():
        worker = context.Process(target=_worker, args=(site,), name=f"worker {number}")
        worker.start()
        dead = asyncio.create_task(_ended(worker))
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait({dead, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if stop.is_set():
            await _stop_worker(worker, dead)
            return
        log("worker died", Severity.ERROR, worker=number, exit_code=worker.exitcode)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), _RESTART_SECONDS)


async def _ended(worker: Any) -> None:
    """Returns when the worker has ended. Uses no thread: the pool has few, and workers may be more."""
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(worker.sentinel, ended.set)
    try:
        await ended.wait()
    finally:
        loop.remove_reader(worker.sentinel)
    worker.join()


async def _stop_worker(worker: Any, dead: "asyncio.Task[None]") -> None:
    if worker.is_alive():
        worker.terminate()
    await asyncio.wait({dead}, timeout=_STOP_SECONDS)
    if worker.is_alive():
        worker.kill()
        await dead


async def _answering(site: Site, stop: asyncio.Event) -> None:
    """Returns when a worker accepts connections."""
    while not stop.is_set():
        with contextlib.suppress(OSError):
            _, writer = await asyncio.open_connection(site.reachable_host.strip("[]"), site.port)
            writer.close()
            return
        await asyncio.sleep(0.05)


def _worker(site: Site) -> None:
    """The main function of a worker process."""
    run(_serve_beside_parent(site))


async def _serve_beside_parent(site: Site) -> None:
    """Serves until SIGTERM, or until the parent process ends."""
    stop = stop_on_signals(only_terminate=True)
    parent = multiprocessing.parent_process()
    assert parent is not None
    asyncio.get_running_loop().add_reader(parent.sentinel, stop.set)
    await serve_here(site, stop)


def stop_on_signals(*, only_terminate: bool = False) -> asyncio.Event:
    """An event that SIGTERM and SIGINT set; with `only_terminate`, SIGINT is ignored.

    A terminal sends SIGINT to all processes: workers leave it to their parent.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    loop.add_signal_handler(signal.SIGINT, (lambda: None) if only_terminate else stop.set)
    return stop


def run(main: Coroutine[Any, Any, None]) -> None:
    """Runs `main` on uvloop if the extra `fast` is installed, else on the loop of asyncio."""
    try:
        from uvloop import new_event_loop  # noqa: PLC0415  an extra
    except ImportError:
        new_event_loop = None
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        take_over_libraries(runner.get_loop())
        try:
            runner.run(main)
        finally:
            write_held_lines(all_of_them=True)


def reserve(host: str, port: int) -> tuple[socket.socket, int]:
    """Binds the address for the workers without listening; returns the port, for 0 a free one.

    Raises OSError if another server listens there: only the processes of one server share a port.
    """
    bind(host, port, shared=False).close()
    holder = bind(host, port)
    return holder, holder.getsockname()[1]
