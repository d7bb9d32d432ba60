"""Whole tables, row by row: a cursor on the server, however many there are."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from telemetry_server.store.queries import load

SQL = load("export")

FETCHED_AT_ONCE = 1_000
FETCH_SECONDS = 3_600


class What(StrEnum):
    """What can be exported."""

    PINGS = "pings"
    INSTALLATIONS = "installations"


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which rows: of one product or of all, received since then or ever."""

    what: What
    product: str | None = None
    since: datetime | None = None


@dataclass(frozen=True, slots=True)
class Rows:
    """`nested` are the columns whose values are JSON text; `expected` is a guess at the count, or None."""

    columns: tuple[str, ...]
    nested: frozenset[str]
    expected: int | None
    each: AsyncIterator[Any]


@asynccontextmanager
async def rows(connection: Any, wanted: Wanted) -> AsyncIterator[Rows]:
    """All rows as of now, in no order; good while the block lasts."""
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        expected = await _expected(connection, wanted)
        yield await _rows(connection, SQL[wanted.what], (wanted.product, wanted.since), expected)


@asynccontextmanager
async def license_rows(connection: Any, product: str) -> AsyncIterator[Rows]:
    """All licenses of the product of that slug as of now, in no order; good while the block lasts."""
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        yield await _rows(connection, SQL["licenses"], (product,), None)


async def _rows(connection: Any, sql: str, arguments: tuple[Any, ...], expected: int | None) -> Rows:
    statement = await connection.prepare(sql)
    attributes = statement.get_attributes()
    return Rows(
        tuple(attribute.name for attribute in attributes),
        frozenset(attribute.name for attribute in attributes if attribute.type.name in {"json", "jsonb"}),
        expected,
        aiter(statement.cursor(*arguments, prefetch=FETCHED_AT_ONCE, timeout=FETCH_SECONDS)),
    )


async def _expected(connection: Any, wanted: Wanted) -> int | None:
    if wanted.product is not None:
        return None
    [explained] = await (await connection.prepare(SQL[f"expected_{wanted.what}"])).explain(wanted.since)
    return int(explained["Plan"]["Plan Rows"])
