"""Legal holds: the rows that they name outlive erasure, retention and the reduction of levels, as copies.

A hold stops no job. Before a job deletes or changes rows, `keep` copies those that holds in force name to
held_rows, which no page, search or count reads; then the job does its work. Once a hold is over, its copies
are deleted: that completes the erasures that waited for it.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from hashlib import sha256
from typing import Any
from uuid import UUID

import orjson

from telemetry_server.errors import NotFound, OperatorError
from telemetry_server.privacy.store.subject_export import Ids, ids_of, rows_of
from telemetry_server.privacy.subjects import Subject
from telemetry_server.store.access import audit
from telemetry_server.store.database import Connection
from telemetry_server.store.queries import load
from telemetry_server.store.registry.customers import NoSuchCustomer
from telemetry_server.uuid7 import uuid7

SQL = load(__name__)

TIMES = {
    "pings": "received_at",
    "states": "first_received_at",
    "installation_days": "day",
    "changes": "changed_at",
    "forks": "received_at",
    "quarantine": "received_at",
    "registry_changes": "changed_at",
    "clear_up_changes": "changed_at",
    "audit_entries": "recorded_at",
    "case_rows": "happened_at",
}
"""The time of a row, for a hold on a period."""
_KEYS = {
    "pings": ("installation_id", "sequence"),
    "states": ("installation_id", "state"),
    "installation_days": ("installation_id", "day"),
    "changes": ("installation_id", "changed_at", "sequence", "field"),
    "forks": ("installation_id", "sequence", "ping_id"),
    "lineage": ("installation_id", "parent_id"),
    "quarantine": ("installation_id", "sequence", "ping_id"),
    "registry_changes": ("change_id",),
    "clear_up_changes": ("change_id",),
    "audit_entries": ("entry_id",),
    "case_rows": ("installation_id", "case_id", "kind", "row_key"),
}
"""What names a row that only loses something later. Of other rows, each version is kept."""
HOLDABLE = (
    *("customers", "customer_notes", "licenses", "license_keys", "shop_fields", "installations"),
    *("installation_facts", "states", "pings", "installation_days", "changes", "forks", "lineage"),
    *("quarantine", "hostnames", "registry_changes", "clear_up_items", "clear_up_changes", "audit_entries"),
    *("case_rows", "findings", "cases", "case_history", "case_attachments"),
)
"""The tables of a subject's export that a hold may name. Sealed support access is none of them."""
MOST_DAYS = 366
MOST_LISTED = 200
_AT_ONCE = 500


class NoSuchHold(NotFound):
    """There is no such hold."""


class WrongHold(OperatorError):
    """The hold cannot be changed so."""

    status, code = 422, "wrong_hold"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """Which rows a hold names: of a subject, in these tables; None: any field, any time."""

    subject: Subject
    tables: tuple[str, ...] = HOLDABLE
    fields: tuple[str, ...] | None = None
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """A legal hold; `rows`: the number of copies that it keeps."""

    hold_id: UUID
    scope: Scope
    case_reference: str | None
    ground: str
    expires_on: date
    proposed_at: datetime
    proposed_by: str
    confirmed_at: datetime | None
    confirmed_by: str | None
    released_at: datetime | None
    released_by: str | None
    release_reason: str | None
    rows: int

    def state(self, today: date) -> str:
        if self.released_at is not None:
            return "released"
        if self.expires_on < today:
            return "expired"
        return "in force" if self.confirmed_at else "proposed"


async def propose(
    connection: Connection,
    scope: Scope,
    *,
    ground: str,
    expires_on: date,
    case_reference: str | None,
    person: str,
    by: str,
    now: datetime,
) -> UUID:
    """A new hold, which another person has to confirm. `by`: the actor of the audit log. Raises WrongHold."""
    _check(scope, ground, expires_on, now.astimezone(UTC).date())
    hold_id = uuid7()
    async with connection.transaction():
        await connection.execute(
            SQL["propose"],
            *(hold_id, scope.subject.kind, scope.subject.id, list(scope.tables)),
            *(scope.fields and list(scope.fields), scope.since, scope.until),
            *(case_reference or None, ground.strip(), expires_on, now, person),
        )
        await _record(connection, "hold.propose", hold_id, by, ground, now=now)
    return hold_id


async def confirm(connection: Connection, hold_id: UUID, *, person: str, by: str, now: datetime) -> None:
    """Puts a hold into force, and copies its rows. Raises NoSuchHold, or WrongHold for the same person."""
    async with connection.transaction():
        row = await _lock(connection, hold_id)
        if row["proposed_by"].casefold() == person.casefold():
            raise WrongHold(f"{person} proposed this hold: another person has to confirm it.")
        if row["confirmed_at"] or row["released_at"] or row["expires_on"] < now.astimezone(UTC).date():
            raise WrongHold("The hold is confirmed already, or over.")
        await connection.execute(SQL["confirm"], hold_id, now, person)
        await _record(connection, "hold.confirm", hold_id, by, None, now=now)
    await keep(connection, now)


async def release(
    connection: Connection, hold_id: UUID, *, reason: str, person: str, by: str, now: datetime
) -> None:
    """Ends a hold; its copies are deleted by the job "carry out erasures". Raises NoSuchHold or WrongHold."""
    if not reason.strip():
        raise WrongHold("A release has a reason.")
    async with connection.transaction():
        row = await _lock(connection, hold_id)
        if row["released_at"]:
            raise WrongHold("The hold is released already.")
        await connection.execute(SQL["release"], hold_id, now, person, reason.strip())
        await _record(connection, "hold.release", hold_id, by, reason, now=now)


async def holds(connection: Connection, today: date) -> list[Hold]:
    """Those in force or proposed first."""
    return [_hold(row) for row in await connection.fetch(SQL["all"], today, MOST_LISTED)]


async def hold(connection: Connection, hold_id: UUID) -> Hold:
    """Raises NoSuchHold."""
    row = await connection.fetchrow(SQL["one"], hold_id)
    if row is None:
        raise NoSuchHold
    return _hold(row)


async def held_rows(connection: Connection, hold_id: UUID) -> dict[str, list[dict[str, Any]]]:
    """The copies that a hold keeps, by table."""
    found: dict[str, list[dict[str, Any]]] = {}
    for row in await connection.fetch(SQL["held_rows"], hold_id):
        found.setdefault(row["table_name"], []).append(orjson.loads(row["held"]))
    return found


async def keep(connection: Connection, now: datetime) -> None:
    """Copies the rows that holds in force name, as far as they are not copied yet.

    Call it before rows are deleted or changed, in one transaction or in several.
    """
    for row in await connection.fetch(SQL["in_force"], now.astimezone(UTC).date()):
        one = _hold(row)
        async with connection.transaction():
            try:
                ids = await ids_of(connection, one.scope.subject)
            except NoSuchCustomer:  # erased: its rows were copied before
                continue
            for table in one.scope.tables:
                await _keep_table(connection, one, table, ids, now)


async def kept_for(connection: Connection, subjects: Sequence[UUID]) -> list[str]:
    """What holds keep of these subjects, a line for each hold: its id, last day, and rows by table."""
    named: dict[tuple[UUID, date], list[str]] = {}
    texts = [str(each) for each in subjects]
    for row in await connection.fetch(SQL["kept_for"], list(subjects), texts):
        rows = named.setdefault((row["hold_id"], row["expires_on"]), [])
        rows.append(f"{row['table_name']} {row['rows']}")
    return [f"{hold_id} until {day}: {', '.join(rows)}" for (hold_id, day), rows in named.items()]


async def let_go(connection: Connection, now: datetime) -> int:
    """Deletes the copies of holds that are over; returns their number."""
    deleted = 0
    for row in await connection.fetch(SQL["over"], now.astimezone(UTC).date()):
        async with connection.transaction():
            rows = await connection.fetchval(SQL["empty"], row["hold_id"])
            await connection.execute(SQL["emptied"], row["hold_id"], now)
            entry = audit.Entry(
                actor="job:carry out erasures",
                action="hold.empty",
                subject_kind="hold",
                subject_id=str(row["hold_id"]),
                details={"rows": rows},
            )
            await audit.record(connection, entry, now)
        deleted += rows
    return deleted


# ── rows ────────────────────────────────────────────────────────────────────────────────────


async def _keep_table(connection: Connection, one: Hold, table: str, ids: Ids, now: datetime) -> None:
    batch: list[tuple[Any, ...]] = []
    async for key, held in _named(connection, one.scope, table, ids, now):
        batch.append((one.hold_id, table, key, now, orjson.dumps(held).decode()))
        if len(batch) == _AT_ONCE:
            await connection.executemany(SQL["keep"], batch)
            batch.clear()
    if batch:
        await connection.executemany(SQL["keep"], batch)


async def _named(
    connection: Connection, scope: Scope, table: str, ids: Ids, now: datetime
) -> AsyncIterator[tuple[str, dict[str, Any]]]:
    """The key and the content of each row that the scope names."""
    today = now.astimezone(UTC).date().isoformat()
    async for row in rows_of(connection, table, ids):
        if not _is_within(scope, row.get(TIMES.get(table, ""))):
            continue
        if table == "installation_days" and row["day"] >= today:
            continue  # still counted
        names, held = _KEYS.get(table), row
        if scope.fields is not None:
            wanted = {*scope.fields, *(names or ()), "installation_id", TIMES.get(table)}
            held = {name: value for name, value in row.items() if name in wanted}
        kept = {name: row.get(name) for name in names} if names else held
        key = orjson.dumps(kept, option=orjson.OPT_SORT_KEYS)
        yield (key.decode() if names else sha256(key).hexdigest()), held


def _is_within(scope: Scope, moment: str | None) -> bool:
    if moment is None:
        return True
    at = datetime.fromisoformat(moment)
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    return (scope.since is None or at >= scope.since) and (scope.until is None or at < scope.until)


def _check(scope: Scope, ground: str, expires_on: date, today: date) -> None:
    if unknown := sorted(set(scope.tables) - set(HOLDABLE)):
        raise WrongHold(f"{unknown[0]} cannot be held; these can: {', '.join(HOLDABLE)}.")
    if not scope.tables or not ground.strip():
        raise WrongHold("A hold names its ground, and at least one table.")
    if not today <= expires_on <= today + timedelta(days=MOST_DAYS):
        raise WrongHold(f"A hold expires within {MOST_DAYS} days; propose it again if it is still needed.")
    if scope.since and scope.until and scope.since >= scope.until:
        raise WrongHold("The period of the hold ends before it begins.")


async def _lock(connection: Connection, hold_id: UUID) -> Mapping[str, Any]:
    row: Mapping[str, Any] | None = await connection.fetchrow(SQL["lock"], hold_id)
    if row is None:
        raise NoSuchHold
    return row


async def _record(
    connection: Connection, action: str, hold_id: UUID, by: str, reason: str | None, *, now: datetime
) -> None:
    entry = audit.Entry(actor=by, action=action, subject_kind="hold", subject_id=str(hold_id), reason=reason)
    await audit.record(connection, entry, now)


def _hold(row: Mapping[str, Any]) -> Hold:
    found = dict(row)
    scope = Scope(
        subject=Subject(found.pop("subject_kind"), found.pop("subject")),
        tables=tuple(found.pop("tables")),
        fields=None if (fields := found.pop("fields")) is None else tuple(fields),
        since=found.pop("since"),
        until=found.pop("until"),
    )
    return Hold(scope=scope, **found)
