"""Notes at days of the charts, about one product or about all."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from uuid import UUID

from telemetry_server.errors import BadRequest, NotFound
from telemetry_server.store.database import Connection, Pool
from telemetry_server.store.queries import load
from telemetry_server.store.reading import read_rows
from telemetry_server.uuid7 import uuid7

SQL = load(__name__)

LONGEST_NOTE, MOST_NOTES = 120, 1_000


class NoSuchNote(NotFound):
    """This note is unknown, deleted, or about a product that you may not see."""


@dataclass(frozen=True, slots=True)
class ChartNote:
    """A note. `product` is a slug, None: about all products."""

    note_id: UUID
    day: date
    note: str
    author: str
    product: str | None


async def notes_between(
    pool: Pool, first: date, last: date, *, products: Collection[str] | None
) -> Sequence[ChartNote]:
    """The notes of these days, the newest first: about these products (slugs), None: about any and all."""
    slugs = None if products is None else sorted(products)
    return [ChartNote(**row) for row in await read_rows(pool, SQL["notes_between"], first, last, slugs)]


async def add_chart_note(
    connection: Connection, day: date, note: str, product: str | None, *, by: str, now: datetime
) -> UUID:
    """A new note about the product of that slug, None: about all. Raises BadRequest."""
    note_id = uuid7()
    values = note_id, day, product, note, by, now, MOST_NOTES
    if await connection.fetchval(SQL["add_chart_note"], *values) is None:
        raise BadRequest(f"There is no such product, or there are {MOST_NOTES} notes already.")
    return note_id


async def change_chart_note(
    connection: Connection, note_id: UUID, day: date, note: str, *, products: Collection[str] | None
) -> None:
    """Raises NoSuchNote, also for a note about other products than these."""
    slugs = None if products is None else sorted(products)
    if await connection.fetchval(SQL["change_chart_note"], note_id, day, note, slugs) is None:
        raise NoSuchNote


async def delete_chart_note(
    connection: Connection, note_id: UUID, *, products: Collection[str] | None
) -> None:
    """Raises NoSuchNote, also for a note about other products than these."""
    slugs = None if products is None else sorted(products)
    if await connection.fetchval(SQL["delete_chart_note"], note_id, slugs) is None:
        raise NoSuchNote
