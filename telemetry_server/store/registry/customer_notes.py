"""Notes on customers. Each is recorded in the audit log, without its text."""

from datetime import datetime
from typing import Any
from uuid import UUID

from telemetry_server.model import Author
from telemetry_server.store.access import audit
from telemetry_server.store.database import Connection
from telemetry_server.store.queries import load
from telemetry_server.store.registry.customers import NoSuchCustomer
from telemetry_server.uuid7 import uuid7

SQL = load(__name__)

LONGEST_NOTE = 4_000
_SHOWN = 200


async def add_note(
    connection: Connection, customer_id: UUID, note: str, *, by: Author, now: datetime
) -> None:
    """A new note. Raises NoSuchCustomer."""
    async with connection.transaction():
        note_id = uuid7()
        if await connection.fetchval(SQL["add_note"], note_id, customer_id, now, by.actor, note) is None:
            raise NoSuchCustomer
        entry = audit.Entry(
            actor=by.recorded_as or by.actor,
            action="customer.note",
            subject_kind="customer",
            subject_id=str(customer_id),
            network=by.network,
            details={"note": str(note_id)},
        )
        await audit.record(connection, entry, now)


async def notes_of(connection: Connection, customer_id: UUID) -> list[dict[str, Any]]:
    """The newest notes on a customer: note_id, written_at, author, note."""
    return [dict(row) for row in await connection.fetch(SQL["notes_of"], customer_id, _SHOWN)]
