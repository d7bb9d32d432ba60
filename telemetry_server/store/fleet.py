"""What people ask about installations and their pings. Reads only.

Rows are plain dictionaries, named as in `sql/fleet.sql`; `facts`, `place`, `details` and `features`
are JSON documents as text, addresses are text.
"""

from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Any, TypeAlias
from uuid import UUID

import asyncpg

from telemetry_server.store.database import Pool
from telemetry_server.store.queries import load
from telemetry_server.store.ranges import Ranges, holes, ranges
from telemetry_server.store.reading import reading

SQL = load("fleet")

Row: TypeAlias = dict[str, Any]
PingKey: TypeAlias = tuple[datetime, UUID, int]
ChangeKey: TypeAlias = tuple[datetime, UUID, int, str]

LOWEST, HIGHEST = UUID(int=0), UUID(int=2**128 - 1)
ANCIENT, DISTANT = datetime(1970, 1, 1, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC)
LAST_NUMBER = 2**63 - 1
NEWEST: PingKey = (DISTANT, HIGHEST, LAST_NUMBER)
NEWEST_CHANGE: ChangeKey = (*NEWEST, "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """Which installations; None asks for any. In the order of the parameters of the SQL.

    `attention` is missing, lost or forked. `vm`, `container` and `cloud` may be "none" (looked for in
    vain); what a copy did not tell is "unknown".
    """

    from_id: UUID = LOWEST
    to_id: UUID = HIGHEST
    product: str | None = None
    seen_since: datetime | None = None
    new_since: datetime | None = None
    license_status: str | None = None
    license_source: str | None = None
    version: str | None = None
    country: str | None = None
    os_name: str | None = None
    vm: str | None = None
    container: str | None = None
    cloud: str | None = None
    attention: str | None = None

    @property
    def values(self) -> list[Any]:
        return [getattr(self, field.name) for field in fields(self)]


@dataclass(frozen=True, slots=True)
class Known:
    """All there is to one installation: its row, its features, its forks and its relatives."""

    row: Row
    received: Ranges
    features: list[Row]
    forks: list[Row]
    fork_count: int
    parent: UUID | None
    children: tuple[UUID, ...]

    @property
    def missing(self) -> Ranges:
        """The numbers below the highest that never came, half-open."""
        return holes(self.received)


async def products(pool: Pool) -> list[Row]:
    """Every product by slug: slug, name, ping_interval_seconds, created_at, product_keys, installations."""
    async with reading(pool) as connection:
        return _rows(await connection.fetch(SQL["products_shown"]))


async def installations(pool: Pool, filters: Filters, *, below: UUID = HIGHEST, limit: int) -> list[Row]:
    """At most `limit` installations, the newest identity first, below the one given."""
    async with reading(pool) as connection:
        return _rows(await connection.fetch(SQL["installations"], *filters.values, below, limit))


async def facets(pool: Pool, filters: Filters) -> dict[str, dict[str | None, int]]:
    """Installations by value, by facet, the most frequent first; None stands for the rare values."""
    counted: dict[str, dict[str | None, int]] = {}
    async with reading(pool) as connection:
        rows = await connection.fetch(SQL["facets"], *filters.values)
    for facet, value, count in rows:
        counted.setdefault(facet, {})[value] = count
    return counted


async def installation(pool: Pool, installation_id: UUID) -> Known | None:
    """Everything about one installation but its pings; None when it is not known."""
    async with reading(pool) as connection:
        row = await connection.fetchrow(SQL["installation"], installation_id)
        if row is None:
            return None
        lineage = await connection.fetch(SQL["lineage_of"], installation_id)
        return Known(
            row=dict(row),
            received=ranges(row["received"]),
            features=_rows(await connection.fetch(SQL["features_of"], installation_id)),
            forks=_rows(await connection.fetch(SQL["forks_of"], installation_id)),
            fork_count=await connection.fetchval(SQL["fork_count"], installation_id),
            parent=next((r["parent_id"] for r in lineage if r["installation_id"] == installation_id), None),
            children=tuple(r["installation_id"] for r in lineage if r["parent_id"] == installation_id),
        )


async def history(pool: Pool, installation_id: UUID, *, below: int = LAST_NUMBER, limit: int) -> list[Row]:
    """At most `limit` pings of one installation, the highest number first, below the one given."""
    async with reading(pool) as connection:
        return _rows(await connection.fetch(SQL["history"], installation_id, below, limit))


async def pings(
    pool: Pool,
    *,
    installation_id: UUID | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    below: PingKey = NEWEST,
    limit: int,
) -> list[Row]:
    """At most `limit` pings received from `since` until before `until`, the newest first."""
    asked: list[Any] = [since or ANCIENT, until or DISTANT, *below, limit]
    name = "pings" if installation_id is None else "pings_of_installation"
    if installation_id is not None:
        asked.append(installation_id)
    async with reading(pool) as connection:
        return _rows(await connection.fetch(SQL[name], *asked))


async def changes(
    pool: Pool,
    *,
    installation_id: UUID | None = None,
    field: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    below: ChangeKey = NEWEST_CHANGE,
    limit: int,
) -> list[Row]:
    """At most `limit` changed facts noted from `since` until before `until`, the newest first."""
    asked: list[Any] = [since or ANCIENT, until or DISTANT, *below, limit, field]
    name = "changes" if installation_id is None else "changes_of_installation"
    if installation_id is not None:
        asked.append(installation_id)
    async with reading(pool) as connection:
        return _rows(await connection.fetch(SQL[name], *asked))


def _rows(records: list[asyncpg.Record]) -> list[Row]:
    return [dict(record) for record in records]
