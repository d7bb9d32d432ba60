"""API tokens and one-time sign-in links.

Both, as the cookies of sessions, are secrets of 32 random bytes in base64url, shown once. The database stores
their SHA-256: a stolen copy of it gives no access.
"""

import secrets
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from hashlib import sha256
from typing import NamedTuple, TypeAlias
from uuid import UUID, uuid4

import asyncpg

from telemetry_server.check.networks import Network
from telemetry_server.model import Role
from telemetry_server.store.clock import TOLERANCE
from telemetry_server.store.database import Connection, Pool, translated
from telemetry_server.store.queries import load

SQL = load(__name__)

TOKEN_PREFIX = "tlm_"  # noqa: S105  not a secret: scanners of source code find leaked tokens by it
LINK_MINUTES = 15

Database: TypeAlias = Connection | Pool


@dataclass(frozen=True, slots=True)
class Token:
    """What may be shown of an API token; `person` is the e-mail address of its owner, None: a service."""

    token_id: UUID
    role: Role
    label: str
    created_at: datetime
    expires_at: datetime | None
    last_used_on: date | None
    revoked_at: datetime | None
    scopes: tuple[str, ...] | None = None
    products: tuple[str, ...] | None = None
    networks: tuple[str, ...] | None = None
    person: str | None = None


@dataclass(frozen=True, slots=True)
class SignedIn:
    """The person of a session or a token, as of now."""

    person_id: UUID
    email: str
    name: str
    shortcuts: bool
    time_zone: str = "UTC"
    number_style: str = "en"
    list_columns: tuple[str, ...] | None = None


class TokenHolder(NamedTuple):
    """Whose token it is (None: a service's), and its limits (None: no limit)."""

    role: Role
    label: str
    token_id: UUID
    person: SignedIn | None = None
    scopes: tuple[str, ...] | None = None
    products: frozenset[str] | None = None


class Limits(NamedTuple):
    """The limits of a new token; None: none beyond those of its role, or of its person."""

    person_id: UUID | None = None
    scopes: Collection[str] | None = None
    product_ids: Sequence[UUID] | None = None
    networks: Sequence[Network] | None = None


UNLIMITED = Limits()


# ── API tokens ──────────────────────────────────────────────────────────────────────────────


async def create_token(
    database: Database,
    role: Role,
    label: str,
    expires_at: datetime | None = None,
    limits: Limits = UNLIMITED,
    *,
    now: datetime,
) -> str:
    """A new API token, `tlm_…`; it cannot be shown again."""
    token = TOKEN_PREFIX + new_secret()
    async with translated():
        await database.execute(
            SQL["create_token"], uuid4(), digest(token), role.value, label, now, expires_at, *limits
        )
    return token


async def list_tokens(database: Database, person_id: UUID | None = None) -> list[Token]:
    """All tokens or those of a person, also revoked ones, the newest first."""
    async with translated():
        rows = await database.fetch(SQL["list_tokens"], person_id)
    return [
        Token(
            **{
                **row,
                "role": Role(row["role"]),
                "scopes": _tuple(row["scopes"]),
                "products": _tuple(row["products"]),
                "networks": _tuple(row["networks"]),
            }
        )
        for row in rows
    ]


async def revoke_token(database: Database, token_id: UUID, person_id: UUID | None = None) -> bool:
    """Revokes a token at once; False if it is unknown, another person's, or revoked already."""
    async with translated():
        return await database.fetchval(SQL["revoke_token"], token_id, person_id) is not None


async def find_token(
    database: Database, token: str, now: datetime, address: str | None = None
) -> TokenHolder | None:
    """The holder of `token`, sent from `address`; None if it is unknown, revoked, expired or from elsewhere.

    A token that expires is not valid if it was created in the future, as it would last longer by that time.
    """
    if not token.startswith(TOKEN_PREFIX):
        return None
    async with translated():
        row = await database.fetchrow(SQL["find_token"], digest(token), now, now + TOLERANCE, address)
        if row is None:
            return None
        if row["last_used_on"] != now.date():
            await database.execute(SQL["note_token_use"], row["token_id"], now.date())
    return TokenHolder(
        Role(row["role"]),
        row["label"],
        row["token_id"],
        signed_in(row),
        _tuple(row["scopes"]),
        None if row["products"] is None else frozenset(row["products"]),
    )


def signed_in(row: asyncpg.Record) -> SignedIn | None:
    """The person in a row of a session or a token."""
    if row["person_id"] is None:
        return None
    return SignedIn(
        *(
            row["person_id"],
            row["email"],
            row["name"],
            row["shortcuts"],
            row["time_zone"],
            row["number_style"],
            _tuple(row["list_columns"]),
        )
    )


def _tuple(values: Sequence[object] | None) -> tuple[str, ...] | None:
    return None if values is None else tuple(map(str, values))


# ── sign-in links ───────────────────────────────────────────────────────────────────────────


async def create_sign_in_link(
    database: Database, role: Role, now: datetime, minutes: int = LINK_MINUTES
) -> str:
    """The secret for `/sign-in?token=…`; valid once, within `minutes`."""
    secret, expires_at = new_secret(), now + timedelta(minutes=minutes)
    async with translated():
        await database.execute(SQL["create_sign_in_link"], digest(secret), role.value, now, expires_at)
    return secret


async def use_sign_in_link(database: Database, secret: str, now: datetime) -> Role | None:
    """Invalidates the link and returns its role; None if it is unknown, used, expired or from the future.

    Of two callers at the same moment one gets the role.
    """
    async with translated():
        role = await database.fetchval(SQL["use_sign_in_link"], digest(secret), now, now + TOLERANCE)
    return None if role is None else Role(role)


async def forget_sign_in_links(database: Database, now: datetime) -> int:
    """Deletes expired links; returns their number."""
    async with translated():
        return len(await database.fetch(SQL["forget_sign_in_links"], now))


def digest(secret: str) -> bytes:
    """The stored form of a secret. It has 256 random bits, so a plain hash is enough."""
    return sha256(secret.encode("utf-8", "surrogatepass")).digest()


def new_secret() -> str:
    """32 random bytes in base64url."""
    return secrets.token_urlsafe(32)
