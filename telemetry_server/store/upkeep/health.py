"""Checks of the database for readiness."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import date, datetime, timedelta

from telemetry_server.errors import MigrationError, Unavailable
from telemetry_server.job_names import JobName
from telemetry_server.readiness import Check
from telemetry_server.store import clock
from telemetry_server.store.counts.rollups import progress
from telemetry_server.store.database import Connection, Pool
from telemetry_server.store.migrate import pending_migrations
from telemetry_server.store.partitions import months_everywhere, strays
from telemetry_server.store.reading import reading
from telemetry_server.store.upkeep.addresses import retention_problem
from telemetry_server.store.upkeep.vitals import Schedule, failing_jobs, late_jobs

PATIENCE_SECONDS = 3.0
"""Load balancers wait about five seconds for an answer."""


async def in_time(look: Callable[[], Awaitable[list[Check]]]) -> list[Check]:
    """The checks of `look`, or after PATIENCE_SECONDS that PostgreSQL does not answer.

    A hung PostgreSQL ignores statement timeouts, and the driver times out late.
    """
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await look()
    except TimeoutError:
        return [Check("database", ok=False, detail="PostgreSQL does not answer.")]


async def look_at_database(
    pool: Pool, schedule: Schedule, now: datetime, most_behind: timedelta
) -> list[Check]:
    """All checks that can be made; an unreachable database is a failed check, not an error.

    While the clock is more than `most_behind` behind, no pings are taken.
    """
    try:
        async with reading(pool, seconds=2) as connection:
            return [check async for check in _checks(connection, schedule, now, most_behind)]
    except Unavailable as error:
        return [Check("database", ok=False, detail=error.detail)]


async def _checks(
    connection: Connection, schedule: Schedule, now: datetime, most_behind: timedelta
) -> AsyncIterator[Check]:
    await connection.fetchval("SELECT 1")
    yield Check("database", ok=True, detail="answers")
    migrations = await _migrations(connection)
    yield migrations
    if not migrations.ok:
        return
    yield await _clock(connection, now, most_behind)
    yield _hint("partitions", await _lacking(connection, now.date()), "there for this month and the next")
    found = ", ".join(f"{count} {table} in no month" for table, count in (await strays(connection)).items())
    yield _hint("default_partition", found and f'{found}; run the job "{JobName.MAKE_PARTITIONS}"', "empty")
    problem = await retention_problem(connection, now)
    yield _hint("address_retention", problem and f'{problem}; "doctor" says more', "enforced")
    counted = await progress(connection)
    yield Check("roll_ups", ok=not counted.is_late(now), detail=str(counted), needed=False)
    # Their errors are for "doctor" and the log: anyone may read this.
    names = {
        "failed": await failing_jobs(connection, now),
        "late": await late_jobs(connection, schedule, now),
    }
    problem = "; ".join(f"{how}: {', '.join(jobs)}" for how, jobs in names.items() if jobs)
    yield _hint("jobs", problem, "none failed or late")


async def _clock(connection: Connection, now: datetime, most_behind: timedelta) -> Check:
    read = await clock.read_clock(connection, now)
    refuses = read.lag > most_behind
    said = (
        read.problem or "the database and the pings agree with it",
        "uploads are refused until then" if refuses else None,
        await clock.taken_back(connection, now),
    )
    return Check("clock", ok=read.problem is None, detail="; ".join(filter(None, said)), needed=refuses)


def _hint(name: str, problem: str | None, good: str) -> Check:
    """A check that does not affect readiness: the server still takes pings."""
    return Check(name, ok=not problem, detail=problem or good, needed=False)


async def _migrations(connection: Connection) -> Check:
    try:
        pending = await pending_migrations(connection)
    except MigrationError as error:
        return Check("migrations", ok=False, detail=error.detail)
    if pending:
        return Check("migrations", ok=False, detail=f'{len(pending)} to do; run "telemetry-server migrate"')
    return Check("migrations", ok=True, detail="all applied")


async def _lacking(connection: Connection, today: date) -> str:
    """The problem if a month has no partitions; else empty."""
    next_month = date(today.year + today.month // 12, today.month % 12 + 1, 1)
    lacking = {today.replace(day=1), next_month} - set(await months_everywhere(connection))
    months = ", ".join(f"{month:%Y-%m}" for month in sorted(lacking))
    return months and f'none for {months}; run the job "{JobName.MAKE_PARTITIONS}"'
