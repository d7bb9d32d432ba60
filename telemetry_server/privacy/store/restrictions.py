"""Restriction of processing: a subject whose data only the privacy officer sees, until it is withdrawn."""

from dataclasses import dataclass
from datetime import datetime
from urllib.parse import quote
from uuid import UUID

from telemetry_server.errors import OperatorError
from telemetry_server.model import Author
from telemetry_server.privacy.store import level_limits, requests
from telemetry_server.privacy.store.requests import RequestKind
from telemetry_server.privacy.subjects import Subject
from telemetry_server.store import visible
from telemetry_server.store.access import audit
from telemetry_server.store.database import Connection
from telemetry_server.store.queries import load
from telemetry_server.store.registry.customers import customer_by_id
from telemetry_server.text import written_out
from telemetry_server.uuid7 import uuid7

SQL = load(__name__)


class WrongRestriction(OperatorError):
    """The restriction cannot be made or withdrawn."""

    status, code = 422, "wrong_restriction"


@dataclass(frozen=True, slots=True, kw_only=True)
class Restriction:
    """A restriction in force."""

    restriction_id: UUID
    subject: Subject
    name: str
    begun_at: datetime
    begun_by: str
    reason: str


async def begin(connection: Connection, subject: Subject, *, by: Author, now: datetime) -> None:
    """Hides the subject from now on, for the reason of `by`; files the request and answers it.

    Raises WrongRestriction, NoSuchCustomer, NoSuchInstallation, or MayNotHide.
    """
    reason = _reason(by)
    if subject.kind == "customer":
        await customer_by_id(connection, subject.id)
    elif not await level_limits.installation_is_known(connection, subject.id):
        raise level_limits.NoSuchInstallation
    async with connection.transaction():
        if not await connection.fetchval(SQL["views"], visible.SCHEMA):
            await visible.make_views(connection)
        values = uuid7(), subject.kind, subject.id, now, _who(by), reason
        if await connection.fetchval(SQL["begin"], *values) is None:
            raise WrongRestriction("The subject is restricted already.")
        await extend(connection, now)
        await requests.ensure(connection, RequestKind.RESTRICTION, subject, by=by, now=now)
        await requests.answer_unanswered(connection, RequestKind.RESTRICTION, subject.id, by=by, now=now)
        await _record(connection, f"{subject.kind}.restrict", subject, by, now)


async def withdraw(connection: Connection, subject: Subject, *, by: Author, now: datetime) -> None:
    """Shows the subject again, for the reason of `by`. Raises WrongRestriction."""
    reason = _reason(by)
    async with connection.transaction():
        if await connection.fetchval(SQL["finish"], subject.id, now, _who(by), reason) is None:
            raise WrongRestriction("The subject is not restricted.")
        await extend(connection, now)
        await _record(connection, f"{subject.kind}.unrestrict", subject, by, now)


async def extend(connection: Connection, now: datetime) -> None:
    """Restricts the installations that came to a restricted customer, and frees those of none."""
    restricted: list[UUID] = []
    for row in await connection.fetch(SQL["named"]):
        copies = [row["subject"]] if row["subject_kind"] == "installation" else []
        if row["licenses"]:
            found = await connection.fetch(SQL["installations_on"], row["licenses"])
            copies = [each["installation_id"] for each in found]
        emails = [row["email"], quote(row["email"], safe="").lower()] if row["email"] else []
        words = [*map(str, (row["subject"], *row["licenses"], *copies)), *emails]
        await connection.execute(SQL["hide"], row["restriction_id"], list(dict.fromkeys(words)))
        restricted += copies
    await connection.execute(SQL["free_others"], restricted)
    await connection.execute(SQL["restrict_installations"], restricted, now)


async def in_force(connection: Connection) -> list[Restriction]:
    """The restrictions in force, the newest first."""
    found = []
    for row in map(dict, await connection.fetch(SQL["in_force"])):
        subject = Subject(row.pop("subject_kind"), row.pop("subject"))
        found.append(Restriction(subject=subject, **row))
    return found


def _reason(by: Author) -> str:
    reason = written_out((by.reason or "").strip())[:1_000]
    if not reason:
        raise WrongRestriction("Name the reason.")
    return reason


def _who(by: Author) -> str:
    return by.recorded_as or by.actor


async def _record(connection: Connection, action: str, subject: Subject, by: Author, now: datetime) -> None:
    entry = audit.Entry(
        actor=_who(by),
        action=action,
        subject_kind=subject.kind,
        subject_id=str(subject.id),
        network=by.network,
        reason=by.reason,
    )
    await audit.record(connection, entry, now)
