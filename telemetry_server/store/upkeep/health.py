"""Whether the database is as the server needs it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import date, datetime

import asyncpg

from telemetry_server.errors import MigrationError, Unavailable
from telemetry_server.job_names import JobName
from telemetry_server.model import Check
from telemetry_server.store import clock
from telemetry_server.store.counts.rollups import progress
from telemetry_server.store.database import Pool
from telemetry_server.store.migrate import pending_migrations
from telemetry_server.store.partitions import months_everywhere, strays
from telemetry_server.store.reading import reading
from telemetry_server.store.upkeep.addresses import retention_problem
from telemetry_server.store.upkeep.vitals import Schedule, failing_jobs, late_jobs

PATIENCE_SECONDS = 3.0
"""Load balancers wait about five seconds for an answer."""


async def in_time(look: Callable[[], Awaitable[list[Check]]]) -> list[Check]:
    """What `look` finds, or within PATIENCE_SECONDS that PostgreSQL does not answer.

    One that hangs takes no notice of a statement's timeout, and the driver gives up late.
    """
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await look()
    except TimeoutError:
        return [Check("database", ok=False, detail="PostgreSQL does not answer.")]


async def look_at_database(pool: Pool, schedule: Schedule, now: datetime) -> list[Check]:
    """Every check that could be made; never raises what makes the database unfit."""
    try:
        async with reading(pool, seconds=2) as connection:
            return [check async for check in _checks(connection, schedule, now)]
    except Unavailable as error:
        return [Check("database", ok=False, detail=error.detail)]


async def _checks(connection: asyncpg.Connection, schedule: Schedule, now: datetime) -> AsyncIterator[Check]:
    await connection.fetchval("SELECT 1")
    yield Check("database", ok=True, detail="answers")
    migrations = await _migrations(connection)
    yield migrations
    if migrations.ok:
        yield await _clock(connection, now)
        yield await _partitions(connection, now.date())
        yield await _strays(connection)
        yield await _addresses(connection, now)
        yield await _rollups(connection, now)
        yield await _jobs(connection, schedule, now)


async def _migrations(connection: asyncpg.Connection) -> Check:
    try:
        pending = await pending_migrations(connection)
    except MigrationError as error:
        return Check("migrations", ok=False, detail=error.detail)
    if pending:
        return Check("migrations", ok=False, detail=f'{len(pending)} to do; run "telemetry-server migrate"')
    return Check("migrations", ok=True, detail="all applied")


async def _clock(connection: asyncpg.Connection, now: datetime) -> Check:
    problem = (await clock.read_clock(connection, now)).problem
    taken_back = await clock.taken_back(connection, now)
    detail = problem or "the database and the pings agree with it"
    detail += f"; {taken_back}" if taken_back else ""
    return Check("clock", ok=problem is None, detail=detail, needed=False)


async def _partitions(connection: asyncpg.Connection, today: date) -> Check:
    this_month = today.replace(day=1)
    next_month = date(today.year + today.month // 12, today.month % 12 + 1, 1)
    lacking = {this_month, next_month} - set(await months_everywhere(connection))
    if lacking:
        months = ", ".join(f"{month:%Y-%m}" for month in sorted(lacking))
        detail = f'none for {months}; run the job "{JobName.MAKE_PARTITIONS}"'
        return Check("partitions", ok=False, detail=detail, needed=False)
    return Check("partitions", ok=True, detail="there for this month and the next", needed=False)


async def _strays(connection: asyncpg.Connection) -> Check:
    if counts := await strays(connection):
        found = ", ".join(f"{count} {table} in no month" for table, count in counts.items())
        detail = f'{found}; run the job "{JobName.MAKE_PARTITIONS}"'
        return Check("default_partition", ok=False, detail=detail, needed=False)
    return Check("default_partition", ok=True, detail="empty", needed=False)


async def _addresses(connection: asyncpg.Connection, now: datetime) -> Check:
    """A promise that is not kept takes no ping away: it is told, and the server stays ready."""
    problem = await retention_problem(connection, now)
    if problem:
        return Check("address_retention", ok=False, detail=f'{problem}; "doctor" says more', needed=False)
    return Check("address_retention", ok=True, detail="enforced", needed=False)


async def _rollups(connection: asyncpg.Connection, now: datetime) -> Check:
    counted = await progress(connection)
    return Check("roll_ups", ok=not counted.is_late(now), detail=str(counted), needed=False)


async def _jobs(connection: asyncpg.Connection, schedule: Schedule, now: datetime) -> Check:
    """What they failed of is for "doctor" and the log: anybody may read this."""
    found = {
        "failed": await failing_jobs(connection, now),
        "late": await late_jobs(connection, schedule, now),
    }
    if told := [f"{how}: {', '.join(names)}" for how, names in found.items() if names]:
        return Check("jobs", ok=False, detail="; ".join(told), needed=False)
    return Check("jobs", ok=True, detail="none failed or late", needed=False)
