"""A clock that is wrong, at the start or while serving: no job stops, nothing is forgotten, and it is said.

The server and its PostgreSQL run under libfaketime (Debian's package faketime), which reads how far the clock is off
from a file; time that passes is real.
"""

import asyncio
import ctypes
import json
import os
import re
import shutil
import subprocess
import sys
from base64 import b64encode
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path

import aiohttp
import asyncpg
import pytest
from installation import Installation, post
from patience import patient, until
from places import ROOT, quick_directory

from telemetry_server.check.fields import load_registry
from telemetry_server.jobs.days import roll_up_days
from telemetry_server.jobs.pings import roll_up_pings

LIBRARIES = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
REGISTRY = load_registry()
SESSION = "secret of a session"

FUTURE = """
    SELECT name FROM jobs WHERE greatest(last_started_at, as_of) > $1
    UNION ALL SELECT name FROM rollup_marks WHERE reached_at > $1
    UNION ALL SELECT 'outage' FROM outages WHERE ended_at > $1::timestamptz + interval '6 hours'
    UNION ALL SELECT 'due' FROM days_due WHERE due_since > $1
    UNION ALL SELECT 'life' FROM installation_facts WHERE life_since > $1
    UNION ALL SELECT 'life' FROM changes WHERE field = 'life' AND changed_at > $1
    UNION ALL SELECT 'heard' FROM installations WHERE last_received_at > $1
"""

pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.skipif(not LIBRARIES, reason="libfaketime is not here: apt-get install faketime"),
]


class ClockedServer:
    """A real server with its own PostgreSQL, both by a clock that can be set."""

    def __init__(self, place):
        self.place, self.data, self.process = place, place / "data", None
        self.listen = "127.0.0.1:0"
        self.name = f"{place.name}-clock"
        self.shared = Path("/dev/shm", self.name), Path("/dev/shm", f"sem.{self.name}")
        self.share()
        self.dsn = f"postgresql://telemetry@/telemetry?host={self.data}/run"
        self.offset = place / "offset"
        self.set_clock(timedelta(0))

    def share(self):
        """What the library shares between its processes: made by it, PostgreSQL's user could not open it."""
        ctypes.CDLL(None).sem_open(f"/{self.name}".encode(), os.O_CREAT, 0o666, 1)
        self.shared[0].write_bytes(bytes(4096))
        for path in self.shared:
            path.chmod(0o666)

    async def set(self, off):
        """Sets the clock, and waits until the process has noticed by how much."""
        self.set_clock(off)

        async def noticed():
            jumps = [line["seconds"] for line in self.logged if line["message"] == "clock jumped"]
            return abs(timedelta(seconds=sum(jumps)) - off) < timedelta(minutes=1)

        await until(noticed, 90)

    def set_clock(self, off):
        beside = self.offset.with_suffix(".new")
        beside.write_text(f"{off.total_seconds():+.0f}s\n")
        beside.chmod(0o644)
        beside.replace(self.offset)

    @property
    def environment(self):
        environment = {k: v for k, v in os.environ.items() if not k.startswith("TELEMETRY_")}
        return environment | {
            "TELEMETRY_DATA": str(self.data),
            "TELEMETRY_SHOP_WEBHOOK_SECRET": "whsec_" + b64encode(bytes(24)).decode(),
            "LD_PRELOAD": str(LIBRARIES[0]),
            "FAKETIME_TIMESTAMP_FILE": str(self.offset),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_SHARED": f"/{self.name} /{self.name}",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "DONT_FAKE_MONOTONIC": "1",
        }

    def start(self, off=timedelta(0)):
        self.set_clock(off)
        with (self.place / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [*_COMMAND, "serve", "--listen", self.listen, "--product", "Example"],
                env=self.environment,
                cwd=ROOT,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        said = ""
        while "Sign in" not in said:
            line = self.process.stdout.readline()
            assert line, said + self.log
            said += line
        self.product_key = re.search(r"Product key +(\S+)", said)[1]
        self.url = re.search(r"Address +(\S+)", said)[1]

    def stop(self):
        self.process.terminate()
        assert self.process.wait(patient(40)) == 0
        self.process.stdout.close()

    def run(self, *arguments):
        """A command, by the same clock."""
        return subprocess.run(
            [*_COMMAND, *arguments],
            env=self.environment,
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=patient(60),
            check=False,
        )

    @property
    def log(self):
        return (self.place / "log").read_text()

    @property
    def logged(self):
        return [json.loads(line) for line in self.log.splitlines() if line.startswith("{")]

    async def fetch(self, sql, *arguments):
        connection = await asyncpg.connect(self.dsn)
        try:
            return [tuple(row) for row in await connection.fetch(sql, *arguments)]
        finally:
            await connection.close()

    async def fetchval(self, sql, *arguments):
        return (await self.fetch(sql, *arguments))[0][0]

    async def readyz(self):
        async with aiohttp.ClientSession() as session, session.get(f"{self.url}/readyz") as answer:
            document = await answer.json()
        return document["status"], {check["name"]: check for check in document["checks"]}

    async def signed_in(self, secret):
        cookies = {"session": secret}
        async with (
            aiohttp.ClientSession(cookies=cookies) as session,
            session.get(f"{self.url}/", allow_redirects=False) as answer,
        ):
            return answer.status == 200

    async def kept(self):
        """What there is to forget: pings, days of copies, addresses in full, sessions."""
        return await self.fetch(
            "SELECT (SELECT count(*) FROM pings),"
            " (SELECT count(*) FROM installation_days),"
            " (SELECT count(*) FROM pings WHERE masklen(client_address) = 32),"
            " (SELECT count(*) FROM sessions)"
        )


_COMMAND = [sys.executable, "-m", "telemetry_server"]


@pytest.fixture
def make_clocked():
    servers = []

    def make():
        servers.append(ClockedServer(quick_directory()))
        return servers[-1]

    yield make
    running = [server for server in servers if server.process and server.process.poll() is None]
    for server in running:
        server.set_clock(timedelta(0))
        server.process.terminate()
    for server in running:
        server.process.wait(patient(40))
    for server in servers:
        if server.process:
            server.process.stdout.close()
        for path in server.shared:
            path.unlink()
        shutil.rmtree(server.place)


async def serving_fleet(server):
    """Three copies that reported and are counted, and a session."""
    copies = [await Installation.enrolled(server) for _ in range(3)]
    for copy in copies:
        await copy.send(copy.ping(), copy.ping())
    now = datetime.now(UTC)
    await server.fetch(
        "INSERT INTO sessions (digest, role, created_at, last_seen_at, expires_at, authenticated_at)"
        " VALUES ($1, 'viewer', $2, $2, $3, $2)",
        *(sha256(SESSION.encode()).digest(), now, now + 12 * HOUR),
    )
    await count(server)
    assert await server.signed_in(SESSION)
    return copies


async def count(server, off=timedelta(0)):
    """As the jobs do every minute, by the server's clock."""
    connection = await asyncpg.connect(server.dsn)
    try:
        for roll_up in roll_up_pings(REGISTRY), roll_up_days(REGISTRY):
            await roll_up(connection, datetime.now(UTC) + off)
    finally:
        await connection.close()


async def reported(server, copies):
    for copy in copies:
        copy.url = server.url
        assert (await copy.send()).statuses == ["accepted"]


async def assert_takes_nothing(server, copies):
    """Not over the fast path, not compressed, no enrolment, no message of the shop; and says why."""
    sent = {"webhook-id": "1", "webhook-timestamp": "1", "webhook-signature": "v1,"}
    product_key = {"Authorization": f"Bearer {server.product_key}"}
    for copy in copies:
        copy.url, sequence = server.url, copy.sequence
        answers = [
            await copy.send(),
            await copy.send(*(copy.ping() for _ in range(50)), compress=True),
            await post(f"{server.url}/v1/enroll", b"{}", product_key),
            await post(f"{server.url}/webhooks/shop", b"{}", sent),
        ]
        copy.sequence = sequence
        for answer in answers:
            assert (answer.status, answer.json["code"]) == (503, "unavailable"), answer.body
            assert "The server's clock is wrong" in answer.json["detail"]
            assert 5 <= int(answer.headers["Retry-After"]) <= 60


def refusals_logged(server):
    return sum("uploads refused: the clock" in line["message"] for line in server.logged)


async def sessions_were_forgotten(server, since):
    """The hourly one of the jobs that forget came to an end at that time or later."""
    return await server.fetch(
        "SELECT FROM jobs WHERE name = 'forget sessions' AND last_error IS NULL"
        " AND last_started_at >= $1 AND last_finished_at >= last_started_at",
        since,
    )


async def assert_in_order(server, copies):
    """Nothing lies in the future but pings, every job runs, each copy is counted and none is late or lost."""

    async def ready():
        return (await server.readyz())[0] == "ready"

    await until(ready, 90)
    now = datetime.now(UTC) + timedelta(minutes=5)

    async def nothing_ahead():
        """What a job wrote that had begun by the wrong clock is taken back a minute later."""
        return not await server.fetch(FUTURE, now)

    await until(nothing_ahead, 90)
    due = "SELECT FROM installation_facts HAVING max(due_at) < $1"
    await until(lambda: server.fetch(due, now + 8 * DAY), 90)  # the job looks every ten seconds
    assert {life for (life,) in await server.fetch("SELECT life FROM installation_facts")} == {"new"}
    await count(server)
    assert await server.fetchval(
        "SELECT installations FROM fleet_days WHERE dimension = 'all' AND verdict = '' AND day = current_date"
    ) == len(copies)
    assert await server.signed_in(SESSION)


def doubtful(off):
    """Hours ahead may be an outage of the server; before the newest pings it can't be."""
    return off > 2 * DAY or off < timedelta(0)


async def assert_nothing_is_forgotten(server, off, before, logged):
    """`before` is what there was, `logged` how many lines."""

    async def jobs_ran_or_were_held():
        if doubtful(off):
            return any(line["message"] == "clock in doubt" for line in server.logged[logged:])
        return await sessions_were_forgotten(server, datetime.now(UTC) + off - timedelta(minutes=1))

    async def clock_is_looked_at():
        """While all jobs start at once on a busy machine, /readyz may give PostgreSQL up after three seconds."""
        return "clock" in (await server.readyz())[1]

    await until(jobs_ran_or_were_held, 90)
    await until(clock_is_looked_at, 90)
    _, checks = await server.readyz()
    done = await asyncio.to_thread(server.run, "run", "forget old pings")
    assert checks["clock"]["ok"] == (not doubtful(off))
    if doubtful(off):
        sentence = "the clock jumped" if off > timedelta(0) else "it is behind: set it right"
        assert sentence in checks["clock"]["detail"]
        assert (done.returncode, "Nothing is forgotten" in done.stderr) == (1, True), done
        assert sentence in done.stderr
    else:
        assert done.returncode == 0, done.stderr
    assert await server.kept() == before


async def doctor_on_the_clock(server):
    report = json.loads((await asyncio.to_thread(server.run, "doctor", "--json")).stdout)
    [found] = [check for check in report["checks"] if check["check"] == "clock"]
    return found["outcome"], found["advice"]


async def says_what_it_took_back(server):
    _, checks = await server.readyz()
    return "clock" in checks and "took back " in checks["clock"]["detail"]


async def assert_survives(server, offsets, go):
    """While the clock is off, two of three copies report; once it is right again, two.

    Where it is so far behind that their pings would be forgotten, they report in vain.
    """
    await asyncio.to_thread(server.start)
    copies = await serving_fleet(server)
    pings = 6
    for off in offsets:
        before, logged, refused = await server.kept(), len(server.logged), off < -200 * DAY
        await go(off)
        if refused:
            await assert_takes_nothing(server, copies[:2])
        await assert_nothing_is_forgotten(server, off, before, logged)
        if refused:
            await assert_takes_nothing(server, copies[:2])
            assert refusals_logged(server) == 1
            assert (await server.readyz())[0] == "not ready"
            assert "uploads are refused" in (await doctor_on_the_clock(server))[1]
        else:
            await reported(server, copies[:2])
        await count(server, off)
        await go(timedelta(0))
        await reported(server, copies[1:])
        await assert_in_order(server, copies)
        pings += 2 if refused else 4
        assert await server.fetchval("SELECT count(*) FROM pings") == pings
        if off > timedelta(0):
            await until(lambda: says_what_it_took_back(server), 90)  # a job does, which runs every minute
    done = await asyncio.to_thread(server.run, "run", "make", "partitions")
    assert (done.returncode, done.stderr) == (0, ""), done


# Slow, for what a job does by a wrong clock is taken back a minute later: a server for each pair, all at once.
PAIRS = [(8 * HOUR, -8 * HOUR), (-40 * DAY, 40 * DAY), (500 * DAY, -500 * DAY)]


@pytest.mark.slow(reason="a minute passes until a job takes back what it did by a wrong clock")
async def test_a_clock_that_is_off_at_the_start_forgets_nothing_and_stops_no_job(make_clocked):
    async def survives(server, offsets):
        async def restart(off):
            await asyncio.to_thread(server.stop)
            await asyncio.to_thread(server.start, off)

        await assert_survives(server, offsets, restart)
        assert (await doctor_on_the_clock(server))[0] == "warning"

    async with asyncio.TaskGroup() as together:
        for offsets in PAIRS:
            together.create_task(survives(make_clocked(), offsets))


@pytest.mark.slow(reason="a minute passes until a job takes back what it did by a wrong clock")
async def test_a_clock_that_is_set_while_serving_forgets_nothing_and_stops_no_job(make_clocked):
    async with asyncio.TaskGroup() as together:
        for offsets in PAIRS:
            server = make_clocked()
            together.create_task(assert_survives(server, offsets, server.set))


async def test_no_ping_is_acknowledged_from_the_moment_on_that_the_clock_is_far_behind(make_clocked):
    """Not even before anything but the upload itself could notice it; and those sent again all count."""
    server = make_clocked()
    await asyncio.to_thread(server.start)
    copies = await serving_fleet(server)
    async with aiohttp.ClientSession() as kept_open:
        for off, status in ((-500 * DAY, 503), (timedelta(0), 200)) * 4:
            server.set_clock(off)
            if status == 503:
                body = copies[0].upload(copies[0].ping())
            answers = [await copies[0].send_bytes(body, session=session) for session in (kept_open, None)]
            assert {answer.status for answer in answers} == {status}
    now = datetime.now(UTC)
    assert await server.fetchval("SELECT count(*) FROM pings") == 10
    assert await server.fetchval("SELECT count(*) FROM pings WHERE received_at < $1", now - HOUR) == 0
