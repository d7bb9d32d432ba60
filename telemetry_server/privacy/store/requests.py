"""Requests of data subjects: filed, owned, extended once, answered or refused; each step is kept."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from typing import Any
from uuid import UUID

import orjson

from telemetry_server.errors import NotFound, OperatorError
from telemetry_server.model import Author
from telemetry_server.privacy.deadlines import SOON_DAYS, due_on
from telemetry_server.privacy.subjects import Subject
from telemetry_server.store.access import audit
from telemetry_server.store.database import Connection, Pool
from telemetry_server.store.queries import load
from telemetry_server.text import written_out
from telemetry_server.uuid7 import uuid7

SQL = load(__name__)

KEPT = timedelta(days=3 * 365)
"""How long a closed request is kept: as long as a claim about it may be brought."""
MOST_LISTED = 500
LONGEST_NOTE = 1_000


class RequestKind(StrEnum):
    """The right that a request makes use of."""

    ACCESS = "access"
    RECTIFICATION = "rectification"
    ERASURE = "erasure"
    RESTRICTION = "restriction"
    OBJECTION = "objection"
    PORTABILITY = "portability"


class RequestState(StrEnum):
    """The state of a request; "waiting" is for the person."""

    OPEN = "open"
    WAITING = "waiting"
    ANSWERED = "answered"
    REFUSED = "refused"

    @property
    def is_closed(self) -> bool:
        return self in {RequestState.ANSWERED, RequestState.REFUSED}


class NoSuchRequest(NotFound):
    """There is no such request."""


class WrongRequest(OperatorError):
    """The request cannot be changed so."""

    status, code = 422, "wrong_request"


@dataclass(frozen=True, slots=True, kw_only=True)
class SubjectRequest:
    """A request. `name` is that of a customer; an installation is named by its id."""

    request_id: UUID
    kind: RequestKind
    subject: Subject
    name: str
    purpose: str | None
    received_on: date
    filed_at: datetime
    filed_by: str
    due_on: date
    extended: bool
    owner: str | None
    state: RequestState
    closed_at: datetime | None

    def is_overdue(self, today: date) -> bool:
        return self.closed_at is None and self.due_on < today

    def is_due_soon(self, today: date) -> bool:
        return self.closed_at is None and 0 <= (self.due_on - today).days <= SOON_DAYS


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step of the history."""

    step_id: UUID
    at: datetime
    by: str
    step: str
    note: str | None
    details: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Due:
    """The number of unanswered requests that are overdue, and of those that are due soon."""

    overdue: int
    soon: int


async def file(
    connection: Connection,
    kind: RequestKind,
    subject: Subject,
    *,
    by: Author,
    now: datetime,
    received_on: date | None = None,
    purpose: str | None = None,
) -> UUID:
    """Files a request, received today unless `received_on` says otherwise; `by.reason` is its note."""
    request_id, today = uuid7(), now.astimezone(UTC).date()
    received = received_on or today
    if received > today:
        raise WrongRequest("A request cannot be received in the future.")
    if purpose is not None and kind is not RequestKind.OBJECTION:
        raise WrongRequest("Only an objection is to a purpose.")
    async with connection.transaction():
        values = (
            request_id,
            kind,
            subject.kind,
            subject.id,
            purpose,
            received,
            now,
            _who(by),
            due_on(received),
        )
        await connection.execute(SQL["file"], *values)
        await add_step(connection, request_id, "filed", by=by, now=now, kind=kind)
    return request_id


async def ensure(
    connection: Connection, kind: RequestKind, subject: Subject, *, by: Author, now: datetime
) -> None:
    """Files a request, unless an unanswered one of that kind is there."""
    if not await connection.fetch(SQL["unanswered_of"], subject.id, kind):
        await file(connection, kind, subject, by=by, now=now)


async def file_answered(
    connection: Connection, kind: RequestKind, subject: Subject, *, by: Author, now: datetime, **details: Any
) -> UUID:
    """Files a request that is answered at once: what a subject does with its own data."""
    async with connection.transaction():
        request_id = await file(connection, kind, subject, by=by, now=now)
        await move(connection, request_id, RequestState.ANSWERED, by=by, now=now, **details)
    return request_id


async def answer_unanswered(
    connection: Connection, kind: RequestKind, subject: UUID, *, by: Author, now: datetime, **details: Any
) -> int:
    """Answers the requests of that kind about a subject; returns their number."""
    found = await connection.fetch(SQL["unanswered_of"], subject, kind)
    for row in found:
        await move(connection, row["request_id"], RequestState.ANSWERED, by=by, now=now, **details)
    return len(found)


async def move(
    connection: Connection,
    request_id: UUID,
    state: RequestState,
    *,
    by: Author,
    now: datetime,
    **details: Any,
) -> None:
    """Puts a request into a state. Raises NoSuchRequest, or WrongRequest for a refusal without a ground."""
    if state is RequestState.REFUSED and not (by.reason or "").strip():
        raise WrongRequest("A refusal names its ground, which is stated to the person.")
    async with connection.transaction():
        if await _lock(connection, request_id) is state:
            return
        await connection.execute(SQL["set_state"], request_id, state, now if state.is_closed else None)
        await add_step(connection, request_id, state, by=by, now=now, **details)


async def give_to(connection: Connection, request_id: UUID, owner: str, *, by: Author, now: datetime) -> None:
    """Names who answers the request. Raises NoSuchRequest."""
    owner = written_out(owner.strip())[:300]
    async with connection.transaction():
        await _lock(connection, request_id)
        await connection.execute(SQL["set_owner"], request_id, owner or None)
        await add_step(connection, request_id, "owner", by=by, now=now, owner=owner)


async def extend(connection: Connection, request_id: UUID, *, by: Author, now: datetime) -> date:
    """Extends the time once by two months, for the reason of `by`; returns the new due date.

    Raises NoSuchRequest or WrongRequest.
    """
    if not (by.reason or "").strip():
        raise WrongRequest("An extension has a reason, which is stated to the person within the first month.")
    found = await request(connection, request_id)
    until = due_on(found.received_on, extended=True)
    async with connection.transaction():
        if (await _lock(connection, request_id)).is_closed:
            raise WrongRequest(f"The request is {found.state} already.")
        if await connection.fetchval(SQL["extend"], request_id, until) is None:
            raise WrongRequest("The time was extended already; it can be extended once.")
        await add_step(connection, request_id, "extended", by=by, now=now, due_on=until)
    return until


async def add_step(
    connection: Connection, request_id: UUID, step: str, *, by: Author, now: datetime, **details: Any
) -> None:
    """Adds to the history, and to the audit log, which names no subject. Call it in a transaction."""
    note = written_out((by.reason or "").strip())[:LONGEST_NOTE] or None
    encoded = orjson.dumps(details, default=str).decode()
    await connection.execute(SQL["add_step"], request_id, uuid7(), now, _who(by), step, note, encoded)
    entry = audit.Entry(
        actor=_who(by),
        action=f"request.{'file' if step == 'filed' else step}",
        subject_kind="request",
        subject_id=str(request_id),
        network=by.network,
    )
    await audit.record(connection, entry, now)


async def request(connection: Connection, request_id: UUID) -> SubjectRequest:
    """Raises NoSuchRequest."""
    rows = await connection.fetch(SQL["one"], request_id)
    if not rows:
        raise NoSuchRequest
    return (await _read(connection, rows))[0]


async def steps_of(connection: Connection, request_id: UUID) -> list[Step]:
    """The history of a request, the first step first."""
    rows = await connection.fetch(SQL["steps"], request_id)
    return [Step(**{**row, "details": orjson.loads(row["details"])}) for row in rows]


async def unanswered(connection: Connection) -> list[SubjectRequest]:
    """Those that are not answered, the one due first at the top."""
    return await _read(connection, await connection.fetch(SQL["unanswered"], MOST_LISTED))


async def closed(connection: Connection, limit: int = MOST_LISTED) -> list[SubjectRequest]:
    """Those that were answered or refused, the newest first."""
    return await _read(connection, await connection.fetch(SQL["closed"], limit))


async def due(database: Connection | Pool, today: date) -> Due:
    """How many requests are overdue or due soon."""
    row = await database.fetchrow(SQL["due"], today, today + timedelta(days=SOON_DAYS))
    return Due(row["overdue"], row["soon"])


async def forget_words(connection: Connection, subjects: Sequence[UUID]) -> None:
    """Removes what the requests of erased subjects say of them; that they were made, and when, stays."""
    await connection.execute(SQL["forget_words"], list(subjects))


async def forget(connection: Connection, now: datetime) -> int:
    """Removes the requests that were closed longer than KEPT ago; returns their number."""
    return int(await connection.fetchval(SQL["forget"], now - KEPT))


async def _lock(connection: Connection, request_id: UUID) -> RequestState:
    state = await connection.fetchval(SQL["lock"], request_id)
    if state is None:
        raise NoSuchRequest
    return RequestState(state)


async def _read(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> list[SubjectRequest]:
    subjects = {row["subject"] for row in rows if row["subject_kind"] == "customer"}
    names = dict(await connection.fetch(SQL["names"], list(subjects)))
    found = []
    for row in map(dict, rows):
        subject = Subject(row.pop("subject_kind"), row["subject"])
        row |= {"kind": RequestKind(row["kind"]), "state": RequestState(row["state"]), "subject": subject}
        found.append(SubjectRequest(name=names.get(subject.id, str(subject.id)), **row))
    return found


def _who(by: Author) -> str:
    return by.recorded_as or by.actor
