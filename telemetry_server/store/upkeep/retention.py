"""Retention: deletes old rows. For addresses see the module `addresses`."""

from datetime import date, datetime

from telemetry_server.store.database import Connection
from telemetry_server.store.queries import load

SQL = load(__name__)


async def forget_unused_states(connection: Connection, before: datetime) -> int:
    """Deletes states first seen before `before` that no ping and no installation refers to."""
    removed = 0
    for row in await connection.fetch(SQL["unused_states"], before, timeout=3600):
        async with connection.transaction():
            await connection.execute(SQL["lock_installation"], row["installation_id"])
            removed += await connection.fetchval(SQL["forget_states"], row["installation_id"], row["states"])
    return removed


async def oldest_day(connection: Connection) -> date | None:
    """The first day that may have counters; None without pings."""
    day: date | None = await connection.fetchval(SQL["oldest_day"])
    return day


async def forget_counters(connection: Connection, day: date) -> int:
    """Deletes the feature counters of the day; returns the number of changed rows."""
    statements = SQL["forget_counters_of_pings"], SQL["forget_counters_of_days"]
    return sum([int(await connection.fetchval(each, day, timeout=3600)) for each in statements])


async def forget_changes(connection: Connection, before: datetime) -> int:
    """Deletes changes of facts from the timeline; verdicts and phases stay."""
    return int(await connection.fetchval(SQL["forget_changes"], before, timeout=3600))


async def empty_quarantine(connection: Connection, before: datetime) -> int:
    return int(await connection.fetchval(SQL["empty_quarantine"], before))


async def forget_enrolments(connection: Connection, before: datetime) -> int:
    """Deletes the parents of identities that were created before then and never sent a ping."""
    return int(await connection.fetchval(SQL["forget_enrolments"], before, timeout=3600))


async def forget_counts(connection: Connection, before: date) -> int:
    return int(await connection.fetchval(SQL["forget_counts"], before))
