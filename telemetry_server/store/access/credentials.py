"""API tokens, one-time sign-in links and sessions.

All three are secrets of 32 random bytes in base64url, shown once. The database stores their SHA-256: a stolen
copy of it gives no access.
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

TOKEN_PREFIX = "tlm_"  # noqa: S105  not a secret: scanners of source code find leaked tokens by it
IDLE_AFTER = timedelta(hours=2)
LINK_MINUTES = 15

_SEEN_EVERY = timedelta(minutes=1)

Database: TypeAlias = Connection | Pool


@dataclass(frozen=True, slots=True)
class Token:
    """What may be shown of an API token."""

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
    """All tokens, also revoked ones, the newest first."""
    async with translated():
        rows = await database.fetch(SQL["list_tokens"])
    return [Token(**{**row, "role": Role(row["role"])}) for row in rows]


async def revoke_token(database: Database, token_id: UUID) -> bool:
    """Revokes a token at once; False if it is unknown or revoked already."""
    async with translated():
        return await database.fetchval(SQL["revoke_token"], token_id) is not None


async def find_token(database: Database, token: str, now: datetime) -> tuple[Role, str, UUID] | None:
    """The role, the label and the id of `token`; None if it is unknown, revoked or expired.

    A token that expires is not valid if it was created in the future, as it would last longer by that time.
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
    """The secret for `/sign-in?token=…`; valid once, within `minutes`."""
    secret, expires_at = _secret(), now + timedelta(minutes=minutes)
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


# ── sessions ────────────────────────────────────────────────────────────────────────────────


async def create_session(database: Database, role: Role, now: datetime, expires_at: datetime) -> str:
    """The cookie of a new session, which expires at `expires_at` or after IDLE_AFTER without a request."""
    secret = _secret()
    async with translated():
        await database.execute(SQL["create_session"], digest(secret), role.value, now, expires_at)
    return secret


async def find_session(database: Database, secret: str, now: datetime) -> Role | None:
    """The role of the session, and notes that it is in use; None if it is unknown or expired.

    A session created in the future, by a clock that was ahead, is not valid: it would last longer.
    """
    times = now, now - IDLE_AFTER, now + TOLERANCE
    async with translated():
        row = await database.fetchrow(SQL["find_session"], digest(secret), *times)
        if row is None:
            return None
        if abs(now - row["last_seen_at"]) >= _SEEN_EVERY:
            await database.execute(SQL["note_session_use"], digest(secret), now, now + TOLERANCE)
    return Role(row["role"])


async def delete_session(database: Database, secret: str) -> None:
    async with translated():
        await database.execute(SQL["delete_session"], digest(secret))


async def forget_sessions(database: Database, now: datetime) -> int:
    """Deletes expired sessions and links; returns their number."""
    async with translated():
        sessions = await database.fetch(SQL["forget_sessions"], now, now - IDLE_AFTER)
        links = await database.fetch(SQL["forget_sign_in_links"], now)
    return len(sessions) + len(links)


def digest(secret: str) -> bytes:
    """The stored form of a secret. It has 256 random bits, so a plain hash is enough."""
    return sha256(secret.encode("utf-8", "surrogatepass")).digest()


def _secret() -> str:
    return secrets.token_urlsafe(32)
