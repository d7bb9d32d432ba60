"""The processes of one PGDATA: finds them, whether they recover, and ends them."""

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
"""How long PostgreSQL may accept no connection without recovering. After a crash it ends its own processes
within five seconds; after disk errors PostgreSQL 18 can stay without a startup process for ever."""

FAST_SECONDS, IMMEDIATE_SECONDS, KILL_SECONDS = 45.0, 10.0, 5.0
"""The limit for each way to end PostgreSQL; together less than systemd's limit (deploy/systemd)."""

_CHILD = "postgres: "
"""The beginning of the titles of all processes except the server itself."""

_POLL_SECONDS, _LOOK_SECONDS = 0.1, 1.0


@dataclass(frozen=True, slots=True)
class Processes:
    """The processes of the PostgreSQL on `pgdata`, if it runs."""

    pgdata: Path

    def all(self) -> list[psutil.Process]:
        """The server and its children; of a killed server, its remaining children."""
        found = {process.pid: process for process in _every_postgres(self._user())}
        return [process for process in found.values() if self._owns(process, found)]

    def server(self) -> int | None:
        """The process id of the server; None if it does not run."""
        return next((p.pid for p in self.all() if not title(p).startswith(_CHILD)), None)

    def recover(self) -> bool:
        """Whether a startup process replays the log, for which there is no time limit."""
        return any(title(process).startswith(f"{_CHILD}startup") for process in self.all())

    async def end(self, *, at_once: bool = False) -> None:
        """Ends all: by a fast shutdown unless `at_once`, an immediate one, or SIGKILL.

        Committed data survives each of these. Raises EmbeddedStuck.
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
        """Sends it to the server, which forwards it, but not SIGKILL: the others get that right after."""
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

    def _user(self) -> int | None:
        """The number of the user whom the data belong to; None when they are gone."""
        with suppress(OSError):
            return self.pgdata.stat().st_uid
        return None

    def _owns(self, process: psutil.Process, found: Mapping[int, psutil.Process]) -> bool:
        """By its arguments or working directory; if a container hides that, by its parent.

        There, an orphan may be of any killed PostgreSQL; it counts as one of this PGDATA.
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
    """Whether PostgreSQL hangs: it runs, but neither accepts connections nor recovers, for too long.

    Call `lasts` only while it accepts no connections.
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


def _every_postgres(user: int | None) -> Iterator[psutil.Process]:
    """Those of the user: anyone may call a process "postgres". With None those of all users.

    Those that are ending are left out: they have no arguments and no memory, or are zombies, which stay for
    good where the first process of a container takes none away.
    """
    for process in psutil.process_iter():
        with suppress(psutil.NoSuchProcess):
            ours = process.name() == "postgres" and user in {None, process.uids().real}
            if ours and process.cmdline() and process.status() != psutil.STATUS_ZOMBIE:
                yield process


def _serves(process: psutil.Process, pgdata: Path) -> bool:
    with suppress(psutil.NoSuchProcess):
        command = process.cmdline()
        return ("-D", str(pgdata)) in pairwise(command)
    return False


def title(process: psutil.Process) -> str:
    """Its command line, which it may set itself; for a process that has ended, that of a child."""
    with suppress(psutil.NoSuchProcess):
        return " ".join(process.cmdline())
    return _CHILD
