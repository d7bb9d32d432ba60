"""What people ask about the fleet as a whole. Reads only; of days, from roll-ups.

`product` is a slug, or None for all. Each question may raise TooSlow.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from telemetry_server.check.ranges import Range
from telemetry_server.store.counts import fleet_now
from telemetry_server.store.counts.fleet_now import Fleet
from telemetry_server.store.database import Pool
from telemetry_server.store.filtering import Condition
from telemetry_server.store.fleet.installations import Row
from telemetry_server.store.queries import load
from telemetry_server.store.reading import reading

SQL = load(__name__)

MOST_SUSPECT = 5_000


@dataclass(frozen=True, slots=True)
class CountedUntil:
    """Up to when pings are counted by their day (None: never yet), and which days wait to be."""

    pings_until: datetime | None
    waiting: frozenset[date]

    def is_open(self, day: date) -> bool:
        """Whether more may be counted of the day, even if no ping comes."""
        return self.pings_until is None or day >= self.pings_until.date() or day in self.waiting


async def fleet(pool: Pool, product: str | None, now: datetime) -> Fleet | None:
    """The fleet that the next four questions are about; None: it is not counted yet."""
    products = Condition("($3::text IS NULL OR r.slug = $3)", (product,))
    async with reading(pool) as connection:
        counted = await fleet_now.counted(connection, products, now)
        return Fleet(product, counted) if counted else None


async def totals(pool: Pool, fleet: Fleet, over: Range) -> Row:
    """known, seen, new, with_missing, with_lost (installations); missing, lost (pings)."""
    async with reading(pool) as connection:
        return await fleet_now.totals(connection, fleet, over)


async def facets(
    pool: Pool, fleet: Fleet, over: Range, names: Sequence[str]
) -> dict[str, dict[str | None, int]]:
    """Of the installations seen, how many have each value of these dimensions; None: the rare values."""
    async with reading(pool) as connection:
        return await fleet_now.facets(connection, fleet, over, names)


async def new_over_time(pool: Pool, fleet: Fleet, over: Range, now: datetime) -> dict[datetime, int]:
    """New installations by the start of each step of the chart that has any."""
    since = over.first_step(now)
    async with reading(pool) as connection:
        if over.hourly:
            return await fleet_now.new_by_hour(connection, fleet, since)
        return await fleet_now.new_by_day(connection, fleet, since.date())


async def pings_by_hour(pool: Pool, fleet: Fleet, since: datetime) -> dict[datetime, int]:
    """Pings received in each hour that has any, by its start, a full hour; of the last day only."""
    async with reading(pool) as connection:
        return await fleet_now.pings_by_hour(connection, fleet, since)


async def pings_by_day(pool: Pool, product: str | None, since: date) -> dict[date, int]:
    """Pings of each day that has any: of its own clock's day, unless that is far off."""
    return {row["day"]: row["pings"] for row in await _fetch(pool, "pings_by_day", product, since)}


async def counted(pool: Pool, product: str | None, since: date) -> CountedUntil:
    """How far the counts of those days have come."""
    [row] = await _fetch(pool, "counted", product, since)
    return CountedUntil(row["pings_until"], frozenset(row["waiting"]))


async def suspect_pings(pool: Pool, product: str | None, since: datetime) -> int:
    """Pings whose clock was far off; MOST_SUSPECT + 1: more than are counted."""
    [row] = await _fetch(pool, "suspect_pings", product, since, MOST_SUSPECT + 1)
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
    """installation_id, product, pings, received_at, sequence; earliest, latest (what its clock said).

    Of the newest MOST_SUSPECT of such pings: there may be very many, far apart on the disk.
    """
    return await _fetch(pool, "suspect_installations", product, since, limit, MOST_SUSPECT)


async def _fetch(pool: Pool, name: str, *arguments: Any) -> list[Row]:
    async with reading(pool) as connection:
        return [dict(record) for record in await connection.fetch(SQL[name], *arguments)]
