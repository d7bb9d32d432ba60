"""The processes of one PGDATA: which there are, whether they recover, how they end."""

import asyncio
import os
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import psutil

from telemetry_server.store.embedded.errors import EmbeddedStuck

HANGS_AFTER_SECONDS = 30.0
"""How long PostgreSQL may take no connection without recovering. After a crash it ends its own processes
within five seconds; after disk errors PostgreSQL 18 can stay without a startup process for good."""

FAST_SECONDS, IMMEDIATE_SECONDS, KILL_SECONDS = 45.0, 10.0, 5.0
"""How long each way to end PostgreSQL may take; in all less than systemd waits (deploy/systemd)."""

_CHILD = "postgres: "
"""How the titles of all processes but the server's own begin."""

_POLL_SECONDS, _LOOK_SECONDS = 0.1, 1.0


@dataclass(frozen=True, slots=True)
class Processes:
    """The PostgreSQL on `pgdata`, running or not."""

    pgdata: Path

    def all(self) -> list[psutil.Process]:
        """The server and its children; of a killed server, the children that are still there."""
        found = {process.pid: process for process in _every_postgres()}
        return [process for process in found.values() if self._owns(process, found)]

    def server(self) -> int | None:
        """The process id of the server, while it runs."""
        return next((p.pid for p in self.all() if not title(p).startswith(_CHILD)), None)

    def recover(self) -> bool:
        """Whether a startup process replays the log, which takes as long as it takes."""
        return any(title(process).startswith(f"{_CHILD}startup") for process in self.all())

    async def end(self, *, at_once: bool = False) -> None:
        """Returns when none is left: by a fast shutdown unless `at_once`, an immediate one, or SIGKILL.

        What was committed survives each of them. Raises EmbeddedStuck.
        """
        ways = [
            (signal.SIGINT, FAST_SECONDS),
            (signal.SIGQUIT, IMMEDIATE_SECONDS),
            (signal.SIGKILL, KILL_SECONDS),
        ]
        for sign, seconds in ways[at_once:]:
            self._send(sign)
            if await self._gone(seconds):
                return
        left = ", ".join(str(process.pid) for process in self.all())
        raise EmbeddedStuck(
            f"The processes {left} of PostgreSQL do not end, not even by SIGKILL: the system holds them, "
            f"often because the disk of {self.pgdata} does not answer. Check it, or restart the machine."
        )

    def _send(self, sign: signal.Signals) -> None:
        """To the server, which passes it on. SIGKILL it cannot pass on: the others get it right after."""
        server = self.server()
        rest = [process.pid for process in self.all() if process.pid != server]
        for pid in [server, *rest] if sign == signal.SIGKILL else [server]:
            if pid is not None:
                with suppress(ProcessLookupError):
                    os.kill(pid, sign)

    async def _gone(self, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while self.all():
            if time.monotonic() > deadline:
                return False
            await asyncio.sleep(_POLL_SECONDS)
        return True

    def _owns(self, process: psutil.Process, found: Mapping[int, psutil.Process]) -> bool:
        """By its arguments, or where it works. A container may hide that, then by its parent.

        There, an orphan may be of any PostgreSQL that was killed; it counts as one of this.
        """
        if _serves(process, self.pgdata):
            return True
        with suppress(psutil.AccessDenied, psutil.NoSuchProcess):
            return bool(process.cwd() == str(self.pgdata))
        with suppress(psutil.NoSuchProcess):
            parent = found.get(process.ppid())
            return _serves(parent, self.pgdata) if parent else title(process).startswith(_CHILD)
        return False


@dataclass(slots=True)
class Hang:
    """Whether PostgreSQL hangs: it is there, and neither takes connections nor recovers, for too long.

    Ask only while it takes no connections.
    """

    processes: Processes
    _since: float | None = None
    _look_at: float = field(default=0.0)

    def lasts(self) -> bool:
        now = time.monotonic()
        if now >= self._look_at:
            self._look_at = now + _LOOK_SECONDS
            hangs = bool(self.processes.all()) and not self.processes.recover()
            self._since = (self._since or now) if hangs else None
        return self._since is not None and now - self._since > HANGS_AFTER_SECONDS


def _every_postgres() -> Iterator[psutil.Process]:
    """All but those that are ending: they have no arguments any more, and no memory."""
    for process in psutil.process_iter():
        with suppress(psutil.NoSuchProcess):
            if process.name() == "postgres" and process.cmdline():
                yield process


def _serves(process: psutil.Process, pgdata: Path) -> bool:
    with suppress(psutil.NoSuchProcess):
        command = process.cmdline()
        return ("-D", str(pgdata)) in pairwise(command)
    return False


def title(process: psutil.Process) -> str:
    """How it was called, or what it calls itself; of one that is gone, as of any child."""
    with suppress(psutil.NoSuchProcess):
        return " ".join(process.cmdline())
    return _CHILD
