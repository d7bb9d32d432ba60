"""Queries about the whole fleet. Reads only; counts of days come from roll-ups.

`product` is a slug, or None for all. Each question may raise TooSlow.
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

from telemetry_server.check.ranges import Range, depth
from telemetry_server.store.counts import fleet_now
from telemetry_server.store.counts.fleet_now import Fleet, within
from telemetry_server.store.database import Pool
from telemetry_server.store.filtering import Condition
from telemetry_server.store.fleet.installations import Row
from telemetry_server.store.queries import load
from telemetry_server.store.reading import read_rows, reading

SQL = load(__name__)

MOST_SUSPECT = 5_000

_HOURS = "%Y-%m-%dT%H"  # as the statements of fleet_now.sql write moments


@dataclass(frozen=True, slots=True)
class CountedUntil:
    """Up to when pings are counted by their day (None: never yet), and the days still to be counted."""

    pings_until: datetime | None
    waiting: frozenset[date]

    def is_open(self, day: date) -> bool:
        """Whether the counts of the day may still grow without another ping."""
        return self.pings_until is None or day >= self.pings_until.date() or day in self.waiting


async def fleet(pool: Pool, product: str | None, now: datetime) -> Fleet | None:
    """The fleet for the next two questions; None: it is not counted yet."""
    of_product = "r.product_id = (SELECT p.product_id FROM products AS p WHERE p.slug = $3)"
    products = Condition(f"($3::text IS NULL OR {of_product})", (product,))
    async with reading(pool) as connection:
        counted = await fleet_now.counted(connection, products, now)
        return Fleet(product, counted) if counted else None


async def totals(pool: Pool, fleet: Fleet, over: Range) -> Row:
    """known, seen, new, with_missing, with_lost (installations); missing, lost (pings)."""
    counts = within("installations_by_gaps", begins="$3::timestamptz[]", filter=fleet.of("i.product_id"))
    since = [over.since(fleet.counted.at)]
    [row] = await fleet.ask(pool, "totals", _depth(fleet, over), counts=counts, since=since)
    return row


async def pings_by_hour(pool: Pool, fleet: Fleet, since: datetime) -> dict[datetime, int]:
    """Pings received in each hour that has any, by its start, from an hour of the last day on."""
    counts = within("pings_by_hour", hours_since="$4::timestamptz", filter=fleet.of("i.product_id"))
    asked = ("pings_in", since.strftime(_HOURS))
    rows = await fleet.ask(pool, "over_time", *asked, counts=counts, since=since)
    return {datetime.strptime(row["value"], _HOURS).replace(tzinfo=UTC): row["count"] for row in rows}


def _depth(fleet: Fleet, over: Range) -> int:
    """What is counted for the question is counted by one range."""
    return depth(over) if fleet.counted.by_job else 1


async def pings_by_day(pool: Pool, product: str | None, since: date) -> dict[date, int]:
    """Pings of each day that has any, by the day of the copy's clock unless that is far off."""
    return {row["day"]: row["pings"] for row in await _fetch(pool, "pings_by_day", product, since)}


async def counted(pool: Pool, product: str | None, since: date) -> CountedUntil:
    """Up to when the pings of the days from `since` on are counted."""
    [row] = await _fetch(pool, "counted", product, since)
    return CountedUntil(row["pings_until"], frozenset(row["waiting"]))


async def suspect_pings(pool: Pool, product: str | None, since: datetime) -> int:
    """Number of pings whose clock was far off; MOST_SUSPECT + 1 means that there may be more."""
    [row] = await _fetch(pool, "suspect_pings", product, since, MOST_SUSPECT + 1)
    return int(row["count"])


async def top_features(pool: Pool, product: str | None, since: date) -> list[Row]:
    """The ten most used features since that day: feature, uses."""
    return await _fetch(pool, "top_features", product, since)


async def forks_counted(pool: Pool, product: str | None, since: datetime) -> Row:
    """forks, installations."""
    [row] = await _fetch(pool, "forks_counted", product, since)
    return row


async def quarantine_counted(pool: Pool, product: str | None) -> int:
    [row] = await _fetch(pool, "quarantine_counted", product)
    return int(row["count"])


async def outcomes(pool: Pool, product: str | None, since: date) -> list[Row]:
    """day, outcome, count of the pings with another outcome than accepted."""
    return await _fetch(pool, "outcomes", product, since)


async def newest_forks(pool: Pool, product: str | None, since: datetime, limit: int) -> list[Row]:
    return await _fetch(pool, "newest_forks", product, since, limit)


async def newest_quarantined(pool: Pool, product: str | None, limit: int) -> list[Row]:
    return await _fetch(pool, "newest_quarantined", product, limit)


async def suspect_installations(pool: Pool, product: str | None, since: datetime, limit: int) -> list[Row]:
    """installation_id, product, pings, received_at, sequence; earliest and latest by its clock.

    From the newest MOST_SUSPECT of these pings: there may be very many, far apart on the disk.
    """
    return await _fetch(pool, "suspect_installations", product, since, limit, MOST_SUSPECT)


async def _fetch(pool: Pool, name: str, *arguments: Any) -> list[Row]:
    return await read_rows(pool, SQL[name], *arguments)
