"""One PGDATA: made, started, asked, stopped."""

import os
import shlex
import shutil
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from telemetry_server import durable
from telemetry_server.store.embedded.account import Account
from telemetry_server.store.embedded.errors import EmbeddedCommandFailed, EmbeddedStartFailed
from telemetry_server.store.embedded.home import PORT, Home, make_directory
from telemetry_server.store.embedded.processes import Patience, run, started
from telemetry_server.store.embedded.wheel import binaries_for

READY, DOWN = "ready", "down"
STILL_DYING = ("pre-existing shared memory block", 'lock file "')
"""What PostgreSQL says when processes of a killed one still hold the data; they end by themselves."""

BUILTIN_LOCALE_SINCE = 17


@dataclass(frozen=True, slots=True)
class Cluster:
    home: Home
    pgdata: Path
    major: int
    account: Account
    port: int = PORT

    def dsn(self, user: str = "telemetry", database: str = "telemetry") -> str:
        return self.home.dsn(user, database, self.port)

    # ── life ──

    async def initialise(self) -> None:
        """Make PGDATA, whole or not at all."""
        fresh = self.pgdata.with_name(f"{self.pgdata.name}.initdb")
        shutil.rmtree(fresh, ignore_errors=True)
        make_directory(fresh, self.account)
        options = [
            "--username=postgres",
            "--auth=reject",
            "--encoding=UTF8",
            "--locale=C",
            "--data-checksums",
        ]
        if self.major >= BUILTIN_LOCALE_SINCE:
            # Upper and lower case of all scripts, sorted by code point, whatever the system has installed.
            options += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        await self._run("initdb", f"--pgdata={fresh}", *options)
        durable.rename(fresh, self.pgdata)  # initdb has synced what is in it

    async def start(self, patience: Patience) -> None:
        """Returns when connections are accepted; takes over a PostgreSQL that runs or is starting already."""
        try:
            while (state := await self._state()) != READY:
                if state == DOWN:
                    await self._launch(patience)
                else:
                    await patience.step(f"PostgreSQL ({state})")
            await self._prepare_database()
        except (asyncpg.PostgresError, OSError) as error:
            raise EmbeddedStartFailed(f"PostgreSQL runs in {self.pgdata}, but: {error}") from error

    async def stop(self, mode: str = "fast") -> None:
        if self.postmaster() is None:
            return
        try:
            await self._run("pg_ctl", "stop", "-D", str(self.pgdata), "-m", mode, "-w", "-t", "600")
        except EmbeddedCommandFailed:
            if self.postmaster() is not None:
                raise

    async def discard(self) -> None:
        await self.stop("immediate")
        shutil.rmtree(self.pgdata, ignore_errors=True)

    def postmaster(self) -> int | None:
        """The server's process id. (A pid file outlives a killed server; its number may be a stranger's.)"""
        pid = self._pid()
        return pid if pid and f" -D {self.pgdata} " in command_line(pid) else None

    def _pid(self) -> int | None:
        with suppress(FileNotFoundError, ValueError):
            return int(self._pid_file.read_text().split("\n", 1)[0])
        return None

    async def _state(self) -> str:
        """READY, DOWN, or PostgreSQL's own words on why it takes no connection yet."""
        try:
            connection = await asyncpg.connect(self.dsn("postgres", "postgres"), timeout=5)
        except (FileNotFoundError, ConnectionRefusedError):
            return DOWN
        except asyncpg.CannotConnectNowError as error:
            return str(error)
        except (TimeoutError, ConnectionError, asyncpg.ConnectionDoesNotExistError):
            return "it does not answer"
        await connection.close()
        return READY

    async def _launch(self, patience: Patience) -> None:
        """Start once. `pg_ctl` makes PostgreSQL nobody's child, and tells by its exit how the start went."""
        self.home.prepare_start(self.account)
        await self._disown_pid_file()
        settings = shlex.join(f"--{name}={value}" for name, value in self._settings().items())
        options = ["-D", self.pgdata, "-l", self.home.log, "-o", settings, "-w", "-t", "2000000", "-s"]
        arguments = ["start", *map(str, options)]
        with self.home.log.open("ab") as log:
            before = log.tell()
            program = await self._program("pg_ctl")
            async with started(program, *arguments, account=self.account, stderr=log) as pg_ctl:
                while pg_ctl.poll() is None:
                    await patience.step("PostgreSQL to start; after a crash it replays its log first")
        if pg_ctl.returncode:
            await self._explain(before, patience)

    async def _explain(self, before: int, patience: Patience) -> None:
        """Wait, if the start is to be tried again; if not, raise what the log has said since `before`."""
        said = self.home.log.read_bytes()[before:].decode(errors="replace")
        if any(words in said for words in STILL_DYING):
            await patience.step("the processes of a killed PostgreSQL to end", pause=1.0)
            return
        last = "\n".join(said.splitlines()[-20:])
        raise EmbeddedStartFailed(f"PostgreSQL started and ended again. The end of {self.home.log}:\n{last}")

    async def _disown_pid_file(self) -> None:
        """Keep a dead server's pid file from naming a living stranger: pids repeat, in containers always.

        PostgreSQL would refuse to start. The pid of pg_ctl's parent, which is ours, it takes for no server's,
        and it still finds in the file the shared memory that it has to check.
        """
        pid = self._pid()
        if pid is not None and "postgres" not in command_line(pid):
            script = '{ echo "$2"; tail -n +2 "$1"; } >"$1.new" && { sync "$1.new"; mv "$1.new" "$1"; }'
            arguments = ["sh", str(self._pid_file), str(os.getpid())]
            await run("/bin/sh", "-c", script, *arguments, account=self.account)
            self.home.socket(self.port).with_name(f".s.PGSQL.{self.port}.lock").unlink(missing_ok=True)

    async def _prepare_database(self) -> None:
        """The role `telemetry`, which is no superuser, and the database it owns."""
        connection = await asyncpg.connect(self.dsn("postgres", "postgres"))
        try:
            if not await connection.fetch("SELECT FROM pg_roles WHERE rolname = 'telemetry'"):
                await connection.execute("CREATE ROLE telemetry LOGIN")
            if not await connection.fetch("SELECT FROM pg_database WHERE datname = 'telemetry'"):
                await connection.execute("CREATE DATABASE telemetry OWNER telemetry")
        finally:
            await connection.close()

    # ── the rest ──

    @property
    def _pid_file(self) -> Path:
        return self.pgdata / "postmaster.pid"

    async def _run(self, program: str, *arguments: str) -> str:
        return await run(await self._program(program), *arguments, account=self.account)

    async def _program(self, name: str) -> Path:
        return await binaries_for(self.account, self.major, self.home.data) / name

    def _settings(self) -> dict[str, str]:
        """Given at each start, so that they hold whatever postgresql.conf says."""
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
            "max_connections": "100",
            "idle_in_transaction_session_timeout": "10min",
            "jit": "off",
            "timezone": "UTC",
            "log_timezone": "UTC",
            "log_destination": "stderr",
            "logging_collector": "off",
            "log_min_messages": "warning",
            "log_checkpoints": "off",
            "log_error_verbosity": "terse",  # details quote rows, and with them personal data
            "log_min_error_statement": "panic",
        }


def shared_buffers_mb(memory: int) -> int:
    """An eighth of the memory, within 16 MB and 1 GB."""
    return max(16, min(1024, memory // 8 // 2**20))


def memory_bytes() -> int:
    """What this machine, or the container we are in, has."""
    sizes = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    with suppress(OSError, ValueError):  # no cgroup v2, or "max"
        sizes.append(int(Path("/sys/fs/cgroup/memory.max").read_text()))
    return min(sizes)


def command_line(pid: int) -> str:
    """What process `pid` was started with; empty when there is no such process."""
    if not Path("/proc/self/cmdline").exists():  # macOS
        ps = ["/bin/ps", "-ww", "-o", "args=", "-p", str(pid)]
        return subprocess.run(ps, stdout=subprocess.PIPE, text=True, check=False).stdout  # noqa: S603 - a number
    with suppress(OSError):
        return os.fsdecode(Path(f"/proc/{pid}/cmdline").read_bytes()).replace("\0", " ")
    return ""
