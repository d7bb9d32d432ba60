"""What people ask about the fleet as a whole. Reads only; of days, from roll-ups.

`product` is a slug, or None for all. Each question may raise TooSlow.
"""

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from telemetry_server.store.database import Pool
from telemetry_server.store.fleet import Row
from telemetry_server.store.queries import load
from telemetry_server.store.reading import reading

SQL = load("overview")


@dataclass(frozen=True, slots=True)
class Counted:
    """Up to when pings are counted by their day (None: never yet), and which days wait to be."""

    pings_until: datetime | None
    waiting: frozenset[date]

    def is_open(self, day: date) -> bool:
        """Whether more may be counted of the day, even if no ping comes."""
        return self.pings_until is None or day >= self.pings_until.date() or day in self.waiting


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


async def pings_by_hour(pool: Pool, product: str | None, since: datetime) -> dict[datetime, int]:
    """Pings received in each hour that has any, by its start."""
    rows = await _fetch(pool, "pings_by_hour", product, since)
    return {row["starts_at"]: row["pings"] for row in rows}


async def pings_by_day(pool: Pool, product: str | None, since: date) -> dict[date, int]:
    """Pings of each day that has any: of its own clock's day, unless that is far off."""
    return {row["day"]: row["pings"] for row in await _fetch(pool, "pings_by_day", product, since)}


async def counted(pool: Pool, product: str | None, since: date) -> Counted:
    """How far the counts of those days have come."""
    [row] = await _fetch(pool, "counted", product, since)
    return Counted(row["pings_until"], frozenset(row["waiting"]))


async def suspect_pings(pool: Pool, product: str | None, since: datetime) -> int:
    """Pings whose clock was far off."""
    [row] = await _fetch(pool, "suspect_pings", product, since)
    count: int = row["count"]
    return count


async def top_features(pool: Pool, product: str | None, since: date) -> list[Row]:
    """The ten features most used since that day: feature, uses."""
    return await _fetch(pool, "top_features", product, since)


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
