"""The rate limit of failed sign-ins: what PostgreSQL admits is what the algorithm says."""

import asyncio
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from telemetry_server.errors import TooManyRequests
from telemetry_server.store.access import throttle
from telemetry_server.store.access.throttle import Bucket, Limit

NOW = datetime(2026, 11, 22, 10, tzinfo=UTC)
LIMIT = Limit(3, timedelta(seconds=60))


class Model:
    """At most `count` attempts within any `count` times `every`, as a list of the admitted ones."""

    def __init__(self):
        self.free_at = 0.0

    def admits(self, at):
        free_at = max(self.free_at, at) + 60
        if free_at > at + 180:
            return False
        self.free_at = free_at
        return True


@pytest.fixture(scope="module")
def settled(cluster, template):
    asyncio.run(cluster.copy(template, "throttled"))
    yield cluster.dsn("throttled")
    asyncio.run(cluster.execute("DROP DATABASE throttled WITH (FORCE)"))


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(gaps=st.lists(st.integers(0, 200), min_size=1, max_size=25))
def test_attempts_are_admitted_as_the_algorithm_says(settled, gaps):
    model, moments = Model(), []
    for gap in gaps:
        moments.append((moments[-1] if moments else 0) + gap)
    expected = [model.admits(at) for at in moments]
    assert asyncio.run(admitted(settled, moments)) == expected
    assert any(expected)


async def admitted(dsn, moments):
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute("DELETE FROM sign_in_attempts")
        return [await admits(connection, NOW + timedelta(seconds=at)) for at in moments]
    finally:
        await connection.close()


async def admits(connection, now, limit=LIMIT, name="ann"):
    try:
        await throttle.admit(connection, [Bucket(limit, name)], now)
    except TooManyRequests as refused:
        wait = timedelta(seconds=refused.retry_after)
        assert timedelta(0) < wait <= limit.every  # a refused attempt is not charged: it never takes longer
        return False
    return True


async def test_after_the_time_that_it_says_the_next_attempt_is_admitted(connection):
    for _ in range(1_000):
        await admits(connection, NOW)
    with pytest.raises(TooManyRequests) as refused:
        await throttle.admit(connection, [Bucket(LIMIT, "ann")], NOW)
    assert await admits(connection, NOW + timedelta(seconds=refused.value.retry_after))


async def test_parallel_attempts_of_all_workers_share_the_limit(database):
    async with asyncpg.create_pool(database, min_size=8, max_size=8) as pool:
        tried = await asyncio.gather(*(admits(pool, NOW) for _ in range(20)))
    assert sum(tried) == LIMIT.count


async def test_a_refused_attempt_charges_none_of_its_limits(connection):
    full, other = Bucket(LIMIT, "full"), Bucket(LIMIT, "other")
    for _ in range(LIMIT.count):
        await throttle.admit(connection, [full], NOW)
    for _ in range(10):
        with pytest.raises(TooManyRequests):
            await throttle.admit(connection, [other, full], NOW)
    for _ in range(LIMIT.count):
        await throttle.admit(connection, [other], NOW)


async def test_a_time_that_a_clock_ahead_wrote_locks_no_one_out(connection):
    for _ in range(LIMIT.count):
        await admits(connection, NOW + timedelta(days=400))
    assert await admits(connection, NOW)


async def test_strangers_everywhere_do_not_lock_out_a_browser_that_signed_in_before(connection):
    for number in range(throttle.OF_ACCOUNT.count):
        asked = throttle.buckets("ann@example.com", f"192.0.2.{number}", known_browser=False)
        await throttle.admit(connection, asked, NOW)
    new = throttle.buckets("ann@example.com", "198.51.100.1", known_browser=False)
    with pytest.raises(TooManyRequests):
        await throttle.admit(connection, new, NOW)
    known = throttle.buckets("ann@example.com", "198.51.100.1", known_browser=True)
    await throttle.admit(connection, known, NOW)


async def test_free_buckets_are_forgotten(connection):
    await admits(connection, NOW)
    await throttle.forget_attempts(connection, NOW)
    assert await connection.fetchval("SELECT count(*) FROM sign_in_attempts") == 1
    await throttle.forget_attempts(connection, NOW + LIMIT.every)
    assert await connection.fetchval("SELECT count(*) FROM sign_in_attempts") == 0
