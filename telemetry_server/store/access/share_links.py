"""Links that show numbers without an account, with an end and the rights of their maker.

Of their secrets, digests are stored.
"""

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from uuid import UUID

from telemetry_server.errors import NotFound
from telemetry_server.model import Role
from telemetry_server.permissions import Permission, permissions_of
from telemetry_server.store.access.credentials import digest, new_secret
from telemetry_server.store.clock import TOLERANCE
from telemetry_server.store.database import Connection, Pool, translated
from telemetry_server.store.queries import load
from telemetry_server.uuid7 import uuid7

SQL = load(__name__)

LONGEST_LABEL, MOST_DAYS = 180, 366


class NoSuchShareLink(NotFound):
    """This link is unknown, revoked, or not yours to revoke."""


@dataclass(frozen=True, slots=True)
class ShareLink:
    """What may be shown of a link; `products` are slugs, None: all."""

    link_id: UUID
    label: str
    created_by: str
    created_at: datetime
    expires_at: datetime
    revoked_at: datetime | None
    last_used_on: date | None
    products: tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class Shared:
    """What a valid link shows: numbers of these products (slugs), None: of all."""

    link_id: UUID
    products: frozenset[str] | None


async def create_share_link(
    connection: Connection,
    label: str,
    days: int,
    *,
    person_id: UUID | None,
    products: frozenset[str] | None,
    by: str,
    now: datetime,
) -> tuple[UUID, str]:
    """A new link: its id, and its secret, which cannot be shown again."""
    link_id, secret = uuid7(), new_secret()
    slugs = None if products is None else sorted(products)
    ends = now + timedelta(days=days)
    values = link_id, digest(secret), label, person_id, slugs, by, now, ends
    await connection.execute(SQL["create_share_link"], *values)
    return link_id, secret


async def list_share_links(pool: Pool, person_id: UUID | None, *, of_all: bool) -> list[ShareLink]:
    """The links of the person, or `of_all`, the newest first; also those that have ended."""
    async with translated():
        rows = await pool.fetch(SQL["list_share_links"], person_id, of_all)
    return [ShareLink(**{**row, "products": _tuple(row["products"])}) for row in rows]


async def revoke_share_link(
    connection: Connection, link_id: UUID, person_id: UUID | None, *, of_all: bool, now: datetime
) -> None:
    """Ends a link at once. Raises NoSuchShareLink."""
    if await connection.fetchval(SQL["revoke_share_link"], link_id, person_id, of_all, now) is None:
        raise NoSuchShareLink


async def find_share_link(pool: Pool, secret: str, now: datetime) -> Shared | None:
    """The link; None if it is unknown, revoked or expired, or if its maker may no longer share."""
    async with translated():
        row = await pool.fetchrow(SQL["find_share_link"], digest(secret), now, now + TOLERANCE)
        if row is None or not _may_share(row["role"]):
            return None
        if row["last_used_on"] != now.date():
            await pool.execute(SQL["note_share_link_use"], row["link_id"], now.date())
    products = None if row["products"] is None else frozenset(row["products"])
    return Shared(row["link_id"], products)


def _may_share(role: str | None) -> bool:
    """`role`: of the person who made the link, as of now; None: made from the command line."""
    return role is None or Permission.SHARE in permissions_of(Role(role), person=True)


def _tuple(values: list[str] | None) -> tuple[str, ...] | None:
    return None if values is None else tuple(values)
