"""Queries of the list of installations: in any order, and what its rows show beside. Reads only."""

from collections.abc import Collection, Mapping
from datetime import date, datetime
from uuid import UUID

from telemetry_server.check.filters.terms import Filter
from telemetry_server.store.database import Pool
from telemetry_server.store.filtering import NOW, condition
from telemetry_server.store.fleet.installations import Row
from telemetry_server.store.queries import fill, load
from telemetry_server.store.reading import read_rows, reading

SQL = load(__name__)

ORDERS: Mapping[str, str] = {
    "verdict": "f.verdict",
    "license": "f.license_id",
    "version": "f.version_key",
    "system": "f.os_name",
    "place": "f.country",
    "life": "f.life",
    "last": "i.last_received_at",
    "first": "f.first_received_at",
}
"""What installations are sorted by, beside their identity."""


async def sorted_installations(
    pool: Pool, wanted: Filter, by: str, *, descending: bool, now: datetime, offset: int, limit: int
) -> list[Row]:
    """Rows like those of `installations`, `limit` after the first `offset`, by one of ORDERS."""
    direction = "DESC NULLS LAST" if descending else "ASC NULLS LAST"
    order = f"{ORDERS[by]} {direction}, f.installation_id DESC"
    async with reading(pool) as connection:
        asked = await condition(connection, wanted, NOW, now=now, first=3)
        statement = fill(SQL["sorted_installations"], filter=asked.sql, order=order)
        return [dict(row) for row in await connection.fetch(statement, limit, offset, *asked.values)]


async def pings_of_days(pool: Pool, ids: Collection[UUID], since: date) -> dict[UUID, dict[date, int]]:
    """Pings by day of each installation that has any, as far as they are rolled up."""
    found: dict[UUID, dict[date, int]] = {}
    for row in await read_rows(pool, SQL["pings_of_days"], list(ids), since):
        found.setdefault(row["installation_id"], {})[row["day"]] = row["pings"]
    return found
