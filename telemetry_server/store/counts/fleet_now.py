"""The fleet as it is now, counted in one way whatever its size.

The statements that count give rows (product_id, dimension, value, depth, count). The job "count the fleet"
keeps those of a large fleet in the table fleet_now; of a small one they stand in its place in the question.
`depth` is the number of ranges, which all end now, that something lies in: it lies in all that are as long.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from typing import Any

import asyncpg

from telemetry_server.check.ranges import Range, depth
from telemetry_server.job_names import JobName
from telemetry_server.store.counts.rollups import MOST_VALUES
from telemetry_server.store.database import Connection
from telemetry_server.store.dimensions import ALL, BY_NAME, DIMENSIONS, Dimension, grouping
from telemetry_server.store.filtering import Condition
from telemetry_server.store.fleet.installations import Row
from telemetry_server.store.queries import fill, load
from telemetry_server.store.watermarks import reach

SQL = load(__name__)

SMALL = 20_000
"""Installations that are counted in a second or so; the job counts a fleet of more."""
MOST_AT_ONCE = 2 * SMALL
"""Of more, none are counted for a question: a fleet that grew is until the job has."""
COLUMNS = {"product": "r.product_id", "simulated": "r.product_id"}
"""What the job's counts can be filtered by: of fleet_now AS r."""

_SECONDS = 600


@dataclass(frozen=True, slots=True)
class Counted:
    """When the fleet is counted: by the job, or for the question, which is now."""

    at: datetime
    by_job: bool


async def counted(connection: Connection, products: Condition, now: datetime) -> Counted | None:
    """When the installations of some products are counted; None: not yet.

    `products` is of a column r.product_id, and has the parameters from the third on.
    """
    statement = fill(SQL["when_counted"], filter=products.sql)
    row = await connection.fetchrow(statement, JobName.COUNT_THE_FLEET, MOST_AT_ONCE, *products.values)
    by_job = row["reached_at"] is not None
    return Counted(row["reached_at"] if by_job else now, by_job) if row["counted"] else None


async def is_large(connection: Connection, small: int) -> bool:
    """Whether there are more installations than `small`."""
    large: bool = await connection.fetchval(SQL["is_large"], small)
    return large


# ── counting ────────────────────────────────────────────────────────────────────────────────


async def count(
    connection: Connection, begins: Sequence[datetime], hours_since: datetime, now: datetime
) -> None:
    """Counts the fleet anew, by the times that began at `begins`, the longest first; within `counting`."""
    await connection.execute(SQL["forget_counts"])
    ranges, moment = "$2::timestamptz[]", "$2::timestamptz"
    counted: list[tuple[str, tuple[Any, ...]]] = [
        (_by_value(DIMENSIONS, depth=f"width_bucket(i.last_received_at, {ranges})"), (begins,)),
        (_within("installations_by_gaps", begins=ranges, filter="TRUE"), (begins,)),
        (_newcomers(since=moment, hours_since="$3::timestamptz"), (begins[0], hours_since)),
        (_within("pings_by_hour", hours_since=moment, filter="TRUE"), (hours_since,)),
    ]
    for counts, values in counted:
        statement = fill(SQL["keep_counts"], counts=f"({counts})")
        await connection.execute(statement, MOST_VALUES, *values, timeout=_SECONDS)
    await reach(connection, JobName.COUNT_THE_FLEET, now)


async def forget(connection: Connection) -> None:
    """From now on, the fleet is counted when somebody asks."""
    await connection.execute(SQL["forget_counts"])
    await connection.execute(SQL["forget_mark"], JobName.COUNT_THE_FLEET)


def _by_value(
    dimensions: Sequence[Dimension], wanted: str = "TRUE", *, depth: str = "0", total: bool = False
) -> str:
    """Where neither `wanted` nor `depth` asks for installations AS i, they are not read."""
    values = {one.name: one.text(one.present) for one in dimensions}
    slots = grouping(values, otherwise=ALL, value="''", total=total)
    return _within("installations_by_value", filter=wanted, depth=depth, **slots)


def _newcomers(since: str, hours_since: str, wanted: str = "TRUE") -> str:
    return _within("newcomers", since=since, hours_since=hours_since, filter=wanted)


def _within(name: str, **slots: str) -> str:
    """A statement that counts, to stand in another."""
    return fill(SQL[name].removesuffix(";"), **slots)


# ── questions ───────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Fleet:
    """The installations of a product, by its slug, or of all, and when they are counted."""

    product: str | None
    counted: Counted

    def of(self, column: str) -> str:
        """The condition of a small fleet's rows. The slug is the first parameter of every question."""
        if self.product is None:
            return "TRUE"
        return f"{column} = (SELECT p.product_id FROM products AS p WHERE p.slug = $1)"  # noqa: S608  a column of ours


async def totals(connection: Connection, fleet: Fleet, over: Range) -> Row:
    """known, seen, new, with_missing, with_lost (installations); missing, lost (pings)."""
    if fleet.counted.by_job:
        [row] = await _ask(connection, "totals", "fleet_now", fleet.product, depth(over))
        return dict(row)
    of_product = fleet.of("i.product_id")
    counts = f"({_within('installations_by_gaps', begins='$3::timestamptz[]', filter=of_product)})"
    [row] = await _ask(connection, "totals", counts, fleet.product, 1, [over.since(fleet.counted.at)])
    return dict(row)


async def facets(
    connection: Connection, fleet: Fleet, over: Range, names: Sequence[str]
) -> dict[str, dict[str | None, int]]:
    """Of the installations seen, how many have each value of these dimensions; None: the rare values."""
    if fleet.counted.by_job:
        rows = await _ask(connection, "facets", "fleet_now", fleet.product, depth(over), names)
    else:
        seen = f"{fleet.of('f.product_id')} AND i.last_received_at >= $4::timestamptz"
        counts = f"({_by_value([BY_NAME[name] for name in names], seen, depth='1')})"
        since = over.since(fleet.counted.at)
        rows = await _ask(connection, "facets", counts, fleet.product, 1, names, since)
    found: dict[str, dict[str | None, int]] = {}
    for field, value, number in rows:
        found.setdefault(field, {})[value] = number
    return found


async def new_by_day(connection: Connection, fleet: Fleet, since: date) -> dict[datetime, int]:
    """New installations of each day that has any, by its start."""
    begin = datetime.combine(since, time(), UTC)
    rows = await _newcomers_over_time(connection, fleet, "new_on", since.isoformat(), begin)
    return {datetime.fromisoformat(f"{value}T00+00:00"): count for value, count in rows}


async def new_by_hour(connection: Connection, fleet: Fleet, since: datetime) -> dict[datetime, int]:
    """New installations of each hour that has any, by its start; of the last day only."""
    return _by_hour(await _newcomers_over_time(connection, fleet, "new_in", _hour(since), since))


async def pings_by_hour(connection: Connection, fleet: Fleet, since: datetime) -> dict[datetime, int]:
    """Pings received in each hour that has any, by its start; of the last day only."""
    asked = (fleet.product, "pings_in", _hour(since))
    if fleet.counted.by_job:
        return _by_hour(await _ask(connection, "over_time", "fleet_now", *asked))
    of_product = fleet.of("i.product_id")
    counts = f"({_within('pings_by_hour', hours_since='$4::timestamptz', filter=of_product)})"
    return _by_hour(await _ask(connection, "over_time", counts, *asked, since))


async def by_value(
    connection: Connection, by: str, asked: Condition, values: int, counted: Counted | None
) -> list[Row]:
    """As `counting.present` gives them; `asked` has the parameters from the third on.

    It is of COLUMNS; with None in place of `counted` it is of the columns NOW, and counted for the question.
    """
    column, dimension = ("p.slug", ALL) if by == "product" else ("r.value", by)
    dimensions = [BY_NAME[by]] if by in BY_NAME else []
    by_job = counted is not None and counted.by_job
    narrowed, wanted = (asked.sql, "TRUE") if counted is None else ("TRUE", asked.sql)
    counts = "fleet_now" if by_job else f"({_by_value(dimensions, narrowed, total=not dimensions)})"
    rows = await _ask(
        connection, "by_value", counts, values, dimension, *asked.values, by=column, filter=wanted
    )
    return [dict(row) for row in rows]


async def _newcomers_over_time(
    connection: Connection, fleet: Fleet, dimension: str, first: str, since: datetime
) -> list[asyncpg.Record]:
    asked = (fleet.product, dimension, first)
    if fleet.counted.by_job:
        return await _ask(connection, "over_time", "fleet_now", *asked)
    moment = "$4::timestamptz"
    counts = f"({_newcomers(moment, moment, fleet.of('f.product_id'))})"
    return await _ask(connection, "over_time", counts, *asked, since)


async def _ask(
    connection: Connection, question: str, counts: str, *values: Any, **slots: str
) -> list[asyncpg.Record]:
    """Asks the counts that the job kept, or those that a statement in parentheses makes."""
    rows: list[asyncpg.Record] = await connection.fetch(fill(SQL[question], counts=counts, **slots), *values)
    return rows


def _hour(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H}"


def _by_hour(rows: list[asyncpg.Record]) -> dict[datetime, int]:
    return {datetime.fromisoformat(f"{value}:00+00:00"): count for value, count in rows}
