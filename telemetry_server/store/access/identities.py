"""Accounts at OpenID providers with which people sign in: issuer and subject, never the e-mail address."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from telemetry_server.errors import OperatorError
from telemetry_server.model import Role
from telemetry_server.store.access import people, trail
from telemetry_server.store.access.credentials import Database
from telemetry_server.store.access.sessions import end_sessions
from telemetry_server.store.database import Connection, Pool, translated
from telemetry_server.store.queries import load

SQL = load(__name__)

LONGEST_SUBJECT = 255


class IdentityTaken(OperatorError):
    """This account of the provider belongs to a person here already."""

    status, code = 409, "identity_taken"


@dataclass(frozen=True, slots=True)
class Identity:
    """An account at a provider; `email` is what the provider calls it, and may be empty."""

    issuer: str
    subject: str
    email: str = ""


@dataclass(frozen=True, slots=True)
class Linked:
    """An identity in a list, with the address of its person here."""

    issuer: str
    subject: str
    email: str
    person_id: UUID
    person: str
    linked_at: datetime
    last_used_at: datetime | None


@dataclass(frozen=True, slots=True)
class Holder:
    """Whose identity it is, and what the person may see; `products` are slugs, None: all."""

    person_id: UUID
    email: str
    role: Role
    products: tuple[str, ...] | None
    is_active: bool


async def holder_of(database: Database, identity: Identity) -> Holder | None:
    """The person with this identity, also a deactivated one; None if it is linked to no one."""
    async with translated():
        row = await database.fetchrow(SQL["holder"], identity.issuer, identity.subject)
    if row is None:
        return None
    products = None if row["products"] is None else tuple(row["products"])
    return Holder(row["person_id"], row["email"], Role(row["role"]), products, row["is_active"])


async def list_identities(database: Database, person_id: UUID | None = None) -> list[Linked]:
    """All identities, or those of a person, by the address of the person."""
    async with translated():
        return [Linked(**row) for row in await database.fetch(SQL["list"], person_id)]


async def link(
    database: Connection | Pool, identity: Identity, person_id: UUID, *, by: str, now: datetime
) -> None:
    """The person signs in with this identity from now on. Raises IdentityTaken."""
    async with trail.transaction(database) as connection:
        made = await connection.fetchval(
            SQL["link"], identity.issuer, identity.subject, person_id, identity.email, now
        )
        if made is None:
            raise IdentityTaken
        await trail.record(
            connection, "person.link_identity", by=by, subject_id=person_id, **_named(identity)
        )


async def unlink(
    database: Connection | Pool, identity: Identity, person_id: UUID, *, by: str, but: str | None = None
) -> bool:
    """Ends that, and the person's sessions but that of the cookie `but`; False if it is not linked."""
    async with trail.transaction(database) as connection:
        found = await connection.fetchval(SQL["unlink"], identity.issuer, identity.subject, person_id)
        if found is None:
            return False
        await end_sessions(connection, person_id, but=but)
        await trail.record(
            connection, "person.unlink_identity", by=by, subject_id=person_id, **_named(identity)
        )
    return True


async def note_use(database: Database, identity: Identity, now: datetime) -> None:
    """Stores the time of the sign-in, and the address that the provider names now."""
    async with translated():
        await database.execute(SQL["note_use"], identity.issuer, identity.subject, identity.email, now)


async def sign_up(
    database: Connection | Pool,
    identity: Identity,
    name: str,
    role: Role,
    products: Collection[str] | None,
    *,
    by: str,
    now: datetime,
) -> UUID:
    """The id of a new person without a password, who has this identity.

    Raises PersonExists where the address has an account, IdentityTaken, NoSuchProducts.
    """
    limited = await people.product_ids(database, products)
    async with trail.transaction(database) as connection:
        made = await people.add_person(
            connection, people.Joining(identity.email, name, role, limited), by=by, now=now
        )
        await link(connection, identity, made, by=by, now=now)
    return made


def _named(identity: Identity) -> dict[str, Any]:
    return {"issuer": identity.issuer, "subject": identity.subject}
