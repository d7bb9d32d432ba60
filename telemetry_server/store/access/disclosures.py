"""The register of disclosures: to whom personal data went, when, which, on what ground, bound to what."""

from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from telemetry_server.errors import OperatorError
from telemetry_server.store.access import audit
from telemetry_server.store.database import Connection
from telemetry_server.store.queries import load
from telemetry_server.text import written_out
from telemetry_server.uuid7 import uuid7

SQL = load(__name__)

MOST_LISTED = 500
_ALWAYS = datetime(1970, 1, 1, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC)
_LONGEST, _LONGEST_NAME = 1_000, 300


class WrongDisclosure(OperatorError):
    """A disclosure names the recipient, whose data and which, the ground, and the duty of the recipient."""

    status, code = 422, "wrong_disclosure"


@dataclass(frozen=True, slots=True, kw_only=True)
class What:
    """What is disclosed to whom. `subjects` and `fields` are words; `subject`: kind and id, if it is one."""

    recipient: str
    subjects: str
    fields: str
    ground: str
    duty: str
    subject: tuple[str, UUID] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Disclosure:
    """A row of the register."""

    disclosure_id: UUID
    disclosed_at: datetime
    recorded_at: datetime
    recorded_by: str
    recipient: str
    subject_kind: str | None
    subject: UUID | None
    subjects: str
    fields: str
    ground: str
    duty: str
    token_id: UUID | None


async def add(
    connection: Connection,
    what: What,
    *,
    by: str,
    now: datetime,
    at: datetime | None = None,
    network: str | None = None,
) -> UUID:
    """Adds a disclosure, made now unless `at` says otherwise. Raises WrongDisclosure."""
    words = [
        written_out(each.strip())
        for each in (what.recipient, what.subjects, what.fields, what.ground, what.duty)
    ]
    if (
        not all(words)
        or len(words[0]) > _LONGEST_NAME
        or max(map(len, words)) > _LONGEST
        or (at or now) > now
    ):
        raise WrongDisclosure
    recipient, *rest = words
    kind, subject = what.subject or (None, None)
    disclosure_id = uuid7()
    async with connection.transaction():
        values = disclosure_id, at or now, now, by, recipient, kind, subject, *rest
        await connection.execute(SQL["add"], *values)
        entry = audit.Entry(
            actor=by,
            action="disclosure.add",
            subject_kind="disclosure",
            subject_id=str(disclosure_id),
            network=network,
        )
        await audit.record(connection, entry, now)
    return disclosure_id


async def record_use_of_token(
    connection: Connection, token_id: UUID, *, by: str, subjects: str, fields: str, now: datetime
) -> None:
    """Adds the use of a token, if it is bound to a purpose."""
    words = [written_out(each)[:_LONGEST] or "-" for each in (subjects, fields)]
    await connection.execute(SQL["add_use_of_token"], token_id, uuid7(), now, by, *words)


async def bind_token(
    connection: Connection, token_id: UUID, *, recipient: str, purpose: str, ground: str
) -> None:
    """Binds a token to a purpose: each of its uses is a disclosure from now on."""
    await connection.execute(SQL["bind_token"], token_id, recipient, purpose, ground)


async def disclosures(
    connection: Connection, since: datetime | None = None, until: datetime | None = None
) -> list[Disclosure]:
    """The newest disclosures, made from `since` until before `until`."""
    first, end = since or _ALWAYS[0], until or _ALWAYS[1]
    return [Disclosure(**row) for row in await connection.fetch(SQL["disclosures"], first, end, MOST_LISTED)]
