"""The memory of licenses: one query for all who wait, never too old, never too large, never guessing."""

import asyncio
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial

import asyncpg
import pytest
from checked_pings import make_checked_ping
from patience import patient

from telemetry_server.errors import Unavailable
from telemetry_server.keyring import open_keyring
from telemetry_server.model import (
    UNKNOWN_YET,
    Arrival,
    Author,
    LicensePatch,
    LicenseRow,
    LicenseStatus,
    Overage,
    RefusedPing,
)
from telemetry_server.store.database import connect_writer
from telemetry_server.store.ingest.grant_cache import GrantCache
from telemetry_server.store.registry.license_changes import keep_licenses
from telemetry_server.store.registry.licenses import key_hashes
from telemetry_server.store.registry.products import add_product

pytestmark = pytest.mark.every_postgres


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


class Gate:
    """A connection whose queries are counted, wait until they may go on, and fail when told to."""

    def __init__(self, dsn):
        self.dsn, self.queries, self.fails = dsn, [], False
        self.open = asyncio.Event()
        self.open.set()

    async def connect(self):
        self.connection = await connect_writer(self.dsn)
        return self

    async def fetch(self, sql, hashes):
        self.queries.append(set(hashes))
        await self.open.wait()
        if self.fails:
            raise asyncpg.ConnectionDoesNotExistError
        return await self.connection.fetch(sql, hashes)

    def is_closed(self):
        return self.connection.is_closed()

    def terminate(self):
        self.connection.terminate()

    async def close(self, timeout=None):
        await self.connection.close()


@pytest.fixture
def keyring(tmp_path):
    return open_keyring(tmp_path / "keyring.json")


@pytest.fixture
async def keep(connection, keyring):
    await add_product(connection, "Billing", now=_now())

    async def keep(*keys, **patch):
        rows = [LicenseRow(n, key, None, LicensePatch(**patch)) for n, key in enumerate(keys, 1)]
        hashes = await key_hashes(connection, keyring, "billing")
        await keep_licenses(connection, hashes, rows, by=Author("a test"), now=_now())
        return [hashes.own(key) for key in keys]

    return keep


@pytest.fixture
def gate(database):
    return Gate(database)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
async def cache(gate, clock, keep):
    await keep("SOME-KEY-0000")  # without any license the cache asks for none
    async with GrantCache(gate.connect, most_keys=100, clock=clock) as cache:
        yield cache


def _now():
    return datetime.now(UTC)


def stranger(number=0):
    return number.to_bytes(32, "big")


async def test_a_license_is_found_as_it_was_kept_and_a_stranger_is_known_to_be_one(cache, keep):
    [key] = await keep("KEY", seats=3, overage=Overage.HALF, addresses=("192.0.2.0/24", "2001:db8::1"))
    assert cache.find(key) is UNKNOWN_YET
    await cache.load([key, stranger()])
    grant = cache.find(key)
    assert (grant.seats, grant.overage, grant.seats_used) == (3, Overage.HALF, 0)
    assert [str(network) for network in grant.networks] == ["192.0.2.0/24", "2001:db8::1/128"]
    assert cache.find(stranger()) is None


async def test_the_key_of_another_products_license_is_found_too(cache, keep, connection, keyring):
    await add_product(connection, "Hosting", now=_now())
    await keep("KEY")
    key = keyring.hash_of_key("hosting", "KEY")
    await cache.load([key])
    assert cache.find(key).product_id == await connection.fetchval(
        "SELECT product_id FROM products WHERE slug = 'billing'"
    )


async def test_equal_licenses_take_their_memory_once(cache, keep):
    one, two = await keep("ONE", "TWO")
    await cache.load([one, two])
    assert cache.find(one) is cache.find(two)


async def test_all_who_wait_share_one_query(cache, gate):
    gate.open.clear()
    first = asyncio.create_task(cache.load([stranger(0)]))
    while not gate.queries:
        await asyncio.sleep(0)
    others = [asyncio.create_task(cache.load([stranger(n), stranger(n + 1)])) for n in range(1, 50)]
    await asyncio.sleep(0.01)
    assert gate.queries == [{stranger(0)}]
    gate.open.set()
    await asyncio.gather(first, *others)
    assert gate.queries[1:] == [{stranger(n) for n in range(1, 51)}]
    assert {cache.find(stranger(n)) for n in range(51)} == {None}


async def test_what_is_known_is_not_asked_again(cache, gate):
    await cache.load([stranger(1)])
    await cache.load([stranger(1), stranger(2)])
    await cache.load([])
    assert gate.queries == [{stranger(1)}, {stranger(2)}]


async def test_nothing_is_older_than_thirty_seconds(cache, clock, keep):
    """Whenever it was asked, and however rarely: a fixed rhythm must not keep anything for longer."""
    [key] = await keep("KEY")
    for pause in (1, 5, 11, 13, 23):
        await cache.load([key])
        born = clock.now
        while cache.find(key) is not UNKNOWN_YET:
            assert clock.now - born < 25, pause
            clock.now += pause


async def test_a_change_of_the_registry_is_known_within_thirty_seconds(cache, clock, keep):
    [key] = await keep("KEY")
    await cache.load([key])
    await keep("KEY", status=LicenseStatus.REVOKED)
    assert cache.find(key).status == "active"
    clock.now += 30
    await cache.load([key])
    assert cache.find(key).status == "revoked"


async def test_the_memory_is_bounded(cache):
    await cache.load([stranger(n) for n in range(1000)])
    known = [n for n in range(1000) if cache.find(stranger(n)) is not UNKNOWN_YET]
    assert len(known) <= 100
    await cache.load([stranger(1)])
    assert cache.find(stranger(1)) is None


async def test_what_cannot_be_asked_stays_unknown_and_everybody_who_waits_is_told(cache, gate):
    gate.open.clear()
    waiting = [asyncio.create_task(cache.load([stranger(n)])) for n in range(3)]
    await asyncio.sleep(0.01)
    gate.fails = True
    gate.open.set()
    results = await asyncio.gather(*waiting, return_exceptions=True)
    assert {type(result) for result in results} == {Unavailable}
    assert cache.find(stranger(0)) is UNKNOWN_YET
    gate.fails = False
    await cache.load([stranger(0)])
    assert cache.find(stranger(0)) is None


async def test_a_database_that_is_away_is_unavailable(short_directory):
    nowhere = f"postgresql://postgres@/telemetry?host={short_directory}"
    async with GrantCache(partial(connect_writer, nowhere)) as cache:
        with pytest.raises(Unavailable):
            await cache.load([stranger(1)])
        assert cache.find(stranger(1)) is UNKNOWN_YET


async def test_a_connection_that_dies_is_replaced(database, cluster):
    name = database.partition("?")[0].rpartition("/")[2]
    async with GrantCache(partial(connect_writer, database)) as cache:
        await cache.load([stranger(1)])
        await cluster.execute(
            f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
        )
        with suppress(Unavailable):  # where it was not noticed before
            await cache.load([stranger(2)])
        await cache.load([stranger(2)])
        assert cache.find(stranger(2)) is None


async def test_who_joined_one_that_gave_up_is_answered_all_the_same(cache, gate):
    gate.open.clear()
    first = asyncio.create_task(cache.load([stranger(1)]))
    await asyncio.sleep(0.01)
    leader = asyncio.create_task(cache.load([stranger(2)]))
    await asyncio.sleep(0)
    joined = asyncio.create_task(cache.load([stranger(3)]))
    await asyncio.sleep(0)
    leader.cancel()
    first.cancel()
    await asyncio.gather(first, leader, return_exceptions=True)
    gate.open.set()
    await asyncio.wait_for(joined, patient(10))
    assert cache.find(stranger(3)) is None


# ── for an upload ───────────────────────────────────────────────────────────────────────────


def arrival(*keys, size=10):
    pings = [make_checked_ping(n, license_key_hash=key) for n, key in enumerate(keys, 1)]
    refused = RefusedPing(None, None, "malformed", "")
    return Arrival("", "", b"", None, None, _now(), body=b"x" * size, items=[*pings, refused])


async def test_an_upload_waits_only_for_what_is_not_known(cache):
    assert cache.prefetch(arrival(None, None)) is None
    one = arrival(stranger(1), None, stranger(2))
    await cache.prefetch(one)
    assert cache.prefetch(one) is None


async def test_no_more_waits_than_memory_allows(gate, keep):
    await keep("SOME-KEY-0000")
    gate.open.clear()
    async with GrantCache(gate.connect, most_bytes=100) as cache:
        waiting = asyncio.create_task(_wait(cache, arrival(stranger(1), size=60)))
        await asyncio.sleep(0.01)
        with pytest.raises(Unavailable):
            await cache.prefetch(arrival(stranger(2), size=60))
        gate.open.set()
        await waiting
        await cache.prefetch(arrival(stranger(2), size=60))


async def _wait(cache, upload):
    await cache.prefetch(upload)


async def test_while_there_is_no_license_at_all_nobody_is_asked_for_long(gate, clock, keep):
    async with GrantCache(gate.connect, clock=clock) as cache:
        assert cache.find(stranger()) is UNKNOWN_YET
        await cache.load([stranger()])
        assert [cache.find(stranger(n)) for n in range(3)] == [None] * 3
        [key] = await keep("KEY")
        clock.now += 13
        assert cache.find(key) is UNKNOWN_YET
        await cache.load([key])
        assert cache.find(key).status == "active"
