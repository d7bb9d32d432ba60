"""What is kept no longer: addresses become networks, old rows go."""

from datetime import UTC, date, datetime, timedelta

import asyncpg

from telemetry_server.store.queries import load

SQL = load("retention")

SHORTEN_ADDRESSES = "shorten addresses"
_BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)
_OVERLAP = timedelta(days=2)


async def shorten_addresses(connection: asyncpg.Connection, now: datetime, keep_days: int) -> int:
    """Full addresses older than `keep_days` become their /24 or /48; gives how many rows changed.

    Reads only what grew old since the job last finished, and two days more.
    """
    keep = timedelta(days=keep_days)
    last_finished = await connection.fetchval(SQL["last_finished"], SHORTEN_ADDRESSES)
    since = _BEGINNING if last_finished is None else last_finished - keep - _OVERLAP
    changed: int = await connection.fetchval(SQL["shorten_ping_addresses"], since, now - keep, timeout=3600)
    for table in ("installation", "fork", "lineage"):
        changed += await connection.fetchval(SQL[f"shorten_{table}_addresses"], now - keep, timeout=3600)
    return changed


async def forget_unused_states(connection: asyncpg.Connection, before: datetime) -> int:
    """Removes the states first seen before `before` that no kept ping and no installation is in."""
    removed = 0
    for installation_id, states in await connection.fetch(SQL["unused_states"], before, timeout=3600):
        async with connection.transaction():
            await connection.execute(SQL["lock_installation"], installation_id)
            removed += await connection.fetchval(SQL["forget_states"], installation_id, states)
    return removed


async def empty_quarantine(connection: asyncpg.Connection, before: datetime) -> int:
    count: int = await connection.fetchval(SQL["empty_quarantine"], before)
    return count


async def forget_counts(connection: asyncpg.Connection, before: date) -> int:
    count: int = await connection.fetchval(SQL["forget_counts"], before)
    return count
