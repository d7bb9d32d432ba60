"""People with accounts, and their invitations."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg

from telemetry_server.check.licenses.cells import email as canonical
from telemetry_server.errors import OperatorError
from telemetry_server.model import Role
from telemetry_server.permissions import BY_ROLE, Permission
from telemetry_server.store.access import trail
from telemetry_server.store.access.credentials import Database, digest, new_secret
from telemetry_server.store.clock import TOLERANCE
from telemetry_server.store.database import Connection, translated
from telemetry_server.store.queries import load

SQL = load(__name__)

INVITATION_DAYS, MOST_DAYS = 7, 90
_INVITERS = [role.value for role in Role if Permission.PEOPLE in BY_ROLE[role]]


class NoSuchPerson(OperatorError):
    """No one with an active account has this address or id; "user list" shows all."""

    status, code = 404, "no_such_person"


class PersonExists(OperatorError):
    """This address has an account already."""

    status, code = 409, "person_exists"


class NoSuchProducts(OperatorError):
    """There is no such product; "product list" shows all."""

    status, code = 400, "no_such_product"


class WrongEmail(OperatorError):
    """This is not an e-mail address."""

    status, code = 400, "wrong_email"


@dataclass(frozen=True, slots=True)
class Person:
    """A person as lists show it; `products` are slugs, None: all of them."""

    person_id: UUID
    email: str
    name: str
    role: Role
    products: tuple[str, ...] | None
    created_at: datetime
    last_seen_at: datetime | None
    deactivated_at: datetime | None
    has_password: bool
    has_totp: bool
    has_passkey: bool
    shortcuts: bool
    time_zone: str
    number_style: str


@dataclass(frozen=True, slots=True)
class Account:
    """What a sign-in needs of an active person."""

    person_id: UUID
    email: str
    role: Role
    password_hash: str | None
    totp_salt: bytes | None
    totp_since: datetime | None
    totp_step: int | None
    has_passkey: bool = False

    @property
    def has_second_factor(self) -> bool:
        return self.totp_since is not None or self.has_passkey


@dataclass(frozen=True, slots=True)
class Joining:
    """A new person; without a password hash, one who signs in by a provider."""

    email: str
    name: str
    role: Role
    product_ids: Sequence[UUID] | None
    password_hash: str | None = None


@dataclass(frozen=True, slots=True)
class Invited:
    """An invitation that is open; `for_password`: a person with an account sets a new password with it."""

    id: str
    email: str
    role: Role
    products: tuple[str, ...] | None
    for_password: bool
    invited_by: str
    created_at: datetime
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Invitation:
    """The content of an open invitation; with `person_id` it sets a password."""

    email: str
    role: Role
    product_ids: Sequence[UUID] | None
    person_id: UUID | None


def email_of(text: str) -> str:
    """The address in its canonical form. Raises WrongEmail."""
    try:
        return canonical(text)
    except ValueError as error:
        raise WrongEmail(f"{text[:80]!r} is not an e-mail address: {error}.") from None


async def product_ids(database: Database, slugs: Collection[str] | None) -> list[UUID] | None:
    """The ids of these products; None stays None, for all. Raises NoSuchProducts."""
    if slugs is None:
        return None
    async with translated():
        found = dict(await database.fetch(SQL["products_by_slug"], list(slugs)))
    if missing := sorted(set(slugs) - found.keys()):
        raise NoSuchProducts(f"There is no product {', '.join(missing)[:80]}.")
    return list(found.values())


# ── people ──────────────────────────────────────────────────────────────────────────────────


async def list_people(database: Database) -> list[Person]:
    """All people, also deactivated ones, by e-mail address."""
    async with translated():
        return [_person(row) for row in await database.fetch(SQL["list_people"], None)]


async def person(database: Database, person_id: UUID) -> Person:
    """One person, also a deactivated one. Raises NoSuchPerson."""
    async with translated():
        row = await database.fetchrow(SQL["list_people"], person_id)
    if row is None:
        raise NoSuchPerson
    return _person(row)


async def addresses_with_role(database: Database, role: Role) -> list[str]:
    """The e-mail addresses of the active people with a role."""
    async with translated():
        return [row["email"] for row in await database.fetch(SQL["addresses_with_role"], role.value)]


async def account_of(database: Database, who: str | UUID) -> Account | None:
    """The account of an active person, by e-mail address or id; None if there is none."""
    name = "person_by_id" if isinstance(who, UUID) else "person_by_email"
    async with translated():
        row = await database.fetchrow(SQL[name], who)
    return row and Account(**{**row, "role": Role(row["role"])})


async def person_id_of(database: Database, email: str) -> UUID:
    """The id of an active person. Raises NoSuchPerson or WrongEmail."""
    found = await account_of(database, email_of(email))
    if found is None:
        raise NoSuchPerson(f'No one with an active account has the address {email}; "user list" shows all.')
    return found.person_id


async def is_known(database: Database, email: str) -> bool:
    """Whether the address has an account, also a deactivated one."""
    async with translated():
        return bool(await database.fetchval(SQL["is_known"], email))


async def add_person(connection: Connection, joining: Joining, *, by: str, now: datetime) -> UUID:
    """The id of the new person. Raises PersonExists."""
    asked, person_id = joining, uuid4()
    async with trail.transaction(connection):
        made = await connection.fetchval(
            SQL["add_person"],
            *(person_id, asked.email, asked.name, asked.role.value, asked.product_ids, asked.password_hash),
            now,
        )
        if made is None:
            raise PersonExists
        await trail.record(connection, "person.join", by=by, subject_id=person_id, role=asked.role)
    return person_id


async def set_role(
    database: Database, person_id: UUID, role: Role, products: Collection[str] | None, *, by: str
) -> None:
    """Another role and products (slugs), from the next request on. Raises NoSuchPerson, NoSuchProducts."""
    limited = await product_ids(database, products)
    async with trail.transaction(database) as connection:
        if await connection.fetchval(SQL["set_role"], person_id, role.value, limited) is None:
            raise NoSuchPerson
        details: dict[str, Any] = {"role": role, "products": products and sorted(products)}
        await trail.record(connection, "person.role", by=by, subject_id=person_id, **details)


async def deactivate(connection: Connection, person_id: UUID, *, by: str, now: datetime) -> None:
    """Ends the access of a person: account, sessions, tokens, and open invitations. Raises NoSuchPerson."""
    async with trail.transaction(connection):
        if await connection.fetchval(SQL["deactivate"], person_id, now) is None:
            raise NoSuchPerson
        await _end_access(connection, person_id, now)
        await trail.record(connection, "person.deactivate", by=by, subject_id=person_id)


async def end_access(database: Database, person_id: UUID, *, by: str, now: datetime) -> None:
    """Ends the sessions, tokens, password links and invitations of a person, who keeps the account."""
    async with trail.transaction(database) as connection:
        await _end_access(connection, person_id, now)
        await trail.record(connection, "person.end_access", by=by, subject_id=person_id)


async def _end_access(connection: Connection, person_id: UUID, now: datetime) -> None:
    await connection.execute(SQL["end_sessions"], person_id)
    await connection.execute(SQL["revoke_tokens"], person_id, now)
    await connection.execute(SQL["drop_password_links"], person_id)
    await connection.execute(SQL["drop_invitations_by"], person_id)


async def reactivate(database: Database, person_id: UUID, *, by: str) -> None:
    """Takes that back; the person needs a link to set a password. Raises NoSuchPerson."""
    async with trail.transaction(database) as connection:
        if await connection.fetchval(SQL["reactivate"], person_id) is None:
            raise NoSuchPerson
        await trail.record(connection, "person.reactivate", by=by, subject_id=person_id)


async def set_password(database: Database, person_id: UUID, password_hash: str, *, by: str) -> None:
    """Raises NoSuchPerson. The caller ends the other sessions."""
    async with trail.transaction(database) as connection:
        if await connection.fetchval(SQL["set_password"], person_id, password_hash) is None:
            raise NoSuchPerson
        await connection.execute(SQL["drop_password_links"], person_id)
        await trail.record(connection, "person.password", by=by, subject_id=person_id)


async def renew_hash(database: Database, person_id: UUID, password_hash: str) -> None:
    """The same password, hashed with the parameters of this version."""
    async with translated():
        await database.fetchval(SQL["set_password"], person_id, password_hash)


async def set_profile(
    database: Database, person_id: UUID, name: str, *, shortcuts: bool, time_zone: str, number_style: str
) -> None:
    async with translated():
        await database.execute(SQL["set_profile"], person_id, name, shortcuts, time_zone, number_style)


async def set_list_columns(database: Database, person_id: UUID, columns: Sequence[str] | None) -> None:
    """The columns of the list of installations; None: the usual ones."""
    async with translated():
        await database.execute(SQL["set_list_columns"], person_id, columns and list(columns))


# ── invitations ─────────────────────────────────────────────────────────────────────────────


async def invite(
    connection: Connection,
    email: str,
    role: Role,
    products: Collection[str] | None = None,
    *,
    by: str,
    inviter: UUID | None = None,
    now: datetime,
    days: int = INVITATION_DAYS,
) -> str:
    """The secret of a new invitation, which replaces earlier ones of the address.

    It is good while `inviter` may invite people; None: a command or a one-time link made it. Raises
    WrongEmail, NoSuchProducts, or PersonExists where the address has an account.
    """
    email = email_of(email)
    if await is_known(connection, email):
        raise PersonExists(f"{email} has an account already; a deactivated one can be reactivated.")
    limited = await product_ids(connection, products)
    async with trail.transaction(connection):
        asked = Invitation(email, role, limited, None)
        secret = await _open(connection, asked, by=by, inviter=inviter, now=now, days=days)
        details: dict[str, Any] = {"role": role, "products": products and sorted(products)}
        await trail.record(connection, "person.invite", by=by, subject_id=email, **details)
    return secret


async def invite_to_set_password(
    connection: Connection, person_id: UUID, *, by: str, inviter: UUID | None = None, now: datetime
) -> tuple[str, str]:
    """The secret of a link with which the person sets a new password, and the address. Raises NoSuchPerson.

    The second factor stays: a lost password does not weaken it.
    """
    found = await account_of(connection, person_id)
    if found is None:
        raise NoSuchPerson
    async with trail.transaction(connection):
        asked = Invitation(found.email, found.role, None, person_id)
        secret = await _open(connection, asked, by=by, inviter=inviter, now=now, days=1)
        await trail.record(connection, "person.password_link", by=by, subject_id=person_id)
    return secret, found.email


async def _open(
    connection: Connection, asked: Invitation, *, by: str, inviter: UUID | None, now: datetime, days: int
) -> str:
    secret, end = new_secret(), now + timedelta(days=days)
    async with translated(), connection.transaction():
        await connection.execute(SQL["drop_invitations"], asked.email)
        await connection.execute(
            SQL["invite"],
            *(
                digest(secret),
                asked.email,
                asked.role.value,
                asked.product_ids,
                asked.person_id,
                by,
                now,
                end,
                inviter,
            ),
        )
    return secret


async def list_invitations(database: Database, now: datetime) -> list[Invited]:
    """The open invitations, the newest first."""
    async with translated():
        rows = await database.fetch(SQL["list_invitations"], now, now + TOLERANCE, _INVITERS)
    return [Invited(**{**row, "role": Role(row["role"]), "products": _slugs(row)}) for row in rows]


async def open_invitation(database: Database, secret: str, now: datetime) -> Invitation | None:
    """What the link invites to; None if it is unknown, used, withdrawn or expired.

    Also None while who made it may not invite people: the person is deactivated, or has another role.
    """
    async with translated():
        row = await database.fetchrow(SQL["open_invitation"], digest(secret), now, now + TOLERANCE, _INVITERS)
    return row and _invitation(row)


async def accept_invitation(
    connection: Connection, secret: str, name: str, password_hash: str, *, now: datetime
) -> UUID | None:
    """The id of the new person, or of the one with a new password, whose sessions end; None as above.

    Raises PersonExists.
    """
    async with translated(), connection.transaction():
        row = await connection.fetchrow(
            SQL["use_invitation"], digest(secret), now, now + TOLERANCE, _INVITERS
        )
        if row is None:
            return None
        asked = _invitation(row)
        if asked.person_id is None:
            joining = Joining(asked.email, name, asked.role, asked.product_ids, password_hash)
            return await add_person(connection, joining, by=f"person:{asked.email}", now=now)
        await set_password(connection, asked.person_id, password_hash, by=f"person:{asked.person_id}")
        await connection.execute(SQL["end_sessions"], asked.person_id)
        return asked.person_id


async def withdraw_invitation(database: Database, invitation_id: str, *, by: str) -> bool:
    """Ends an invitation by the id of its list; False if there is none."""
    try:
        wanted = bytes.fromhex(invitation_id)
    except ValueError:
        return False
    async with trail.transaction(database) as connection:
        email = await connection.fetchval(SQL["withdraw_invitation"], wanted)
        if email is not None:
            await trail.record(connection, "person.withdraw_invitation", by=by, subject_id=email)
    return email is not None


async def forget_invitations(database: Database, now: datetime) -> None:
    async with translated():
        await database.execute(SQL["forget_invitations"], now)


def _person(row: asyncpg.Record) -> Person:
    return Person(**{**row, "role": Role(row["role"]), "products": _slugs(row)})


def _slugs(row: asyncpg.Record) -> tuple[str, ...] | None:
    return None if row["products"] is None else tuple(row["products"])


def _invitation(row: asyncpg.Record) -> Invitation:
    return Invitation(row["email"], Role(row["role"]), row["product_ids"], row["person_id"])
