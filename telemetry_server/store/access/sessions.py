"""Sessions of browsers. A cookie is a secret, of which the database stores the SHA-256.

Each request asks the database, so that an ended session and a deactivated person are refused from the next
request on, by each worker.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from telemetry_server.check.networks import network_of
from telemetry_server.model import Role
from telemetry_server.store.access.credentials import (
    Database,
    SignedIn,
    digest,
    forget_sign_in_links,
    new_secret,
    signed_in,
)
from telemetry_server.store.access.flows import forget_flows
from telemetry_server.store.access.people import forget_invitations
from telemetry_server.store.access.throttle import forget_attempts
from telemetry_server.store.clock import TOLERANCE
from telemetry_server.store.database import translated
from telemetry_server.store.queries import load

SQL = load(__name__)

IDLE_AFTER = timedelta(hours=2)
CODE_WITHIN = timedelta(minutes=10)

_SEEN_EVERY = timedelta(minutes=1)
_LONGEST_DEVICE = 200


@dataclass(frozen=True, slots=True)
class Session:
    """A valid session; `person` is None for a one-time link, `products` (slugs) None for all.

    With `awaits_code`, the browser gave the password only, and is not signed in.
    """

    role: Role
    person: SignedIn | None
    products: frozenset[str] | None
    authenticated_at: datetime
    methods: tuple[str, ...]
    awaits_code: bool


@dataclass(frozen=True, slots=True)
class Origin:
    """What a sign-in came with: how, from which browser, from which address.

    `authenticated_at`: when a provider asked for the credentials, if that was before the sign-in.
    """

    methods: Sequence[str] = ("link",)
    device: str = ""
    address: str | None = None
    authenticated_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class SessionShown:
    """A session in the list of a person; `id` is the hexadecimal digest of its cookie."""

    id: str
    created_at: datetime
    last_seen_at: datetime
    methods: tuple[str, ...]
    device: str
    network: str | None


BY_LINK = Origin()


async def create_session(
    database: Database,
    role: Role,
    now: datetime,
    expires_at: datetime,
    origin: Origin = BY_LINK,
    *,
    person_id: UUID | None = None,
    awaits_code: bool = False,
) -> str:
    """The cookie of a new session, which expires at `expires_at` or after IDLE_AFTER without a request."""
    secret = new_secret()
    end = min(expires_at, now + CODE_WITHIN) if awaits_code else expires_at
    device = origin.device[:_LONGEST_DEVICE]
    network = None if origin.address is None else network_of(origin.address)
    async with translated():
        await database.execute(
            SQL["create_session"],
            *(digest(secret), role.value, now, end, person_id, list(origin.methods), device, network),
            *(awaits_code, origin.authenticated_at or now),
        )
    return secret


async def find_session(database: Database, secret: str, now: datetime) -> Session | None:
    """The session, which is noted as in use; None if it is unknown, expired, or its person is deactivated.

    A session created in the future, by a clock that was ahead, is not valid: it would last longer.
    """
    times = now, now - IDLE_AFTER, now + TOLERANCE
    async with translated():
        row = await database.fetchrow(SQL["find_session"], digest(secret), *times)
        if row is None:
            return None
        if abs(now - row["last_seen_at"]) >= _SEEN_EVERY:
            await database.execute(SQL["note_session_use"], digest(secret), now, now + TOLERANCE)
    return Session(
        Role(row["role"]),
        signed_in(row),
        None if row["products"] is None else frozenset(row["products"]),
        row["authenticated_at"],
        tuple(row["methods"]),
        row["awaits_code"],
    )


async def list_sessions(database: Database, person_id: UUID, now: datetime) -> list[SessionShown]:
    """The valid sessions of a person, the last seen first."""
    async with translated():
        rows = await database.fetch(SQL["sessions_of_person"], person_id, now, now - IDLE_AFTER)
    return [
        SessionShown(
            row["digest"].hex(),
            row["created_at"],
            row["last_seen_at"],
            tuple(row["methods"]),
            row["device"],
            row["network"] and str(row["network"]),
        )
        for row in rows
    ]


async def delete_session(database: Database, secret: str) -> None:
    async with translated():
        await database.execute(SQL["delete_session"], digest(secret))


async def end_session(database: Database, person_id: UUID, session_id: str) -> bool:
    """Ends a session of the person by the id of its list; False if there is no such session."""
    try:
        wanted = bytes.fromhex(session_id)
    except ValueError:
        return False
    async with translated():
        return bool(await database.fetch(SQL["delete_sessions_of_person"], person_id, wanted, None))


async def end_sessions(database: Database, person_id: UUID, *, but: str | None = None) -> int:
    """Ends all sessions of a person but that of the cookie `but`; returns their number."""
    async with translated():
        kept = None if but is None else digest(but)
        return len(await database.fetch(SQL["delete_sessions_of_person"], person_id, None, kept))


async def forget_sessions(database: Database, now: datetime) -> int:
    """Deletes what expired; returns the number of sessions and links."""
    async with translated():
        sessions = await database.fetch(SQL["forget_sessions"], now, now - IDLE_AFTER)
    await forget_invitations(database, now)
    await forget_attempts(database, now)
    await forget_flows(database, now)
    return len(sessions) + await forget_sign_in_links(database, now)
