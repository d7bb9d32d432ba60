"""Whether jobs run in time."""

import asyncio
import os
import signal
import time
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest

from telemetry_server.jobs.runner import Job, run_job
from telemetry_server.single_flight import SingleFlight
from telemetry_server.store.connection_budget import connections_allowed
from telemetry_server.store.database import make_pool
from telemetry_server.store.job_log import lock_number
from telemetry_server.store.upkeep.health import PATIENCE_SECONDS, in_time, look_at_database
from telemetry_server.store.upkeep.vitals import Schedule

pytestmark = pytest.mark.every_postgres

HOUR = timedelta(hours=1)


@pytest.fixture
async def pool(database):
    async with make_pool(database) as pool:
        yield pool


async def jobs_check(pool, schedule, now):
    [check] = [
        check for check in await look_at_database(pool, schedule, now, timedelta.max) if check.name == "jobs"
    ]
    return check.ok, check.detail


async def test_a_job_whose_lock_somebody_else_holds_is_late(pool, connection):
    now = datetime.now(UTC)
    schedule = Schedule({"count": HOUR}, now - timedelta(days=9))

    async def count(connection, now):
        return "counted"

    await connection.execute("SELECT pg_advisory_lock($1)", lock_number("count"))
    assert await run_job(Job("count", count, HOUR), pool.acquire) is None
    assert await jobs_check(pool, schedule, now) == (False, "late: count")
    await connection.execute("SELECT pg_advisory_unlock_all()")
    assert await run_job(Job("count", count, HOUR), pool.acquire) == "counted"
    assert await jobs_check(pool, schedule, now + 3 * HOUR) == (True, "none failed or late")
    assert await jobs_check(pool, schedule, now + 4 * HOUR) == (False, "late: count")


async def test_a_job_is_not_late_as_soon_as_the_server_starts(pool, connection):
    now = datetime.now(UTC)
    schedule = Schedule({"count": HOUR, "new": HOUR}, now)
    await connection.execute("INSERT INTO jobs VALUES ('count', $1, $1, NULL)", now - timedelta(days=9))
    assert (await jobs_check(pool, schedule, now + 3 * HOUR))[0]
    assert await jobs_check(pool, schedule, now + 4 * HOUR) == (False, "late: count, new")


@pytest.mark.parametrize("ahead", [8 * HOUR, timedelta(days=500)])
async def test_a_run_in_the_future_and_a_start_in_the_future_hide_no_job_that_is_late(
    pool, connection, ahead
):
    now = datetime.now(UTC)
    await connection.execute("INSERT INTO jobs VALUES ('count', $1, $1, NULL)", now + ahead)
    began = time.monotonic() - 4 * HOUR.total_seconds()
    for since in now - 4 * HOUR, now + ahead:
        schedule = Schedule({"count": HOUR, "new": HOUR}, since, began)
        assert await jobs_check(pool, schedule, now) == (False, "late: count, new")
    schedule = Schedule({"count": HOUR}, now + ahead)  # it has just begun
    assert await jobs_check(pool, schedule, now) == (True, "none failed or late")


async def test_the_address_promise_is_not_called_kept_by_a_run_in_the_future(pool, connection):
    now = datetime.now(UTC)
    await connection.execute(
        "INSERT INTO jobs VALUES ('shorten addresses', $1, $1, NULL)", now + timedelta(days=40)
    )
    checks = {
        check.name: check for check in await look_at_database(pool, Schedule({}, now), now, timedelta.max)
    }
    assert not checks["address_retention"].ok
    assert "by a clock that was ahead" in checks["address_retention"].detail


async def test_times_in_the_future_and_a_clock_in_doubt_are_told(pool, connection):
    now = datetime.now(UTC)

    async def clock(moment):
        found = await look_at_database(pool, Schedule({}, moment), moment, timedelta.max)
        [check] = [check for check in found if check.name == "clock"]
        assert not check.needed
        return check.ok, check.detail

    assert await clock(now) == (True, "the database and the pings agree with it")
    assert (await clock(now + HOUR))[0] is False
    await connection.execute("INSERT INTO rollup_marks VALUES ('serving', $1)", now + timedelta(days=500))
    ok, detail = await clock(now)
    assert not ok
    assert f"times up to {now + timedelta(days=500):%Y-%m-%d %H:%M} UTC lie in the future" in detail


async def test_a_postgresql_that_hangs_is_reported_in_time_and_again_when_it_answers(database):
    async with make_pool(database, size=1, patience=PATIENCE_SECONDS) as pool:
        now = datetime.now(UTC)
        look = partial(
            in_time, SingleFlight(lambda: look_at_database(pool, Schedule({}, now), now, timedelta.max)).run
        )
        assert (await look())[0].ok
        async with pool.acquire() as connection:
            backend = connection.get_server_pid()
        os.kill(backend, signal.SIGSTOP)
        try:
            begun = time.monotonic()
            found = await asyncio.gather(*(look() for _ in range(100)))
            assert time.monotonic() - begun < PATIENCE_SECONDS + 2
            assert {(check.name, check.ok) for checks in found for check in checks} == {("database", False)}
        finally:
            os.kill(backend, signal.SIGCONT)
        async with asyncio.timeout(20):
            while not (await look())[0].ok:
                await asyncio.sleep(0.1)


async def test_the_connections_allowed_are_those_of_server_role_and_database(connection):
    most = int(await connection.fetchval("SHOW max_connections"))
    reserved = int(await connection.fetchval("SHOW superuser_reserved_connections"))
    assert await connections_allowed(connection) == most - reserved
    name = await connection.fetchval("SELECT quote_ident(current_database())")
    await connection.execute(f"ALTER DATABASE {name} CONNECTION LIMIT 7")
    assert await connections_allowed(connection) == 7
