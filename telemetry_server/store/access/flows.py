"""Sign-ins that leave for a provider or an authenticator, until their answer comes back.

The state of a provider, or the challenge of an authenticator, is a secret of 256 random bits, of which the
database stores the SHA-256. It works once, for the browser that began.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from telemetry_server.store.access.credentials import Database, digest, new_secret
from telemetry_server.store.clock import TOLERANCE
from telemetry_server.store.database import translated
from telemetry_server.store.queries import load

SQL = load(__name__)

WITHIN = timedelta(minutes=10)


class Purpose(StrEnum):
    """What a flow is for."""

    SIGN_IN = "sign_in"
    AGAIN = "again"
    LINK = "link"
    TRY = "try"
    PASSKEY = "passkey"
    NEW_PASSKEY = "new_passkey"


@dataclass(frozen=True, slots=True)
class Flow:
    """A flow that came back in time; `session` is the digest of the session that began it."""

    purpose: Purpose
    provider: str | None
    session: bytes | None
    onward: str
    created_at: datetime
    of_this_browser: bool

    def belongs_to(self, session: str | None) -> bool:
        """Whether this session began it; one that no session began belongs to each."""
        return self.session is None or (session is not None and self.session == digest(session))


async def begin(
    database: Database,
    purpose: Purpose,
    browser: str,
    now: datetime,
    *,
    provider: str | None = None,
    session: str | None = None,
    onward: str = "/",
) -> str:
    """The state of a new flow. `browser` is the secret of the cookie that the answer has to come with."""
    secret = new_secret()
    began_by = None if session is None else digest(session)
    async with translated():
        await database.execute(
            SQL["begin"],
            *(digest(secret), digest(browser), purpose.value, provider, began_by, onward, now, now + WITHIN),
        )
    return secret


async def take(database: Database, secret: str, browser: str, now: datetime) -> Flow | None:
    """The flow, which ends; None if it is unknown, ended already, or took too long."""
    async with translated():
        row = await database.fetchrow(SQL["take"], digest(secret), now, now + TOLERANCE)
    if row is None:
        return None
    return Flow(
        Purpose(row["purpose"]),
        row["provider"],
        row["session"],
        row["onward"],
        row["created_at"],
        row["browser"] == digest(browser),
    )


async def forget_flows(database: Database, now: datetime) -> None:
    """Deletes the flows that had no answer in time."""
    async with translated():
        await database.execute(SQL["forget"], now)
