"""What tests share: a real PostgreSQL, a fresh database for each test, a real server process.

--postgres DIR   the PostgreSQL programs to test on (default: the embedded 18)
--citus DSN      a Citus cluster to test on, by a database on its coordinator (default: TEST_CITUS_DSN)
--hosts all      the SDK in every host on every Python, see tests/sdk/hosts/conftest.py
KEEPDB=1         leaves the databases and prints how to open them
"""

import asyncio
import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import uuid
from pathlib import Path

import asyncpg
import hypothesis
import pytest
from citus_cluster import CitusCluster
from forked_commands import run_command
from patience import patient, wait_until
from places import ROOT, TODAY, as_database_user, quick_directory

from telemetry_server.store.embedded.wheel import binaries
from telemetry_server.store.migrate import migrate
from telemetry_server.store.partitions import make_partitions

hypothesis.settings.register_profile(
    "any machine", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("any machine")


def pytest_addoption(parser):
    parser.addoption("--postgres", metavar="DIR", help="the PostgreSQL programs to test on")
    parser.addoption(
        "--citus",
        metavar="DSN",
        default=os.environ.get("TEST_CITUS_DSN"),
        help="a Citus cluster to test on, see tests/citus_cluster.py",
    )
    parser.addoption(
        "--hosts", choices=("small", "all"), default="small", help="see tests/sdk/hosts/conftest.py"
    )
    parser.addoption("--hosts-table", metavar="FILE", type=Path, help="what became of each host, as Markdown")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config, items):
    """Scales the limit of each test as its waits, and spreads those that wait among the others; on a cluster, skips
    those that are about one machine.

    While one waits, the processor works for another. A cluster answers for three machines.
    """
    machines = 3 if config.getoption("--citus") else 1
    for item in items:
        given = item.get_closest_marker("timeout")
        seconds = given.args[0] if given else float(config.getini("timeout"))
        if config.getoption("--citus") and (alone := item.get_closest_marker("one_machine")):
            item.add_marker(pytest.mark.skip(reason=f"on one machine only: {alone.kwargs['reason']}"))
        item.add_marker(pytest.mark.timeout(patient(seconds * machines)), append=False)

    def limit(item):
        return item.get_closest_marker("timeout").args[0]

    waiting = sorted((item for item in items if item.get_closest_marker("slow")), key=limit, reverse=True)
    quick = [item for item in items if not item.get_closest_marker("slow")]
    modules = [list(each) for _, each in itertools.groupby(quick, lambda item: item.path)]
    items[:] = spread(modules, waiting, int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")))


def spread(modules, waiting, workers):
    """The tests in the order in which `workers` get equal shares: of those that wait, each worker gets some, the
    longest first, before modules of its share and not all at the same time.
    """
    shares, before = [[] for _ in range(workers)], 0
    for module in modules:
        shares[before * workers // sum(map(len, modules))].append(module)
        before += len(module)
    for number, share in enumerate(shares):
        dealt = waiting[number::workers]
        every = max(1, len(share) // max(1, len(dealt)))
        for place, module in enumerate(share):
            if dealt and place % every == every * number // workers:
                yield dealt.pop(0)
            yield from module
        yield from dealt


class Cluster:
    """A PostgreSQL of the tests' own, in a temporary directory."""

    def __init__(self, programs: Path):
        self.programs = programs
        self.home = quick_directory()
        if os.geteuid() == 0:
            shutil.chown(self.home, "nobody", "nogroup")
        self.pgdata = self.home / "data"

    def run(self, program, *arguments):
        subprocess.run(
            [self.programs / program, *arguments],
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=self.home,
            **as_database_user(),
        )

    def start(self):
        if not self.pgdata.exists():
            self.run(
                "initdb", "-D", self.pgdata, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "-N"
            )
        options = (
            f"-c listen_addresses='' -c unix_socket_directories={self.home} -c max_connections=60 -c jit=off"
        )
        self.run(
            "pg_ctl", "-D", self.pgdata, "-l", self.home / "log", "-o", options, "-w", "-t", "60", "start"
        )

    def stop(self, mode="fast"):
        self.run("pg_ctl", "-D", self.pgdata, "-m", mode, "-w", "stop")

    @property
    def postmaster(self):
        return int((self.pgdata / "postmaster.pid").read_text().split()[0])

    async def execute(self, sql):
        admin = await asyncpg.connect(self.dsn("postgres"))
        try:
            await admin.execute(sql)
        finally:
            await admin.close()

    async def make(self, name):
        await self.execute(f"CREATE DATABASE {name}")

    async def spread(self, connection):
        """One machine: nothing to distribute."""

    async def drop(self, name):
        await self.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    async def copy(self, template, name):
        """The files are copied: half of the time that writing them to the log takes."""
        await self.execute(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy")

    def dsn(self, database):
        return f"postgresql://postgres@/{database}?host={self.home}"


@pytest.fixture(scope="session")
def cluster(request):
    if given := request.config.getoption("--citus"):
        cluster = CitusCluster(given)
        asyncio.run(cluster.start())
        yield cluster
        return
    chosen = request.config.getoption("--postgres")
    cluster = Cluster(Path(chosen) if chosen else binaries(18))
    cluster.start()
    yield cluster
    if os.environ.get("KEEPDB"):
        print(f"\nkept: psql -h {cluster.home} -U postgres -l")
        return
    cluster.stop("immediate")
    shutil.rmtree(cluster.home, ignore_errors=True)


@pytest.fixture(scope="session")
def template(cluster):
    """A migrated database that the others are copied from."""

    name = "template_telemetry"

    async def make():
        await cluster.drop(name)
        await cluster.make(name)
        connection = await asyncpg.connect(cluster.dsn(name))
        await migrate(connection)
        await make_partitions(connection, TODAY)
        await cluster.spread(connection)
        await connection.close()

    asyncio.run(make())
    return name


@pytest.fixture
def starting_point(template):
    """The database that a test's own is copied from."""
    return template


@pytest.fixture
async def database(cluster, starting_point):
    """The DSN of a fresh, migrated database."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    await cluster.copy(starting_point, name)
    yield cluster.dsn(name)
    if not os.environ.get("KEEPDB"):
        await cluster.drop(name)


@pytest.fixture
async def connection(database):
    connection = await asyncpg.connect(database)
    yield connection
    await connection.close()


BUSY = 5
"""The exit code of `run` while another process is at the job."""


class RunningServer:
    """A real server process on a database of its own. `open_files`: the soft and the hard limit."""

    def __init__(self, database, data, **settings):
        self.database = database
        self.data = data
        self.log_to = settings.pop("log_to", None)
        self.open_files = settings.pop("open_files", None)
        self.listen = settings.pop("listen", "127.0.0.1:0")
        self.settings = settings
        self.process = None

    def start(self):
        self.log = open(self.log_to or self.data / "server.log", "ab")
        self.process = subprocess.Popen(
            [
                *self._limited(),
                sys.executable,
                "-m",
                "telemetry_server",
                "serve",
                "--listen",
                self.listen,
                "--product",
                "Example",
            ],
            env=self.environment,
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
        )
        self._read_welcome()
        return self

    def _limited(self):
        return ["prlimit", "--nofile={}:{}".format(*self.open_files)] if self.open_files else []

    @property
    def environment(self):
        environment = {k: v for k, v in os.environ.items() if not k.startswith("TELEMETRY_")}
        environment |= {"TELEMETRY_DATABASE_URL": self.database, "TELEMETRY_DATA": str(self.data)}
        return environment | {
            f"TELEMETRY_{name.upper()}": str(value) for name, value in self.settings.items()
        }

    def _read_welcome(self):
        said = ""
        while "Sign in" not in said:
            line = self.process.stdout.readline()
            if not line:
                raise RuntimeError(f"the server did not start: {said}{self.errors()}")
            said += line
        self.product_key = re.search(r"Product key +(\S+)", said)[1]
        self.product_slug = self.product_key.split("_")[1]
        self.url = re.search(r"Address +(\S+)", said)[1]
        if self.listen.endswith(":0"):
            self.listen = self.url.removeprefix("http://")  # a restart comes back where clients look for it

    def errors(self):
        return Path(self.log_to or self.data / "server.log").read_text()

    def terminate(self, timeout=20):
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(patient(timeout))

    def kill(self):
        self.process.kill()
        self.process.wait()
        self._forget()

    def _forget(self):
        self.process.stdout.close()
        self.log.close()

    def command(self, *arguments):
        """Runs a telemetry-server command on the same database; gives its JSON.

        It is repeated while the server is at the same job, which it does by itself.
        """

        def done():
            ran = run_command([*arguments, "--json"], self.environment, ROOT)
            return ran if ran.returncode != BUSY else None

        ran = wait_until(done, every=0.5)
        assert ran.returncode == 0, ran.stderr
        return json.loads(ran.stdout)

    @property
    def sign_in_link(self):
        return self.command("sign-in", "--listen", self.listen)["url"]

    @property
    def token(self):
        return self.command("token", "create", "--role", "viewer")["token"]

    async def fetch(self, sql, *arguments):
        connection = await asyncpg.connect(self.database)
        try:
            return await connection.fetch(sql, *arguments)
        finally:
            await connection.close()

    async def fetchval(self, sql, *arguments):
        return (await self.fetch(sql, *arguments))[0][0]

    def close(self):
        if self.process and self.process.poll() is None:
            self.kill()
        elif self.process:
            self._forget()


@pytest.fixture
def make_server(database, tmp_path_factory):
    """Makes server processes with settings of one's own, all on the test's database."""
    servers = []
    data = tmp_path_factory.mktemp("server")

    def make(**settings):
        dsn = settings.pop("database", database)
        server = RunningServer(dsn, settings.pop("data", data), **settings).start()
        servers.append(server)
        return server

    yield make
    for server in servers:
        server.close()


@pytest.fixture
def server(make_server):
    return make_server()


@pytest.fixture(scope="module")
def common_server(cluster, template, tmp_path_factory):
    """A server for all tests of a module that look at what they sent themselves, and leave it as it was."""
    name = f"common_{uuid.uuid4().hex[:12]}"
    asyncio.run(cluster.copy(template, name))
    unlimited = {
        "enrolments_per_hour": 1_000_000,
        "network_cpu_percent": 100,
        "network_mebibytes_per_minute": 1_000_000,
    }
    server = RunningServer(cluster.dsn(name), tmp_path_factory.mktemp("server"), **unlimited).start()
    yield server
    server.close()
    asyncio.run(cluster.drop(name))


@pytest.fixture
def short_directory():
    """A directory that PostgreSQL's own user can reach, with a path short enough for its socket."""
    directory = quick_directory()
    yield directory
    shutil.rmtree(directory, ignore_errors=True)
