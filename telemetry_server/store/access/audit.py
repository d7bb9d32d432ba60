"""The audit log: who saw or changed what of whom, when, from where and why.

An entry is recorded in the transaction of a change, and before an answer with personal data leaves. Entries
wait for no other: `audit_log.number_entries` gives them their leaves within a second. A leaf commits to a
salt and the content of its entry. To erase an entry is to delete both; the log records that.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from hashlib import sha256
from secrets import token_bytes
from typing import Any
from uuid import UUID

import orjson

from telemetry_server.merkle_tree import leaf_hash
from telemetry_server.store.database import Connection
from telemetry_server.store.queries import load
from telemetry_server.text import written_out
from telemetry_server.uuid7 import HIGHEST, uuid7

SQL = load(__name__)

ERASE = "audit.erase"
NEWEST = datetime(9999, 1, 1, tzinfo=UTC)
_SALT_BYTES = 32
_LONGEST = {
    "actor": 300,
    "subject_kind": 64,
    "subject_id": 300,
    "product": 64,
    "network": 64,
    "reason": 2_000,
}
_ERASED_AT_ONCE = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What is recorded. `action` is KIND.VERB, such as "installation.view"; `details` can be written as JSON.

    `network` is the client's address, or its network.
    """

    actor: str
    action: str
    subject_kind: str | None = None
    subject_id: str | None = None
    product: str | None = None
    network: str | None = None
    reason: str | None = None
    details: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_view(self) -> bool:
        """Whether it only shows something."""
        return self.action.endswith((".view", ".list"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded(Entry):
    """An entry of the log. `leaf` is its number in the tree; None for about a second."""

    entry_id: UUID
    leaf: int | None
    recorded_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditFilter:
    """Which entries are wanted; None: any.

    `actor`: how the actor begins. The `action` "customer" includes all that begin with "customer.".
    """

    actor: str | None = None
    action: str | None = None
    subject_kind: str | None = None
    subject_id: str | None = None
    product: str | None = None
    since: datetime | None = None
    until: datetime | None = None


async def record(connection: Connection, entry: Entry, now: datetime | None = None) -> UUID:
    """Records an entry in the transaction of the connection; returns its id. Waits for no other one."""
    entry_id, moment = uuid7(), now or datetime.now(UTC)
    texts = {name: _plain(getattr(entry, name), longest) for name, longest in _LONGEST.items()}
    await connection.execute(
        SQL["record"],
        entry_id,
        token_bytes(_SALT_BYTES),
        moment,
        entry.action,
        *texts.values(),
        orjson.dumps(_plain(entry.details), option=orjson.OPT_UTC_Z, default=str).decode(),
    )
    return entry_id


async def find(
    connection: Connection,
    wanted: AuditFilter,
    *,
    before: tuple[datetime, UUID] = (NEWEST, HIGHEST),
    limit: int,
) -> list[Recorded]:
    """The newest `limit` entries of those before the time and id `before`."""
    values = (getattr(wanted, each.name) for each in fields(wanted))
    rows = await connection.fetch(SQL["find"], *values, *before, limit)
    return [Recorded(**{**row, "details": orjson.loads(row["details"])}) for row in rows]


async def erase(connection: Connection, leaves: Sequence[int], by: Entry) -> int:
    """Erases the entries of these leaves, except those that record an erasure; returns their number.

    `by` names the actor and the reason. Their commitments stay in the tree.
    """
    async with connection.transaction():
        return await _erase(connection, await connection.fetchrow(SQL["erasable"], list(leaves)), by)


async def forget(connection: Connection, before: datetime, by: Entry) -> int:
    """Erases the entries recorded before a time, in several transactions; returns their number."""
    erased = 0
    while True:
        async with connection.transaction():
            found = await connection.fetchrow(SQL["outdated"], before, _ERASED_AT_ONCE)
            erased += await _erase(connection, found, by)
        if found["entries"] < _ERASED_AT_ONCE:
            return erased


async def _erase(connection: Connection, found: Mapping[str, Any], by: Entry) -> int:
    if not found["entries"]:
        return 0
    details = {**by.details, "leaves": found["leaves"]}
    saying = {each.name: getattr(by, each.name) for each in fields(by)} | {
        "action": ERASE,
        "details": details,
    }
    await record(connection, Entry(**saying))
    await connection.execute(SQL["erase"], found["leaves"])
    return int(found["entries"])


# ── what a leaf commits to ───────────────────────────────────────────────────────────────────


def content_of(leaf: int, row: Mapping[str, Any]) -> bytes:
    """The content of an entry as its leaf commits to it: JSON, the names sorted, without spaces.

    `row`: the columns of audit_entries.
    """
    return orjson.dumps(
        {
            "action": row["action"],
            "actor": row["actor"],
            "details": orjson.Fragment(row["details"]),
            "leaf": leaf,
            "network": row["network"],
            "product": row["product"],
            "reason": row["reason"],
            "recorded_at": row["recorded_at"],
            "subject_id": row["subject_id"],
            "subject_kind": row["subject_kind"],
        },
        option=orjson.OPT_UTC_Z,
    )


def commitment_of(salt: bytes, content: bytes) -> bytes:
    """The commitment to a content, 32 bytes. It reveals nothing without the salt of 32 random bytes."""
    return sha256(salt + content).digest()


def hash_of_leaf(entry_id: UUID, commitment: bytes) -> bytes:
    """The hash of a leaf in the tree, 32 bytes."""
    return leaf_hash(entry_id.bytes + commitment)


def _plain(value: Any, longest: int | None = None) -> Any:
    """The value without characters that PostgreSQL does not store, and of at most `longest` characters."""
    match value:
        case str():
            return written_out(value.encode("utf-8", "backslashreplace").decode())[:longest]
        case Mapping():
            return {_plain(str(name)): _plain(each) for name, each in value.items()}
        case list() | tuple():
            return [_plain(each) for each in value]
    return value
