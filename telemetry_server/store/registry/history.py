"""Changes of the registry: one at a time, each with its history.

A change and its rows of `registry_changes` are one transaction. An unchanged row writes nothing.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, TypeAlias
from uuid import UUID

import orjson

from telemetry_server.model import Author
from telemetry_server.store.access import audit
from telemetry_server.store.database import Connection
from telemetry_server.store.json_rows import as_json
from telemetry_server.store.queries import load
from telemetry_server.uuid7 import HIGHEST, uuid7

SQL = load(__name__)

NEWEST = datetime(9999, 1, 1, tzinfo=UTC)

Fields: TypeAlias = dict[str, Any]


class Entity(StrEnum):
    """The entities with a history."""

    CUSTOMER = "customer"
    LICENSE = "license"
    EDITION = "edition"
    RELEASE = "release"


class ChangeOutcome(StrEnum):
    """The result of a requested change."""

    NEW = "new"
    CHANGED = "changed"
    UNCHANGED = "unchanged"
    REPEATED = "repeated"
    WRONG = "wrong"


@dataclass(slots=True)
class Draft:
    """A row of the registry with changes to be written: `was` are the present fields, None for a new row."""

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
        """The old values of the fields that change."""
        was = self.was
        return was and {name: was[name] for name, value in self.fields.items() if was[name] != value}

    def after(self) -> Fields:
        """The new values of the fields that change; of a new row the fields that are not empty."""
        was = self.was
        if was is None:
            return {name: value for name, value in self.fields.items() if value or value == 0}
        return {name: value for name, value in self.fields.items() if was[name] != value}


@dataclass(frozen=True, slots=True)
class RegistryChange:
    """A row of the history; `before` is None for a creation."""

    change_id: UUID
    changed_at: datetime
    entity: Entity
    entity_id: str
    actor: str
    reason: str | None
    before: Mapping[str, Any] | None
    after: Mapping[str, Any]


async def lock(connection: Connection) -> None:
    """Locks the registry against other changes until the transaction ends."""
    await connection.execute(SQL["lock_registry"])


async def record(connection: Connection, drafts: Iterable[Draft], by: Author, now: datetime) -> None:
    """Writes the history of the drafts that are new or changed."""
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
        await audit.record(connection, _audited(rows, by), now)


def _audited(rows: Sequence[Mapping[str, Any]], by: Author) -> audit.Entry:
    """The entry of the audit log for these changes, of which the history has the values."""
    kinds = Counter(f"{row['entity']} {'added' if row['before'] is None else 'changed'}" for row in rows)
    first, last = rows[0], rows[-1]
    kind, one = (first["entity"], first["entity_id"]) if first is last else (None, None)
    return audit.Entry(
        actor=by.recorded_as or by.actor,
        action=f"{kind or 'registry'}.{'add' if kind and first['before'] is None else 'change'}",
        subject_kind=kind,
        subject_id=one,
        reason=by.reason,
        network=by.network,
        details={
            "history_as": by.actor,
            "changes": kinds,
            "first": first["change_id"],
            "last": last["change_id"],
        },
    )


async def note(connection: Connection, entity: Entity, entity_id: UUID, by: Author, now: datetime) -> None:
    """Writes a request that changed nothing into the history; `by.reason` says which."""
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
    """The newest `limit` changes of those before the time and id `before`."""
    rows = await connection.fetch(SQL["history"], entity.value, entity_id, *before, limit)
    values = [(row["before"] and orjson.loads(row["before"]), orjson.loads(row["after"])) for row in rows]
    return [
        RegistryChange(**{**row, "entity": entity, "before": was, "after": is_now})
        for row, (was, is_now) in zip(rows, values, strict=True)
    ]
