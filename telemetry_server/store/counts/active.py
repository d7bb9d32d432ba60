"""Queries about the copies at the end of each day. Reads only; the counts are those of `active_days`.

An active copy is one that is not lost. A day that is not counted yet is missing, and never 0.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime

from telemetry_server.check.filters.filter_fields import INSTALLATIONS
from telemetry_server.check.filters.terms import Filter, Operator, Term, term
from telemetry_server.enrich.verdict import UNCOVERED
from telemetry_server.job_names import JobName
from telemetry_server.model import Lifecycle
from telemetry_server.store.counts.active_days import TURNED
from telemetry_server.store.counts.counting import Counts, Span
from telemetry_server.store.database import Connection, Pool
from telemetry_server.store.dimensions import ALL, BY_NAME
from telemetry_server.store.filtering import (
    ROLLED_UP,
    VERSION_NUMBERS,
    Columns,
    Condition,
    NotThen,
    condition,
    simulated,
)
from telemetry_server.store.fleet.installations import Row
from telemetry_server.store.queries import fill, load
from telemetry_server.store.reading import reading

SQL = load(__name__)

_OF_EACH = (ALL, "product", "verdict")
DIMENSIONS = (
    *_OF_EACH,
    "life",
    TURNED,
    *(one.name for one in BY_NAME.values() if one.then and one.name != "verdict"),
)
"""What the copies of a day are counted by."""

_IMPLIED = Term(INSTALLATIONS["life"], Operator.UNEQUAL, (Lifecycle.LOST,))
"""What every count says anyway, but that by life."""


@dataclass(frozen=True, slots=True)
class ActiveTotals:
    """The copies at the end of a day; `by_life` and `turned` are empty if the filter names a dimension.

    `turned`: how many became new, returned or lost on that day.
    """

    day: date
    active: int = 0
    by_verdict: dict[str, int] = field(default_factory=dict)
    by_life: dict[str, int] = field(default_factory=dict)
    turned: dict[str, int] = field(default_factory=dict)

    @property
    def uncovered(self) -> int:
        """How many of the active ones no license covers."""
        return sum(self.by_verdict.get(verdict, 0) for verdict in UNCOVERED)


@dataclass(frozen=True, slots=True)
class _Asked:
    """A question: the dimension, the column of its values, and the condition."""

    dimension: str
    by: str
    condition: Condition


async def active_series(
    pool: Pool, by: str, wanted: Filter, span: Span, *, now: datetime, values: int = 50
) -> Counts:
    """day, value, installations: those at the end of each step. By `TURNED` those of the whole step.

    Filters name products, verdicts and one dimension, that which is asked for unless that is all, product or
    verdict. Raises NotThen and TooSlow.
    """
    async with reading(pool) as connection:
        asked = await _asked(connection, by, wanted, now, first=7)
        statement = fill(SQL["active_series"], by=asked.by, filter=asked.condition.sql)
        of_days = (span.first, span.last, span.step, asked.dimension, asked.dimension == TURNED)
        rows = await connection.fetch(statement, values, *of_days, *asked.condition.values)
        return await _counts(connection, [dict(row) for row in rows], wanted)


async def uncovered_series(pool: Pool, wanted: Filter, span: Span, *, now: datetime) -> Counts:
    """day, value (the verdict), installations: the active copies that no license covers."""
    uncovered = wanted + term(INSTALLATIONS["verdict"], "=", *UNCOVERED)
    return await active_series(pool, "verdict", uncovered, span, now=now)


async def active_values(
    pool: Pool,
    by: str,
    wanted: Filter,
    day: date,
    compared: date | None = None,
    *,
    now: datetime,
    values: int = 50,
) -> list[Row]:
    """value, installations at the end of a day, and before, at that of another; None: the rare ones."""
    async with reading(pool) as connection:
        asked = await _asked(connection, by, wanted, now, first=5)
        statement = fill(SQL["active_values"], by=asked.by, filter=asked.condition.sql)
        of_days = (day, compared or day, asked.dimension)
        rows = await connection.fetch(statement, values, *of_days, *asked.condition.values)
        return [dict(row) for row in rows]


async def active_totals(
    pool: Pool, wanted: Filter, days: Sequence[date], *, now: datetime
) -> dict[date, ActiveTotals]:
    """The totals of those of the days that are counted."""
    async with reading(pool) as connection:
        asked = await _asked(connection, "verdict", wanted, now, first=3)
        names = [asked.dimension, *(["life", TURNED] if asked.dimension == ALL else [])]
        statement = fill(SQL["active_totals"], filter=asked.condition.sql)
        rows = await connection.fetch(statement, days, names, *asked.condition.values)
    found: dict[date, ActiveTotals] = {}
    for row in rows:
        totals = found.setdefault(row["day"], ActiveTotals(row["day"]))
        kept, name = totals.by_verdict, row["verdict"]
        if row["dimension"] != asked.dimension:
            kept, name = (totals.turned if row["dimension"] == TURNED else totals.by_life), row["value"]
        kept[name] = kept.get(name, 0) + row["installations"]
    return {
        day: ActiveTotals(day, sum(each.by_verdict.values()), each.by_verdict, each.by_life, each.turned)
        for day, each in found.items()
    }


async def _asked(connection: Connection, by: str, wanted: Filter, now: datetime, first: int) -> _Asked:
    """Always filters by products: the key of active_days begins with them. Raises NotThen."""
    if by != "life":
        wanted = Filter(tuple(one for one in wanted.terms if one != _IMPLIED))
    others = wanted.fields - ROLLED_UP.keys()
    dimension = by if by not in _OF_EACH else next(iter(others), ALL)
    if others - {dimension} or dimension not in DIMENSIONS:
        raise NotThen(
            f"{', '.join(sorted(others - {by}))}: over time, filter by product, verdict and one more field, "
            "that which is counted by; the present value is known without from, to and step."
        )
    named = wanted + term(INSTALLATIONS["simulated"], "=", "true", "false")
    found = await condition(connection, named, _columns(dimension), now=now, first=first)
    each = by == "verdict" or "verdict" in wanted.fields
    sql = f"{found.sql} AND r.verdict {'<>' if each else '='} ''"
    value = {ALL: "''", "product": "p.slug", "verdict": "r.verdict"}.get(by, "r.value")
    return _Asked(dimension, value, Condition(sql, found.values))


def _columns(dimension: str) -> Columns:
    """Of active_days AS r: values are text."""
    if dimension not in BY_NAME:
        return ROLLED_UP
    value = "r.value"
    if BY_NAME[dimension].flag:  # CASE: the values of other dimensions are no booleans
        value = f"CASE WHEN r.dimension = '{dimension}' THEN nullif(r.value, 'unknown')::boolean END"
    return {**ROLLED_UP, dimension: value, VERSION_NUMBERS: "version_key(r.value)"}


async def counted_until(connection: Connection) -> datetime | None:
    """Up to when pings are in the counts of the ends of days; None: nothing is counted yet."""
    until: datetime | None = await connection.fetchval(SQL["counted_active"], JobName.COUNT_ACTIVE_COPIES)
    return until


async def _counts(connection: Connection, rows: list[Row], wanted: Filter) -> Counts:
    until = await counted_until(connection)
    of_simulated = await simulated(connection, wanted)
    return Counts(rows if until else None, until, of_simulated)
