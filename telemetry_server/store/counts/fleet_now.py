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
from telemetry_server.store.dimensions import ALL, BY_NAME, DIMENSIONS, FACETED, Dimension, grouping
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


async def counted(connection: asyncpg.Connection, products: Condition, now: datetime) -> Counted | None:
    """When the installations of some products are counted; None: not yet.

    `products` is of a column r.product_id, and has the parameters from the third on.
    """
    statement = fill(SQL["when_counted"], filter=products.sql)
    row = await connection.fetchrow(statement, JobName.COUNT_THE_FLEET, MOST_AT_ONCE, *products.values)
    by_job = row["reached_at"] is not None
    return Counted(row["reached_at"] if by_job else now, by_job) if row["counted"] else None


async def is_large(connection: asyncpg.Connection, small: int) -> bool:
    """Whether there are more installations than `small`."""
    large: bool = await connection.fetchval(SQL["is_large"], small)
    return large


# ── counting ────────────────────────────────────────────────────────────────────────────────


async def count(
    connection: asyncpg.Connection, begins: Sequence[datetime], hours_since: datetime, now: datetime
) -> None:
    """Counts the fleet anew, by the times that began at `begins`, the longest first; within `counting`."""
    await connection.execute(SQL["forget_counts"])
    for counts in (
        _by_value(DIMENSIONS, 2, begins=begins),
        _by_gaps(2, begins),
        _newcomers(2, begins, hours_since),
        _pings_by_hour(2, hours_since),
    ):
        statement = fill(SQL["keep_counts"], counts=f"({counts.sql})")
        await connection.execute(statement, MOST_VALUES, *counts.values, timeout=_SECONDS)
    await reach(connection, JobName.COUNT_THE_FLEET, now)


async def forget(connection: asyncpg.Connection) -> None:
    """From now on, the fleet is counted when somebody asks."""
    await connection.execute(SQL["forget_counts"])
    await connection.execute(SQL["forget_mark"], JobName.COUNT_THE_FLEET)


@dataclass(frozen=True, slots=True)
class _Counts:
    """A statement that counts, and the values of its parameters; they are numbered from some number on."""

    sql: str
    values: tuple[Any, ...]


def _by_value(
    dimensions: Sequence[Dimension],
    first: int,
    wanted: str = "TRUE",
    *,
    begins: Sequence[datetime] = (),
    total: bool = False,
) -> _Counts:
    """Without times, installations need not be looked at."""
    values = {one.name: one.text(one.present) for one in dimensions}
    slots = grouping(values, otherwise=ALL, value="''", total=total)
    slots["depth"] = f"width_bucket(i.last_received_at, ${first}::timestamptz[])" if begins else "0"
    sql = _within("installations_by_value", filter=wanted, **slots)
    return _Counts(sql, (begins,) if begins else ())


def _by_gaps(first: int, begins: Sequence[datetime], wanted: str = "TRUE") -> _Counts:
    sql = _within("installations_by_gaps", filter=wanted, begins=f"${first}::timestamptz[]")
    return _Counts(sql, (begins,))


def _newcomers(
    first: int, begins: Sequence[datetime], hours_since: datetime, wanted: str = "TRUE"
) -> _Counts:
    slots = {"begins": f"${first}::timestamptz[]", "hours_since": f"${first + 1}::timestamptz"}
    return _Counts(_within("newcomers", filter=wanted, **slots), (begins, hours_since))


def _pings_by_hour(first: int, hours_since: datetime, wanted: str = "TRUE") -> _Counts:
    sql = _within("pings_by_hour", filter=wanted, hours_since=f"${first}::timestamptz")
    return _Counts(sql, (hours_since,))


def _within(name: str, **slots: str) -> str:
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


async def totals(connection: asyncpg.Connection, fleet: Fleet, over: Range) -> Row:
    """known, seen, new, with_missing, with_lost (installations); missing, lost (pings)."""
    if fleet.counted.by_job:
        [row] = await _ask(connection, "totals", None, fleet.product, depth(over))
        return dict(row)
    begins = [over.since(fleet.counted.at)]
    gaps = _by_gaps(3, begins, fleet.of("i.product_id"))
    fresh = _newcomers(4, begins, fleet.counted.at, fleet.of("f.product_id"))
    both = _Counts(f"({gaps.sql}) UNION ALL ({fresh.sql})", gaps.values + fresh.values)
    [row] = await _ask(connection, "totals", both, fleet.product, 1)
    return dict(row)


async def facets(
    connection: asyncpg.Connection, fleet: Fleet, over: Range
) -> dict[str, dict[str | None, int]]:
    """Of the installations seen, how many have each value, by field; None stands for the rare values."""
    names = [one.name for one in FACETED]
    if fleet.counted.by_job:
        rows = await _ask(connection, "facets", None, fleet.product, depth(over), names)
    else:
        begins = [over.since(fleet.counted.at)]
        counts = _by_value(FACETED, 4, fleet.of("f.product_id"), begins=begins)
        rows = await _ask(connection, "facets", counts, fleet.product, 1, names)
    found: dict[str, dict[str | None, int]] = {}
    for field, value, number in rows:
        found.setdefault(field, {})[value] = number
    return found


async def new_by_day(connection: asyncpg.Connection, fleet: Fleet, since: date) -> dict[datetime, int]:
    """New installations of each day that has any, by its start."""
    begin = datetime.combine(since, time(), UTC)
    counts = _newcomers(4, [begin], fleet.counted.at, fleet.of("f.product_id"))
    rows = await _over_time(connection, fleet, counts, "new_on", since.isoformat())
    return {datetime.fromisoformat(f"{value}T00+00:00"): count for value, count in rows}


async def new_by_hour(connection: asyncpg.Connection, fleet: Fleet, since: datetime) -> dict[datetime, int]:
    """New installations of each hour that has any, by its start; of the last day only."""
    counts = _newcomers(4, [since], since, fleet.of("f.product_id"))
    return _by_hour(await _over_time(connection, fleet, counts, "new_in", _hour(since)))


async def pings_by_hour(connection: asyncpg.Connection, fleet: Fleet, since: datetime) -> dict[datetime, int]:
    """Pings received in each hour that has any, by its start; of the last day only."""
    counts = _pings_by_hour(4, since, fleet.of("i.product_id"))
    return _by_hour(await _over_time(connection, fleet, counts, "pings_in", _hour(since)))


async def by_value(
    connection: asyncpg.Connection, by: str, asked: Condition, values: int, counted: Counted | None
) -> list[Row]:
    """As `counting.present` gives them; `asked` has the parameters from the third on.

    It is of COLUMNS; with None in place of `counted` it is of the columns NOW, and counted for the question.
    """
    column, dimension = ("p.slug", ALL) if by == "product" else ("r.value", by)
    dimensions = [BY_NAME[by]] if by in BY_NAME else []
    if counted is None:
        counts, wanted = _by_value(dimensions, 3, asked.sql, total=not dimensions), "TRUE"
    else:
        counts, wanted = _by_value(dimensions, 3, total=not dimensions), asked.sql
    kept = None if counted is not None and counted.by_job else counts
    rows = await _ask(
        connection, "by_value", kept, values, dimension, *asked.values, by=column, filter=wanted
    )
    return [dict(row) for row in rows]


async def _over_time(
    connection: asyncpg.Connection, fleet: Fleet, counts: _Counts, dimension: str, since: str
) -> list[asyncpg.Record]:
    kept = None if fleet.counted.by_job else counts
    return await _ask(connection, "over_time", kept, fleet.product, dimension, since)


async def _ask(
    connection: asyncpg.Connection, question: str, counts: _Counts | None, *values: Any, **slots: str
) -> list[asyncpg.Record]:
    """Asks the counts that the job kept, or these."""
    source, more = (f"({counts.sql})", counts.values) if counts else ("fleet_now", ())
    rows: list[asyncpg.Record] = await connection.fetch(
        fill(SQL[question], counts=source, **slots), *values, *more
    )
    return rows


def _hour(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H}"


def _by_hour(rows: list[asyncpg.Record]) -> dict[datetime, int]:
    return {datetime.fromisoformat(f"{value}:00+00:00"): count for value, count in rows}
