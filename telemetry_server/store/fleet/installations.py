"""What people ask about installations and their pings. Reads only.

Rows are plain dictionaries, named as in `installations.sql`; `facts`, `place`, `details` and `features`
are JSON documents as text, addresses are text.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeAlias
from uuid import UUID

import asyncpg

from telemetry_server.check.filters.terms import Filter
from telemetry_server.store.database import Pool
from telemetry_server.store.dimensions import FACETED, grouping
from telemetry_server.store.filtering import NOW, condition
from telemetry_server.store.queries import fill, load
from telemetry_server.store.ranges import Ranges, holes, ranges
from telemetry_server.store.reading import reading
from telemetry_server.uuid7 import HIGHEST

SQL = load(__name__)
_FACETS = grouping({one.name: one.present for one in FACETED}, otherwise="", value="''", total=False)

Row: TypeAlias = dict[str, Any]
PingKey: TypeAlias = tuple[datetime, UUID, int]
ChangeKey: TypeAlias = tuple[datetime, UUID, int, str]

ANCIENT, DISTANT = datetime(1970, 1, 1, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC)
LAST_NUMBER = 2**63 - 1
MOST_COUNTED = 10_000
NEWEST: PingKey = (DISTANT, HIGHEST, LAST_NUMBER)
NEWEST_CHANGE: ChangeKey = (*NEWEST, "")


@dataclass(frozen=True, slots=True)
class InstallationDetails:
    """All there is to one installation: its row, its license, its features, its forks and its relatives.

    `license` is None too while an installation that changed waits for the job that finds its license.
    """

    row: Row
    license: Row | None
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
    """Every product by slug: slug, name, ping_interval_seconds, created_at, simulated, product_keys and
    how many installations there are.
    """
    async with reading(pool) as connection:
        return _rows(await connection.fetch(SQL["products_shown"]))


async def product_names(pool: Pool) -> list[Row]:
    """Every product by slug, without counting anything: slug, name, simulated, product_keys, in_use."""
    async with reading(pool) as connection:
        return _rows(await connection.fetch(SQL["product_names"]))


async def installations(
    pool: Pool, wanted: Filter, *, now: datetime, below: UUID = HIGHEST, limit: int
) -> list[Row]:
    """At most `limit` installations, the newest identity first, below the one given."""
    return _rows(await _fetch_wanted(pool, "installations", wanted, now, below, limit))


async def matching(pool: Pool, wanted: Filter, *, now: datetime) -> int:
    """How many installations there are; MOST_COUNTED + 1: more than are counted."""
    [[count]] = await _fetch_wanted(pool, "matching", wanted, now, MOST_COUNTED + 1)
    return int(count)


async def facets(
    pool: Pool, wanted: Filter, *, now: datetime, newest: int | None = None
) -> dict[str, dict[str | None, int]]:
    """Installations by value, by field, the most frequent first; None stands for the rare values.

    With `newest`, of so many installations only, so that it is quick however large the fleet is.
    """
    counted: dict[str, dict[str | None, int]] = {}
    for field, value, count in await _fetch_wanted(pool, "facets", wanted, now, newest, **_FACETS):
        counted.setdefault(field, {})[value] = count
    return counted


async def _fetch_wanted(
    pool: Pool, name: str, wanted: Filter, now: datetime, *arguments: Any, **slots: str
) -> list[asyncpg.Record]:
    async with reading(pool) as connection:
        asked = await condition(connection, wanted, NOW, now=now, first=len(arguments) + 1)
        rows: list[asyncpg.Record] = await connection.fetch(
            fill(SQL[name], filter=asked.sql, **slots), *arguments, *asked.values
        )
    return rows


async def installation(pool: Pool, installation_id: UUID) -> InstallationDetails | None:
    """Everything about one installation but its pings; None when it is not known."""
    async with reading(pool) as connection:
        row = await connection.fetchrow(SQL["installation"], installation_id)
        if row is None:
            return None
        lineage = await connection.fetch(SQL["lineage_of"], installation_id)
        license_id = None if row["judge_again"] else row["license_id"]
        license_ = await connection.fetchrow(SQL["license_shown"], license_id)
        return InstallationDetails(
            row=dict(row),
            license=license_ and dict(license_),
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
