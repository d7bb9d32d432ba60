"""What is kept no longer: old rows go. Addresses have a module of their own."""

from datetime import date, datetime

from telemetry_server.store.database import Connection
from telemetry_server.store.queries import load

SQL = load(__name__)


async def forget_unused_states(connection: Connection, before: datetime) -> int:
    """Removes the states first seen before `before` that no kept ping and no installation is in."""
    removed = 0
    for row in await connection.fetch(SQL["unused_states"], before, timeout=3600):
        async with connection.transaction():
            await connection.execute(SQL["lock_installation"], row["installation_id"])
            removed += await connection.fetchval(SQL["forget_states"], row["installation_id"], row["states"])
    return removed


async def oldest_day(connection: Connection) -> date | None:
    """The first day of which there may be counters; None where there is no ping."""
    day: date | None = await connection.fetchval(SQL["oldest_day"])
    return day


async def forget_counters(connection: Connection, day: date) -> int:
    """Removes the feature counters of the day; gives of how many rows."""
    rows: int = await connection.fetchval(SQL["forget_counters_of_pings"], day, timeout=3600)
    rows += await connection.fetchval(SQL["forget_counters_of_days"], day, timeout=3600)
    return rows


async def forget_changes(connection: Connection, before: datetime) -> int:
    """Removes what the timeline tells of facts noted before then; verdicts and lives stay."""
    count: int = await connection.fetchval(SQL["forget_changes"], before, timeout=3600)
    return count


async def empty_quarantine(connection: Connection, before: datetime) -> int:
    count: int = await connection.fetchval(SQL["empty_quarantine"], before)
    return count


async def forget_enrolments(connection: Connection, before: datetime) -> int:
    """Removes the parents of identities that were made before then and never sent a ping; gives how many."""
    count: int = await connection.fetchval(SQL["forget_enrolments"], before, timeout=3600)
    return count


async def forget_counts(connection: Connection, before: date) -> int:
    count: int = await connection.fetchval(SQL["forget_counts"], before)
    return count
