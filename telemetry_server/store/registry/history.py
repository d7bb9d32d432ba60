"""What all changes of the registry have in common: one at a time, and each with its history.

A change and its rows of `registry_changes` are one transaction. What does not change writes nothing.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, TypeAlias
from uuid import UUID

import orjson

from telemetry_server.model import Author
from telemetry_server.store.database import Connection
from telemetry_server.store.json_rows import as_json
from telemetry_server.store.queries import load
from telemetry_server.uuid7 import HIGHEST, uuid7

SQL = load(__name__)

NEWEST = datetime(9999, 1, 1, tzinfo=UTC)

Fields: TypeAlias = dict[str, Any]


class Entity(StrEnum):
    """What has a history."""

    CUSTOMER = "customer"
    LICENSE = "license"
    EDITION = "edition"
    RELEASE = "release"


class ChangeOutcome(StrEnum):
    """What a wish for a change came to."""

    NEW = "new"
    CHANGED = "changed"
    UNCHANGED = "unchanged"
    REPEATED = "repeated"
    WRONG = "wrong"


@dataclass(slots=True)
class Draft:
    """A row of the registry as it will be: `was` are its fields as they are, None where it is new."""

    entity: Entity
    entity_id: UUID | str
    was: Fields | None
    fields: Fields

    @property
    def uuid(self) -> UUID:
        """The id of a license or a customer."""
        assert isinstance(self.entity_id, UUID)
        return self.entity_id

    @property
    def outcome(self) -> ChangeOutcome:
        if self.was is None:
            return ChangeOutcome.NEW
        return ChangeOutcome.UNCHANGED if self.was == self.fields else ChangeOutcome.CHANGED

    def before(self) -> Fields | None:
        """The fields that change, as they were."""
        was = self.was
        return was and {name: was[name] for name, value in self.fields.items() if was[name] != value}

    def after(self) -> Fields:
        """The fields that change, as they shall be; of a new row those that hold something."""
        was = self.was
        if was is None:
            return {name: value for name, value in self.fields.items() if value or value == 0}
        return {name: value for name, value in self.fields.items() if was[name] != value}


@dataclass(frozen=True, slots=True)
class RegistryChange:
    """A row of the history; `before` is None where what it is about was made."""

    change_id: UUID
    changed_at: datetime
    entity: Entity
    entity_id: str
    actor: str
    reason: str | None
    before: Mapping[str, Any] | None
    after: Mapping[str, Any]


async def lock(connection: Connection) -> None:
    """Waits until nobody else changes the registry; good until the transaction ends."""
    await connection.execute(SQL["lock_registry"])


async def record(connection: Connection, drafts: Iterable[Draft], by: Author, now: datetime) -> None:
    """Writes the history of those drafts that change something."""
    rows = [
        {
            "change_id": uuid7(),
            "entity": draft.entity,
            "entity_id": str(draft.entity_id),
            "before": draft.before(),
            "after": draft.after(),
        }
        for draft in drafts
        if draft.outcome is not ChangeOutcome.UNCHANGED
    ]
    if rows:
        await connection.execute(SQL["record_changes"], as_json(rows), now, by.actor, by.reason)


async def note(connection: Connection, entity: Entity, entity_id: UUID, by: Author, now: datetime) -> None:
    """Writes into the history that there was a wish which changed nothing; `by.reason` says which."""
    row = {"change_id": uuid7(), "entity": entity, "entity_id": str(entity_id), "before": {}, "after": {}}
    await connection.execute(SQL["record_changes"], as_json([row]), now, by.actor, by.reason)


async def history(
    connection: Connection,
    entity: Entity,
    entity_id: str,
    *,
    before: tuple[datetime, UUID] = (NEWEST, HIGHEST),
    limit: int = 100,
) -> list[RegistryChange]:
    """The newest changes first; `before` is the time and id of the last one that is known already."""
    rows = await connection.fetch(SQL["history"], entity.value, entity_id, *before, limit)
    return [
        RegistryChange(
            row["change_id"],
            row["changed_at"],
            Entity(row["entity"]),
            row["entity_id"],
            row["actor"],
            row["reason"],
            row["before"] and orjson.loads(row["before"]),
            orjson.loads(row["after"]),
        )
        for row in rows
    ]
