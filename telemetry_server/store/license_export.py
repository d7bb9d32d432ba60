"""The licenses of a product, row by row: a cursor on the server, however many there are."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from telemetry_server.store.queries import load

SQL = load("license_export")

FETCHED_AT_ONCE = 1_000
FETCH_SECONDS = 3_600


@dataclass(frozen=True, slots=True)
class Rows:
    """`nested` are the columns whose values are JSON text."""

    columns: tuple[str, ...]
    nested: frozenset[str]
    each: AsyncIterator[Any]


@asynccontextmanager
async def license_rows(connection: Any, product: str) -> AsyncIterator[Rows]:
    """All licenses of the product of that slug as of now, in no order; good while the block lasts."""
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        statement = await connection.prepare(SQL["licenses"])
        attributes = statement.get_attributes()
        yield Rows(
            tuple(attribute.name for attribute in attributes),
            frozenset(attribute.name for attribute in attributes if attribute.type.name in {"json", "jsonb"}),
            aiter(statement.cursor(product, prefetch=FETCHED_AT_ONCE, timeout=FETCH_SECONDS)),
        )
