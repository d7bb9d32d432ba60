"""Counts of the fleet by any dimension, now and over time; of features; of cohorts. Reads only.

Counts of the past come from roll-ups. A value of None stands for the rare values together.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from typing import Any

from telemetry_server.check.filters.filter_fields import INSTALLATIONS
from telemetry_server.check.filters.terms import Filter, term
from telemetry_server.store import dimensions
from telemetry_server.store.counts import fleet_now
from telemetry_server.store.database import Connection, Pool
from telemetry_server.store.dimensions import ALL
from telemetry_server.store.filtering import (
    COHORTS,
    FEATURES,
    NOW,
    PRODUCTS,
    ROLLED_UP,
    THEN,
    Condition,
    NotThen,
    by_value,
    condition,
    simulated,
)
from telemetry_server.store.fleet.installations import Row
from telemetry_server.store.queries import fill, load
from telemetry_server.store.reading import TooSlow, reading

SQL = load(__name__)

DIMENSIONS = (ALL, "product", *dimensions.BY_NAME)
"""What the fleet is counted by: all together, by product, or by a dimension."""

ROLLED_DIMENSIONS = {ALL, *(one.name for one in dimensions.DIMENSIONS if one.rolled)}
"""The dimensions of fleet_days."""


@dataclass(frozen=True, slots=True)
class Question:
    """What to count by, the filter of the installations, the time, and the number of values to name."""

    by: str
    wanted: Filter
    now: datetime
    values: int


class TimeStep(StrEnum):
    """The length of the steps; TOTAL: a single one."""

    DAY = "day"
    WEEK = "week"
    MONTH = "month"
    TOTAL = "total"


@dataclass(frozen=True, slots=True)
class Span:
    """From `first` to `last`, both included, in steps."""

    first: date
    last: date
    step: TimeStep


@dataclass(frozen=True, slots=True)
class Counts:
    """Rows, and up to when pings are counted (both None: not counted yet); the simulated products."""

    rows: list[Row] | None
    until: datetime | None
    simulated: list[str]


async def present(pool: Pool, question: Question) -> Counts:
    """Installations by value: value, installations; day and pings are None. Raises TooSlow.

    The counts of the overview if the filter names only products; otherwise counted for this question.
    """
    wanted, now = question.wanted, question.now
    how = "Ask for one product, or filter by verdict, country, asn, version or life."
    async with _narrowed(how), reading(pool) as connection:
        of_simulated, counted = await simulated(connection, wanted), None
        if wanted.fields <= PRODUCTS.keys():
            asked = await condition(connection, wanted, PRODUCTS, now=now, first=3)
            counted = await fleet_now.counted(connection, asked, now)
            if counted is None:
                return Counts(None, None, of_simulated)
        else:
            asked = await condition(connection, wanted, NOW, now=now, first=3)
        rows = await fleet_now.by_value(connection, question.by, asked, question.values, counted)
        return Counts(rows, counted.at if counted else now, of_simulated)


async def over_time(pool: Pool, question: Question, span: Span) -> Counts:
    """day, value, installations, pings: the pings of each step, and its peak of daily installations.

    Filters by product and verdict alone use the roll-up of each day; others read the installations of each
    day, which is slower. Raises NotThen and TooSlow.
    """
    rolled_up = question.by in {*ROLLED_DIMENSIONS, "product"} and question.wanted.fields <= ROLLED_UP.keys()
    how = "Ask for fewer days, or filter only by product and verdict."
    async with _narrowed(how), reading(pool) as connection:
        rows = await (_rolled_up if rolled_up else _day_by_day)(connection, question, span)
        return await _until(connection, rows, question.wanted)


async def features(pool: Pool, wanted: Filter, span: Span, *, now: datetime, limit: int) -> Counts:
    """The most used features: day (None: total), feature, uses, peak of daily installations."""
    async with reading(pool) as connection:
        asked = await condition(connection, wanted, FEATURES, now=now, first=5)
        rows = await _fetch(connection, "features", asked, limit, span.first, span.last, span.step)
        return await _until(connection, rows, wanted)


async def cohorts(pool: Pool, wanted: Filter, first: date, last: date, *, now: datetime) -> Counts:
    """active, lost, returned by cohort (the week of the first ping) and week. Weeks are their Mondays."""
    async with reading(pool) as connection:
        asked = await condition(connection, wanted, COHORTS, now=now, first=3)
        rows = await _fetch(connection, "cohorts", asked, first, last)
        return await _until(connection, rows, wanted, weeks=True)


async def _until(connection: Connection, rows: list[Row], wanted: Filter, *, weeks: bool = False) -> Counts:
    """The rows of days, or of weeks; None before the first roll-up."""
    until = await connection.fetchval(SQL["counted_until"], weeks)
    return Counts(rows if until else None, until, await simulated(connection, wanted))


async def _rolled_up(connection: Connection, question: Question, span: Span) -> list[Row]:
    """Always filters by products: the key of fleet_days begins with them."""
    by_verdict = question.by == "verdict"
    columns = {**ROLLED_UP, "verdict": "r.value"} if by_verdict else ROLLED_UP
    named = question.wanted + term(INSTALLATIONS["simulated"], "=", "true", "false")
    asked = await condition(connection, named, columns, now=question.now, first=6)
    of_verdicts = "verdict" in named.fields and not by_verdict
    asked = Condition(f"{asked.sql} AND r.verdict {'<>' if of_verdicts else '='} ''", asked.values)
    column, dimension = ("p.slug", ALL) if question.by == "product" else ("r.value", question.by)
    rest = (question.values, span.first, span.last, span.step, dimension)
    return await _fetch(connection, "rolled_up", asked, *rest, by=column)


async def _day_by_day(connection: Connection, question: Question, span: Span) -> list[Row]:
    if question.by not in {ALL, *THEN}:
        raise NotThen(f"{question.by}: only the present value is known. Omit from, to and step.")
    asked = await condition(connection, question.wanted, THEN, now=question.now, first=5)
    column = "''" if question.by == ALL else by_value(THEN, question.by)
    rest = (question.values, span.first, span.last, span.step)
    return await _fetch(connection, "day_by_day", asked, *rest, by=column)


async def _fetch(
    connection: Connection, name: str, asked: Condition, *arguments: Any, **slots: str
) -> list[Row]:
    statement = fill(SQL[name], filter=asked.sql, **slots)
    return [dict(row) for row in await connection.fetch(statement, *arguments, *asked.values)]


@asynccontextmanager
async def _narrowed(how: str) -> AsyncIterator[None]:
    """Adds advice to TooSlow."""
    try:
        yield
    except TooSlow as error:
        raise TooSlow(f"This takes longer than the server allows. {how}") from error
