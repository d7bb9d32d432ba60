"""Whether jobs run in time."""

from datetime import UTC, datetime, timedelta

import pytest

from telemetry_server.jobs import Job, run_job
from telemetry_server.store.database import make_pool
from telemetry_server.store.health import look_at_database
from telemetry_server.store.job_log import lock_number
from telemetry_server.store.vitals import Schedule

HOUR = timedelta(hours=1)


@pytest.fixture
async def pool(database):
    async with make_pool(database) as pool:
        yield pool


async def jobs_check(pool, schedule, now):
    [check] = [check for check in await look_at_database(pool, schedule, now) if check.name == "jobs"]
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
