"""What is acknowledged is there exactly once, whatever is killed and whenever."""

import asyncio
import os
import random
import re
import signal
import subprocess
import sys
from pathlib import Path

import aiohttp
import asyncpg
import pytest
from installation import Installation, post
from patience import patient, until
from places import ROOT

pytestmark = pytest.mark.timeout(170)
ENOUGH = 100


class Sender:
    """An installation that sends until it is told to stop, and writes down what it was told.

    Without a good answer it sends the same bytes again, as the protocol says.
    """

    def __init__(self, installation):
        self.installation = installation
        self.acknowledged = {}
        self.resent = 0

    async def run(self, stop, chance):
        async with aiohttp.ClientSession() as session:
            while not stop.is_set():
                pings = [self.installation.ping() for _ in range(chance.choice([1, 1, 1, 20]))]
                body = self.installation.upload(*pings)
                await self._until_acknowledged(body, session)

    async def _until_acknowledged(self, body, session):
        async def acknowledged():
            try:
                answer = await self.installation.send_bytes(body, session=session)
            except (aiohttp.ClientError, OSError, TimeoutError):
                answer = None
            if answer is not None and answer.status == 200:
                return answer
            assert answer is None or answer.status == 503, answer.body
            self.resent += 1
            return None

        answer = await until(acknowledged, every=0.05, otherwise="the server never came back")
        for result in answer.json["results"]:
            assert result["status"] in {"accepted", "duplicate"}, result
            self.acknowledged[result["sequence"]] = result["ping_id"]


async def enrolled(url, product_key):
    server = type("Server", (), {"url": url, "product_key": product_key})
    return await Installation.enrolled(server)


async def under_load(url, product_key, disturb, senders=6, seed=7):
    """Runs `disturb` while installations send; gives the senders once all of them are quiet."""
    fleet = [Sender(await enrolled(url, product_key)) for _ in range(senders)]
    stop = asyncio.Event()
    sending = [
        asyncio.create_task(sender.run(stop, random.Random(seed + n))) for n, sender in enumerate(fleet)
    ]
    await disturb()
    async with asyncio.timeout(patient(60)):  # a busy machine takes longer over a hundred
        while sum(len(sender.acknowledged) for sender in fleet) <= ENOUGH:
            await asyncio.sleep(0.1)
    stop.set()
    await asyncio.gather(*sending)
    return fleet


async def assert_exactly_once(dsn, fleet):
    connection = await asyncpg.connect(dsn)
    for sender in fleet:
        rows = await connection.fetch(
            "SELECT sequence, ping_id::text FROM pings WHERE installation_id = $1::text::uuid",
            sender.installation.id,
        )
        kept = [tuple(row) for row in rows]
        assert sorted(kept) == sorted(sender.acknowledged.items())
    forks = await connection.fetchval("SELECT count(*) FROM forks")
    await connection.close()
    assert forks == 0
    assert sum(len(sender.acknowledged) for sender in fleet) > ENOUGH


@pytest.mark.every_postgres
async def test_acknowledged_pings_survive_kill_9_of_the_server(server):
    async def disturb():
        chance = random.Random(11)
        for _ in range(8):
            await asyncio.sleep(chance.uniform(0.1, 0.8))
            server.kill()
            await asyncio.to_thread(server.start)

    fleet = await under_load(server.url, server.product_key, disturb)
    assert sum(sender.resent for sender in fleet) > 0
    await assert_exactly_once(server.database, fleet)


async def test_acknowledged_pings_survive_kill_9_of_one_of_two_workers(make_server):
    server = make_server(workers=2)

    async def disturb():
        for _ in range(4):
            await asyncio.sleep(0.7)
            os.kill(random.choice(workers_of(server.process.pid)), signal.SIGKILL)

    fleet = await under_load(server.url, server.product_key, disturb)
    await assert_exactly_once(server.database, fleet)
    assert server.terminate() == 0


def workers_of(parent):
    """The server processes that `parent` started, from /proc."""
    workers = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            parent_of_it = int((process / "stat").read_text().rpartition(")")[2].split()[1])
            if parent_of_it == parent and b"spawn_main" in (process / "cmdline").read_bytes():
                workers.append(int(process.name))
        except OSError:
            continue
    return workers


@pytest.fixture
def embedded_server(short_directory):
    """A server with its embedded PostgreSQL, as `make run` starts it."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TELEMETRY_")}
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "telemetry_server",
            "serve",
            "--data",
            short_directory / "data",
            "--listen",
            "127.0.0.1:0",
            "--product",
            "Example",
        ],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    said = ""
    while "Sign in" not in said:
        line = process.stdout.readline()
        assert line, said
        said += line
    process.data = short_directory / "data"
    process.dsn = f"postgresql://telemetry@/telemetry?host={process.data}/run"
    process.product_key = re.search(r"Product key +(\S+)", said)[1]
    process.url = re.search(r"Address +(\S+)", said)[1]
    yield process
    process.terminate()
    process.wait(patient(40))
    process.stdout.close()


async def test_acknowledged_pings_survive_kill_9_of_postgresql(embedded_server):
    async def disturb():
        chance = random.Random(5)
        for _ in range(4):
            await asyncio.sleep(chance.uniform(0.3, 1.5))
            postmaster = int((embedded_server.data / "postgres" / "postmaster.pid").read_text().split()[0])
            os.kill(postmaster, signal.SIGKILL)
            await answered_again(embedded_server)

    fleet = await under_load(embedded_server.url, embedded_server.product_key, disturb)
    assert sum(sender.resent for sender in fleet) > 0
    await assert_exactly_once(embedded_server.dsn, fleet)


async def answered_again(server):
    async def ready():
        async with aiohttp.ClientSession() as session, session.get(f"{server.url}/readyz") as answer:
            return answer.status == 200

    await until(ready, otherwise="PostgreSQL was not started again")


async def test_a_restart_finds_everything_and_the_product_key_again(embedded_server):
    installation = await enrolled(embedded_server.url, embedded_server.product_key)
    assert (await installation.send()).statuses == ["accepted"]
    embedded_server.kill()
    embedded_server.wait()
    again = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "telemetry_server",
            "serve",
            "--data",
            embedded_server.data,
            "--listen",
            "127.0.0.1:0",
            "--product",
            "Example",
        ],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert embedded_server.product_key in again.stdout.readline() + again.stdout.readline()
        installation.url = re.search(r"Address +(\S+)", again.stdout.readline())[1]
        assert (await installation.send()).statuses == ["accepted"]
        connection = await asyncpg.connect(embedded_server.dsn)
        assert await connection.fetchval("SELECT pings FROM v_installations") == 2
        await connection.close()
    finally:
        again.terminate()
        assert again.wait(patient(40)) == 0
        again.stdout.close()


async def test_sigterm_under_load_resets_no_connection(make_server):
    server = make_server()
    installations = [await Installation.enrolled(server) for _ in range(20)]
    refused, answered, broken = 0, 0, []

    async def hammer(installation):
        nonlocal refused, answered
        async with aiohttp.ClientSession() as session:
            while True:
                try:
                    answer = await installation.send(session=session)
                except aiohttp.ClientConnectorError:
                    refused += 1
                    return
                except (aiohttp.ClientError, OSError) as error:
                    broken.append(repr(error))
                    return
                assert answer.status in {200, 503}
                answered += answer.status == 200

    tasks = [asyncio.create_task(hammer(installation)) for installation in installations]
    await asyncio.sleep(1)
    assert await asyncio.to_thread(server.terminate) == 0
    await asyncio.wait_for(asyncio.gather(*tasks), patient(20))
    assert broken == []
    assert refused == 20
    assert answered == await server.fetchval("SELECT count(*) FROM pings")


@pytest.mark.every_postgres
async def test_without_postgresql_pings_are_refused_for_now_and_nothing_is_lost(cluster, make_server):
    server = make_server()
    installation = await Installation.enrolled(server)
    await installation.send()
    cluster.stop("immediate")
    try:
        body = installation.upload(installation.ping())
        answer = await installation.send_bytes(body)
        assert answer.status == 503
        assert 5 <= int(answer.headers["Retry-After"]) <= 60
        assert answer.json["code"] == "unavailable"
        assert answer.headers["Telemetry-Receipt"] == installation.receipt(body, answer.body)
    finally:
        cluster.start()

    async def taken():
        answer = await installation.send_bytes(body)
        return answer.status != 503 and answer

    assert (await until(taken, every=0.1)).statuses == ["accepted"]


async def test_fifty_copies_of_one_upload_at_once_count_once_and_all_get_a_receipt(make_server):
    server = make_server(workers=2)
    installation = await Installation.enrolled(server)
    body = installation.upload(*(installation.ping() for _ in range(10)))
    answers = await asyncio.gather(*(installation.send_bytes(body) for _ in range(50)))
    assert {answer.status for answer in answers} == {200}
    assert sum(answer.statuses == ["accepted"] * 10 for answer in answers) == 1
    assert sum(answer.statuses == ["duplicate"] * 10 for answer in answers) == 49
    assert await server.fetchval("SELECT count(*) FROM pings") == 10
    unsigned = await post(f"{server.url}/v1/pings", body, {})
    assert unsigned.status == 401
