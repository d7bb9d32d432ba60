"""One PGDATA: created, started, queried, stopped."""

import os
import shlex
import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import psutil

from telemetry_server import durable
from telemetry_server.store.database import AWAY
from telemetry_server.store.embedded.account import Account
from telemetry_server.store.embedded.errors import EmbeddedStartFailed
from telemetry_server.store.embedded.home import PORT, Home, make_directory
from telemetry_server.store.embedded.postmaster import Hang, Processes
from telemetry_server.store.embedded.processes import Patience, run, started
from telemetry_server.store.embedded.wheel import binaries_for
from telemetry_server.text import written_out

READY, DOWN = "ready", "down"
DYING = "the processes of a killed PostgreSQL to end"
STILL_DYING = ("pre-existing shared memory block", 'lock file "')
"""Messages of PostgreSQL while processes of a killed one still hold the data; they end by themselves."""

OTHERS_MAY_ENTER, CONFIGURATION = "has invalid permissions", 'configuration file "'

BUILTIN_LOCALE_SINCE = 17
HIGHEST_PID = 2**31 - 1
LEAST_CONNECTIONS = 100
OTHER_CONNECTIONS = 40
"""Connections of commands, of readers for reports, and those that PostgreSQL reserves."""
CLOSE_SECONDS, STATEMENT_SECONDS = 2, 60
LEAST_ROOM_BYTES = 32 << 20
"""The size of two segments of PostgreSQL's write-ahead log."""


@dataclass(frozen=True, slots=True)
class Cluster:
    home: Home
    pgdata: Path
    major: int
    account: Account
    port: int = PORT
    connections: int = 0
    """The number of connections that the server may open."""

    def dsn(self, user: str = "telemetry", database: str = "telemetry") -> str:
        return self.home.dsn(user, database, self.port)

    # ── life ──

    async def initialise(self) -> None:
        """Creates PGDATA, completely or not at all."""
        fresh = self.pgdata.with_name(f"{self.pgdata.name}.initdb")
        shutil.rmtree(fresh, ignore_errors=True)
        make_directory(fresh, self.account)
        options = ["--username=postgres", "--auth=reject", "--encoding=UTF8", "--locale=C"]
        options += ["--data-checksums", f"--pgdata={fresh}"]
        if self.major >= BUILTIN_LOCALE_SINCE:
            # Case conversion for all scripts, order by code point, independent of the system's locales.
            options += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        await self._run("initdb", *options)
        durable.rename(fresh, self.pgdata)  # initdb has synced what is in it

    async def start(self, patience: Patience) -> None:
        """Returns when connections are accepted; uses a PostgreSQL that already runs or starts.

        A hung PostgreSQL is ended and started again.
        """
        hang = Hang(self.processes)
        try:
            while (state := await self._state()) != READY:
                if hang.lasts():
                    patience.say(f"PostgreSQL hangs ({state}); ending it to start it again")
                    await self.processes.end(at_once=True)
                    hang = Hang(self.processes)
                elif state == DOWN:
                    await self._launch(patience, hang)
                else:
                    await patience.step(f"PostgreSQL ({state})")
            await self._prepare_database()
        except (asyncpg.PostgresError, OSError) as error:
            raise EmbeddedStartFailed(f"PostgreSQL runs in {self.pgdata}, but: {error}") from error

    async def stop(self) -> None:
        """Stops PostgreSQL; takes a minute at most. Raises EmbeddedStuck."""
        if self.processes.all():
            await self.processes.end(at_once=not await self.answers())

    async def discard(self) -> None:
        await self.processes.end(at_once=True)
        shutil.rmtree(self.pgdata, ignore_errors=True)

    async def answers(self) -> bool:
        """Whether a new connection is accepted, or refused for a temporary reason."""
        try:
            return await self._state() == READY
        except asyncpg.PostgresError:  # such as too many connections
            return True

    @property
    def processes(self) -> Processes:
        return Processes(self.pgdata)

    async def _state(self) -> str:
        """READY, DOWN, or PostgreSQL's message on why it accepts no connection yet."""
        try:
            connection = await asyncpg.connect(self.dsn("postgres", "postgres"), timeout=5)
        except (FileNotFoundError, NotADirectoryError, ConnectionRefusedError):
            return DOWN
        except asyncpg.CannotConnectNowError as error:
            return str(error)
        except (TimeoutError, ConnectionError, asyncpg.ConnectionDoesNotExistError):
            return "it does not answer"
        with suppress(*AWAY, asyncpg.PostgresError):  # if PostgreSQL dies now, it may never close it
            await connection.close(timeout=CLOSE_SECONDS)
        return READY

    async def _launch(self, patience: Patience, hang: Hang) -> None:
        """One attempt to start. `pg_ctl` detaches PostgreSQL; its exit status is the result of the start."""
        if self.processes.all():
            await patience.step(DYING, pause=1.0)
            return
        self.home.prepare_start(self.account)
        with self.home.writable():
            await self._disown_pid_file()
        settings = shlex.join(f"--{name}={value}" for name, value in self._settings().items())
        options = ["-D", self.pgdata, "-l", self.home.log, "-o", settings, "-w", "-t", "2000000", "-s"]
        arguments = ["start", *map(str, options)]
        with self.home.log.open("ab") as log:
            before = log.tell()
            program = await self._program("pg_ctl")
            async with started(program, *arguments, account=self.account, stderr=log) as pg_ctl:
                while pg_ctl.poll() is None and not hang.lasts():
                    await patience.step("PostgreSQL to start; after a crash it replays its log first")
                failed = pg_ctl.poll()
        if failed:
            await self._explain(before, patience)

    async def _explain(self, before: int, patience: Patience) -> None:
        """Waits, if the start is to be retried; if not, raises the lines of the log since `before`."""
        logged = self.home.log.read_bytes()[before:].decode(errors="replace")
        if any(words in logged for words in STILL_DYING):
            await patience.step(DYING, pause=1.0)
            return
        advice = ""
        if shutil.disk_usage(self.pgdata).free < LEAST_ROOM_BYTES:
            advice = f" The disk of {self.home.data} is full: free some space."
        elif OTHERS_MAY_ENTER in logged:
            advice = f" Other users may enter its directory. Run: chmod 700 {self.pgdata}"
        elif CONFIGURATION in logged:
            advice = (
                " Its configuration is damaged or missing. This server gives every setting it needs, so an "
                f"empty {self.pgdata}/postgresql.conf will do, and no postgresql.auto.conf: empty the one, "
                "remove the other, or correct what you wrote there."
            )
        last = written_out("\n".join(logged.splitlines()[-20:]), lines=True)
        raise EmbeddedStartFailed(
            f"PostgreSQL started and ended again.{advice} The end of {self.home.log}:\n{last}"
        )

    async def _disown_pid_file(self) -> None:
        """Prevents that the pid file of a dead server, without any process left, blocks the start.

        Its pid may be that of another process: pids repeat, especially in containers. It is replaced by that
        of this process, which PostgreSQL ignores as the parent of pg_ctl; the file still names the shared
        memory that PostgreSQL has to check. PostgreSQL refuses an empty or damaged file, of a full disk or a
        power cut.
        """
        pid = self._recorded_pid()
        if pid is not None and psutil.pid_exists(pid):
            script = '{ echo "$2"; tail -n +2 "$1"; } >"$1.new" && { sync "$1.new"; mv "$1.new" "$1"; }'
            arguments = ["sh", str(self._pid_file), str(os.getpid())]
            await run("/bin/sh", "-c", script, *arguments, account=self.account)
        elif pid is None:
            self._pid_file.unlink(missing_ok=True)
        self.home.socket(self.port).with_name(f".s.PGSQL.{self.port}.lock").unlink(missing_ok=True)

    def _recorded_pid(self) -> int | None:
        """The pid in the pid file; None if the file is missing, empty or damaged."""
        with suppress(FileNotFoundError, ValueError):
            pid = int(self._pid_file.read_bytes().split(b"\n", 1)[0])
            return pid if 0 < pid <= HIGHEST_PID else None
        return None

    async def _prepare_database(self) -> None:
        """The role `telemetry`, which is no superuser, and the database it owns."""
        connection = await asyncpg.connect(
            self.dsn("postgres", "postgres"), timeout=5, command_timeout=STATEMENT_SECONDS
        )
        try:
            if not await connection.fetch("SELECT FROM pg_roles WHERE rolname = 'telemetry'"):
                await connection.execute("CREATE ROLE telemetry LOGIN")
            if not await connection.fetch("SELECT FROM pg_database WHERE datname = 'telemetry'"):
                await connection.execute("CREATE DATABASE telemetry OWNER telemetry")
        finally:
            await connection.close(timeout=CLOSE_SECONDS)

    # ── the rest ──

    @property
    def _pid_file(self) -> Path:
        return self.pgdata / "postmaster.pid"

    async def _run(self, program: str, *arguments: str) -> str:
        return await run(await self._program(program), *arguments, account=self.account)

    async def _program(self, name: str) -> Path:
        return await binaries_for(self.account, self.major, self.home.data) / name

    def _settings(self) -> dict[str, str]:
        """Passed at each start, so that they override postgresql.conf."""
        return {
            "listen_addresses": "",
            "port": str(self.port),
            "unix_socket_directories": str(self.home.run),
            "unix_socket_permissions": "0700",
            "hba_file": str(self.home.hba),
            "ident_file": str(self.home.ident),
            "fsync": "on",
            "full_page_writes": "on",
            "synchronous_commit": "on",
            "shared_buffers": f"{shared_buffers_mb(memory_bytes())}MB",
            "max_wal_size": "4GB",
            "max_connections": f"{max(LEAST_CONNECTIONS, self.connections + OTHER_CONNECTIONS)}",
            "idle_in_transaction_session_timeout": "10min",
            "jit": "off",
            "timezone": "UTC",
            "log_timezone": "UTC",
            "log_destination": "stderr",
            "logging_collector": "off",
            "log_min_messages": "warning",
            "log_checkpoints": "off",
            "log_error_verbosity": "terse",  # details contain rows, and so personal data
            "log_min_error_statement": "panic",
        }


def shared_buffers_mb(memory: int) -> int:
    """An eighth of the memory, within 16 MB and 1 GB."""
    return max(16, min(1024, memory // 8 // 2**20))


def memory_bytes() -> int:
    """The memory of this machine, or of the container of this process."""
    sizes = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    with suppress(OSError, ValueError):  # no cgroup v2, or "max"
        sizes.append(int(Path("/sys/fs/cgroup/memory.max").read_text()))
    return min(sizes)
