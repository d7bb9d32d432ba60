"""Queries about installations and their pings. Reads only.

Rows have the names of `installations.sql`; `facts`, `place`, `details` and `features` are JSON documents as
text, addresses are text.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeAlias
from uuid import UUID

from telemetry_server.check.filters.terms import Filter
from telemetry_server.store.database import Pool
from telemetry_server.store.dimensions import FACETED, grouping
from telemetry_server.store.filtering import NOW, condition
from telemetry_server.store.queries import fill, load
from telemetry_server.store.ranges import Ranges, holes, ranges
from telemetry_server.store.reading import read_rows, reading
from telemetry_server.uuid7 import HIGHEST

SQL = load(__name__)
_FACETS = grouping({one.name: one.present for one in FACETED}, otherwise="", value="''", total=False)

Row: TypeAlias = dict[str, Any]
PingKey: TypeAlias = tuple[datetime, UUID, int]
ChangeKey: TypeAlias = tuple[datetime, UUID, int, str]

ANCIENT, DISTANT = datetime(1970, 1, 1, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC)
LAST_NUMBER = 2**63 - 1
_CHANGED_IN = (
    "EXISTS (SELECT FROM installations AS o JOIN products AS q USING (product_id)"
    " WHERE o.installation_id = c.installation_id AND q.slug = ANY ({slugs}))"
)
NEWEST: PingKey = (DISTANT, HIGHEST, LAST_NUMBER)
NEWEST_CHANGE: ChangeKey = (*NEWEST, "")


@dataclass(frozen=True, slots=True)
class InstallationDetails:
    """One installation: its row, its license, its features, its forks, its parent and its children.

    `license` is also None until the job "judge installations" has found that of a changed installation.
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
        """The numbers below the highest that were never received, half-open."""
        return holes(self.received)


async def products(pool: Pool) -> list[Row]:
    """All products by slug: slug, name, ping_interval_seconds, created_at, simulated, product_keys and
    installations, their number.
    """
    return await read_rows(pool, SQL["products_shown"])


async def product_names(pool: Pool) -> list[Row]:
    """All products by slug, without counting anything: slug, name, simulated, product_keys, in_use."""
    return await read_rows(pool, SQL["product_names"])


async def installations(
    pool: Pool, wanted: Filter, *, now: datetime, below: UUID = HIGHEST, limit: int
) -> list[Row]:
    """At most `limit` installations below an identity, in descending order."""
    return await _read_wanted(pool, "installations", wanted, now, below, limit)


async def matching(pool: Pool, wanted: Filter, *, now: datetime) -> int:
    """Number of installations, exactly. Raises TooSlow."""
    [row] = await _read_wanted(pool, "matching", wanted, now)
    return int(row["count"])


async def facets(
    pool: Pool, wanted: Filter, *, now: datetime, newest: int | None = None
) -> dict[str, dict[str | None, int]]:
    """Number of installations by value, by field, the most frequent first; None stands for the rare values.

    With `newest`, of the newest n installations only, so that it is fast in a fleet of any size.
    """
    return by_field(await _read_wanted(pool, "facets", wanted, now, newest, **_FACETS))


def by_field(rows: Sequence[Mapping[str, Any]]) -> dict[str, dict[str | None, int]]:
    """Rows of field, value, installations as dictionaries by field and value, in the same order."""
    counted: dict[str, dict[str | None, int]] = {}
    for row in rows:
        counted.setdefault(row["field"], {})[row["value"]] = row["installations"]
    return counted


async def _read_wanted(
    pool: Pool, name: str, wanted: Filter, now: datetime, *arguments: Any, **slots: str
) -> list[Row]:
    async with reading(pool) as connection:
        asked = await condition(connection, wanted, NOW, now=now, first=len(arguments) + 1)
        statement = fill(SQL[name], filter=asked.sql, **slots)
        return [dict(row) for row in await connection.fetch(statement, *arguments, *asked.values)]


async def installation(pool: Pool, installation_id: UUID) -> InstallationDetails | None:
    """Everything about one installation except its pings; None if it is unknown."""
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
            features=[dict(row) for row in await connection.fetch(SQL["features_of"], installation_id)],
            forks=[dict(row) for row in await connection.fetch(SQL["forks_of"], installation_id)],
            fork_count=await connection.fetchval(SQL["fork_count"], installation_id),
            parent=next((r["parent_id"] for r in lineage if r["installation_id"] == installation_id), None),
            children=tuple(r["installation_id"] for r in lineage if r["parent_id"] == installation_id),
        )


async def history(pool: Pool, installation_id: UUID, *, below: int = LAST_NUMBER, limit: int) -> list[Row]:
    """At most `limit` pings of one installation below a sequence number, in descending order."""
    return await read_rows(pool, SQL["history"], installation_id, below, limit)


async def pings(
    pool: Pool,
    *,
    installation_id: UUID | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    below: PingKey = NEWEST,
    limit: int,
    products: Collection[str] | None = None,
) -> list[Row]:
    """At most `limit` pings received from `since` until before `until`, the newest first.

    Only of `products` (slugs), None: of all.
    """
    asked: list[Any] = [since or ANCIENT, until or DISTANT, *below, limit]
    name = "pings" if installation_id is None else "pings_of_installation"
    asked += [] if installation_id is None else [installation_id]
    return await read_rows(pool, *_of_products(name, asked, "p.slug = ANY ({slugs})", products))


async def changes(
    pool: Pool,
    *,
    installation_id: UUID | None = None,
    field: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    below: ChangeKey = NEWEST_CHANGE,
    limit: int,
    products: Collection[str] | None = None,
) -> list[Row]:
    """At most `limit` changes of facts from `since` until before `until`, the newest first.

    Only of `products` (slugs), None: of all.
    """
    asked: list[Any] = [since or ANCIENT, until or DISTANT, *below, limit, field]
    name = "changes" if installation_id is None else "changes_of_installation"
    asked += [] if installation_id is None else [installation_id]
    return await read_rows(pool, *_of_products(name, asked, _CHANGED_IN, products))


def _of_products(name: str, asked: list[Any], condition: str, products: Collection[str] | None) -> list[Any]:
    """The statement, limited to products, and its values."""
    if products is None:
        return [SQL[name], *asked]
    limited = condition.format(slugs=f"${len(asked) + 1}::text[]")
    return [fill(SQL[name], products=limited), *asked, sorted(products)]
