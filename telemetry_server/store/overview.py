"""What people ask about the fleet as a whole. Reads only; roll-ups may answer some of it later.

`product` is a slug, or None for all. Each question may raise TooSlow.
"""

from datetime import date, datetime, timedelta
from typing import Any

from telemetry_server.store.database import Pool
from telemetry_server.store.fleet import Row
from telemetry_server.store.queries import load
from telemetry_server.store.reading import reading

SQL = load("overview")

MOST_PINGS_FOR_FEATURES = 20_000


async def totals(pool: Pool, product: str | None, since: datetime) -> Row:
    """known, seen, new, with_missing, with_lost (installations); missing, lost (pings)."""
    [row] = await _fetch(pool, "totals", product, since)
    return row


async def new_over_time(
    pool: Pool, product: str | None, since: datetime, step: timedelta
) -> dict[datetime, int]:
    """New installations by the start of each step that has any."""
    rows = await _fetch(pool, "new_over_time", product, since, step)
    return {row["starts_at"]: row["installations"] for row in rows}


async def pings_over_time(
    pool: Pool, product: str | None, since: datetime, step: timedelta
) -> dict[datetime, tuple[int, int]]:
    """Pings, and those among them whose clock was far off, by the start of each step that has any."""
    rows = await _fetch(pool, "pings_over_time", product, since, step)
    return {row["starts_at"]: (row["pings"], row["suspect"]) for row in rows}


async def top_features(pool: Pool, product: str | None, since: datetime) -> list[Row]:
    """The ten features most used in the newest pings: feature, uses, installations; pings (looked at)."""
    return await _fetch(pool, "top_features", product, since, MOST_PINGS_FOR_FEATURES)


async def forks_counted(pool: Pool, product: str | None, since: datetime) -> Row:
    """forks, installations."""
    [row] = await _fetch(pool, "forks_counted", product, since)
    return row


async def quarantine_counted(pool: Pool, product: str | None) -> int:
    [row] = await _fetch(pool, "quarantine_counted", product)
    count: int = row["count"]
    return count


async def outcomes(pool: Pool, product: str | None, since: date) -> list[Row]:
    """day, outcome, count: what happened to pings that were not simply accepted."""
    return await _fetch(pool, "outcomes", product, since)


async def newest_forks(pool: Pool, product: str | None, since: datetime, limit: int) -> list[Row]:
    return await _fetch(pool, "newest_forks", product, since, limit)


async def newest_quarantined(pool: Pool, product: str | None, limit: int) -> list[Row]:
    return await _fetch(pool, "newest_quarantined", product, limit)


async def suspect_installations(pool: Pool, product: str | None, since: datetime, limit: int) -> list[Row]:
    """installation_id, product, pings, received_at, sequence; earliest, latest (what its clock said)."""
    return await _fetch(pool, "suspect_installations", product, since, limit)


async def _fetch(pool: Pool, name: str, *arguments: Any) -> list[Row]:
    async with reading(pool) as connection:
        return [dict(record) for record in await connection.fetch(SQL[name], *arguments)]
