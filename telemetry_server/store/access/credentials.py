"""Who may look: API tokens, one-time sign-in links, sessions.

All three are secrets of 32 random bytes in base64url, shown once; the database keeps their SHA-256.
A stolen copy of the database opens nothing.
"""

import secrets
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from hashlib import sha256
from typing import TypeAlias
from uuid import UUID, uuid4

from telemetry_server.model import Role
from telemetry_server.store.clock import TOLERANCE
from telemetry_server.store.database import Connection, Pool, translated
from telemetry_server.store.queries import load

SQL = load(__name__)

TOKEN_PREFIX = "tlm_"  # noqa: S105  not a secret: lets scanners of source code find one that leaked
IDLE_AFTER = timedelta(hours=2)
LINK_MINUTES = 15

_SEEN_EVERY = timedelta(minutes=1)

Database: TypeAlias = Connection | Pool


@dataclass(frozen=True, slots=True)
class Token:
    """What may be told of an API token."""

    token_id: UUID
    role: Role
    label: str
    created_at: datetime
    expires_at: datetime | None
    last_used_on: date | None
    revoked_at: datetime | None


# ── API tokens ──────────────────────────────────────────────────────────────────────────────


async def create_token(
    database: Database, role: Role, label: str, expires_at: datetime | None = None, *, now: datetime
) -> str:
    """A new API token, `tlm_…`; it cannot be shown again."""
    token = TOKEN_PREFIX + _secret()
    async with translated():
        await database.execute(
            SQL["create_token"], uuid4(), digest(token), role.value, label, now, expires_at
        )
    return token


async def list_tokens(database: Database) -> list[Token]:
    """Every token there ever was, newest first."""
    async with translated():
        rows = await database.fetch(SQL["list_tokens"])
    return [Token(**{**row, "role": Role(row["role"])}) for row in rows]


async def revoke_token(database: Database, token_id: UUID) -> bool:
    """Ends a token at once; False when it is unknown or was revoked before."""
    async with translated():
        return await database.fetchval(SQL["revoke_token"], token_id) is not None


async def find_token(database: Database, token: str, now: datetime) -> tuple[Role, str, UUID] | None:
    """The role, the label and the id of `token`; None when it is unknown, revoked or ran out.

    Nor is one good that ends and was made in the future: it would last as much longer.
    """
    if not token.startswith(TOKEN_PREFIX):
        return None
    async with translated():
        row = await database.fetchrow(SQL["find_token"], digest(token), now, now + TOLERANCE)
        if row is None:
            return None
        if row["last_used_on"] != now.date():
            await database.execute(SQL["note_token_use"], row["token_id"], now.date())
    return Role(row["role"]), row["label"], row["token_id"]


# ── sign-in links ───────────────────────────────────────────────────────────────────────────


async def create_sign_in_link(
    database: Database, role: Role, now: datetime, minutes: int = LINK_MINUTES
) -> str:
    """The secret for `/sign-in?token=…`; good once, within `minutes`."""
    secret = _secret()
    expires_at = now + timedelta(minutes=minutes)
    async with translated():
        await database.execute(SQL["create_sign_in_link"], digest(secret), role.value, now, expires_at)
    return secret


async def use_sign_in_link(database: Database, secret: str, now: datetime) -> Role | None:
    """Uses the link up and gives its role; None when it is unknown, used, ran out or was made in the future.

    Of two callers at the same moment one gets the role.
    """
    async with translated():
        role = await database.fetchval(SQL["use_sign_in_link"], digest(secret), now, now + TOLERANCE)
    return None if role is None else Role(role)


# ── sessions ────────────────────────────────────────────────────────────────────────────────


async def create_session(database: Database, role: Role, now: datetime, expires_at: datetime) -> str:
    """The cookie of a new session, which ends at `expires_at` or after IDLE_AFTER without a request."""
    secret = _secret()
    async with translated():
        await database.execute(SQL["create_session"], digest(secret), role.value, now, expires_at)
    return secret


async def find_session(database: Database, secret: str, now: datetime) -> Role | None:
    """The role of the session; None when it is unknown, over or made in the future. Counts as a sign of life.

    What a clock that was ahead made would else be good for as much longer.
    """
    async with translated():
        row = await database.fetchrow(
            SQL["find_session"], digest(secret), now, now - IDLE_AFTER, now + TOLERANCE
        )
        if row is None:
            return None
        if abs(now - row["last_seen_at"]) >= _SEEN_EVERY:
            await database.execute(SQL["note_session_use"], digest(secret), now, now + TOLERANCE)
    return Role(row["role"])


async def delete_session(database: Database, secret: str) -> None:
    async with translated():
        await database.execute(SQL["delete_session"], digest(secret))


async def forget_sessions(database: Database, now: datetime) -> int:
    """Removes the sessions and links that are over; gives how many."""
    async with translated():
        sessions = await database.fetch(SQL["forget_sessions"], now, now - IDLE_AFTER)
        links = await database.fetch(SQL["forget_sign_in_links"], now)
    return len(sessions) + len(links)


def digest(secret: str) -> bytes:
    """What is kept of a secret. It has 256 random bits, so a plain hash is enough."""
    return sha256(secret.encode("utf-8", "surrogatepass")).digest()


def _secret() -> str:
    return secrets.token_urlsafe(32)
