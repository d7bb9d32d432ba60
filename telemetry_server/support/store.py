"""The tables of the wing: cases, grants and approvals."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from secrets import token_urlsafe
from uuid import UUID

from telemetry_server.store.access import audit
from telemetry_server.store.database import Connection
from telemetry_server.store.queries import load
from telemetry_server.uuid7 import uuid7

SQL = load(__name__)

CASE_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
APPROVAL_VALID = timedelta(hours=1)
"""How long after it was asked for, and after it was given, an approval can be used."""
LINK_VALID = timedelta(days=7)
NO_INSTALLATION = UUID(int=0)
"""What grants from a browser have instead of an installation."""
MOST_SHOWN = 500
_SECRET_BYTES = 32
ENTRIES_KEPT = timedelta(days=90)
"""How long a grant stays in the lists after its expiry, without what was sealed."""


@dataclass(frozen=True, slots=True)
class Case:
    """A case of the support team."""

    case_id: str
    title: str
    two_persons: bool
    begun_at: datetime
    begun_by: str
    closed_at: datetime | None
    closed_by: str | None


@dataclass(frozen=True, slots=True)
class Grant:
    """A grant. `installation_id` is NO_INSTALLATION for one from a browser; `product` is a slug."""

    installation_id: UUID
    grant_id: UUID
    case_id: str
    key_id: str
    notice: str
    ssh: str | None
    received_at: datetime
    not_after: datetime
    revoked_at: datetime | None
    sealed: bytes | None
    product: str

    def is_valid(self, now: datetime) -> bool:
        return self.sealed is not None and self.not_after > now


@dataclass(frozen=True, slots=True)
class NewGrant:
    """A grant as it arrives."""

    grant_id: UUID
    case_id: str
    key_id: str
    notice: str
    ssh: str | None
    not_after: datetime
    sealed: bytes


@dataclass(frozen=True, slots=True)
class Approval:
    """A request for the approval of a second person."""

    approval_id: UUID
    case_id: str
    asked_at: datetime
    asked_by: str
    reason: str
    approved_at: datetime | None
    approved_by: str | None


@dataclass(frozen=True, slots=True)
class Link:
    """What a link is for."""

    case_id: str
    product_id: UUID
    expires_at: datetime
    product: str


async def begin_case(
    connection: Connection, case_id: str, title: str, *, two_persons: bool, by: audit.Entry, now: datetime
) -> bool:
    """Opens a case, also one that was closed; returns False if it is open already. Records it."""
    async with connection.transaction():
        made = await connection.fetchval(SQL["begin_case"], case_id, title, two_persons, now, by.actor)
        if made is not None:
            await audit.record(connection, by)
    return made is not None


async def close_case(connection: Connection, case_id: str, *, by: audit.Entry, now: datetime) -> bool:
    """Closes a case; returns False if it is not open. Records it."""
    async with connection.transaction():
        closed = await connection.fetchval(SQL["close_case"], case_id, now, by.actor)
        if closed is not None:
            await audit.record(connection, by)
    return closed is not None


async def find_case(connection: Connection, case_id: str) -> Case | None:
    row = await connection.fetchrow(SQL["case"], case_id)
    return None if row is None else Case(**row)


async def list_cases(connection: Connection) -> list[Case]:
    """The open cases first, then the newest; at most MOST_SHOWN."""
    return [Case(**row) for row in await connection.fetch(SQL["cases"], MOST_SHOWN)]


async def count_valid_grants(connection: Connection, now: datetime) -> Mapping[str, int]:
    """The number of valid grants by case."""
    return {row["case_id"]: row["grants"] for row in await connection.fetch(SQL["valid_grants"], now)}


async def grants_of(connection: Connection, case_id: str, now: datetime) -> list[Grant]:
    """The grants of a case, the valid ones first; at most MOST_SHOWN."""
    return [Grant(**row) for row in await connection.fetch(SQL["grants_of"], case_id, MOST_SHOWN, now)]


async def is_erased(connection: Connection, installation_id: UUID) -> bool:
    """Whether the installation was erased."""
    return await connection.fetchval(SQL["erasure_of"], installation_id) is not None


async def recent_of(connection: Connection, installation_id: UUID, grant: NewGrant, since: datetime) -> int:
    """The number of other grants of the installation since then; from browsers: for the same case."""
    case_id = grant.case_id if installation_id == NO_INSTALLATION else None
    return int(await connection.fetchval(SQL["recent_of"], installation_id, since, case_id, grant.grant_id))


async def keep_grant(
    connection: Connection, installation_id: UUID, product_id: UUID, grant: NewGrant, now: datetime
) -> None:
    """Stores a grant; one that is there already stays as it is."""
    await connection.execute(
        SQL["keep_grant"],
        *(installation_id, grant.grant_id, product_id, grant.case_id, grant.key_id, grant.notice, grant.ssh),
        *(now, grant.not_after, grant.sealed),
    )


async def revoke_grant(connection: Connection, installation_id: UUID, grant_id: UUID, now: datetime) -> None:
    """Ends a grant, and erases what was sealed. One that is unknown or ended already stays as it is."""
    await connection.execute(SQL["revoke_grant"], installation_id, grant_id, now)


async def forget_expired(connection: Connection, now: datetime) -> tuple[int, int]:
    """Erases expired links and what expired grants sealed; after ENTRIES_KEPT, the grants.

    Returns the number of grants that were emptied, and of those removed.
    """
    await connection.execute(SQL["forget_links"], now)
    emptied = await connection.execute(SQL["empty_expired"], now)
    removed = await connection.execute(SQL["forget_expired"], now - ENTRIES_KEPT)
    return int(emptied.split()[-1]), int(removed.split()[-1])


async def ask_approval(connection: Connection, case_id: str, *, by: str, reason: str, now: datetime) -> UUID:
    """Asks a second person to approve the next opening of the case by `by`; returns the id."""
    approval_id = uuid7()
    await connection.execute(SQL["ask_approval"], approval_id, case_id, now, by, reason)
    return approval_id


async def list_approvals(connection: Connection, case_id: str, now: datetime) -> list[Approval]:
    """The requests of the last hour that were not used, the newest first."""
    rows = await connection.fetch(SQL["approvals"], case_id, now - APPROVAL_VALID)
    return [Approval(**row) for row in rows]


async def approve(
    connection: Connection, case_id: str, approval_id: UUID, *, by: audit.Entry, now: datetime
) -> bool:
    """Approves an opening of another person; returns False where there is nothing to approve. Records it."""
    async with connection.transaction():
        values = (approval_id, case_id, now, by.actor, now - APPROVAL_VALID)
        approved = await connection.fetchval(SQL["approve"], *values)
        if approved is not None:
            await audit.record(connection, by)
    return approved is not None


async def use_approval(connection: Connection, case_id: str, *, by: str, now: datetime) -> str | None:
    """Uses up an approval that `by` got; returns who gave it. None: there is none."""
    values = (case_id, by, now, now - APPROVAL_VALID)
    found: str | None = await connection.fetchval(SQL["use_approval"], *values)
    return found


async def make_link(
    connection: Connection, case_id: str, product: str, *, by: audit.Entry, now: datetime
) -> str | None:
    """The secret of a new link for an open case; None where there is no such case or product. Records it."""
    secret, until = token_urlsafe(_SECRET_BYTES), now + LINK_VALID
    async with connection.transaction():
        values = (_digest(secret), case_id, product, now, by.actor, until)
        made = await connection.fetchval(SQL["make_link"], *values)
        if made is not None:
            await audit.record(connection, by)
    return None if made is None else secret


async def find_link(connection: Connection, secret: str, now: datetime) -> Link | None:
    """What a link is for, if it is valid."""
    row = await connection.fetchrow(SQL["link"], _digest(secret), now)
    return None if row is None else Link(**row)


async def product_slugs(connection: Connection) -> list[str]:
    """The slugs of all products."""
    return [row["slug"] for row in await connection.fetch(SQL["products"])]


def _digest(secret: str) -> bytes:
    return sha256(secret.encode("utf-8", "replace")).digest()
