"""How far license keys have spread: copies, networks (/24, /48), countries, operators. Reads only."""

from collections.abc import Collection
from datetime import datetime
from uuid import UUID

from telemetry_server.check.filters.terms import Filter
from telemetry_server.store.database import Pool
from telemetry_server.store.filtering import NOW, condition
from telemetry_server.store.fleet.installations import Row
from telemetry_server.store.queries import fill, load
from telemetry_server.store.reading import read_rows, reading

SQL = load(__name__)


async def spread_of_licenses(pool: Pool, license_ids: Collection[UUID]) -> dict[UUID, Row]:
    """By license that has a copy: installations, reporting, networks, countries, operators,
    first_received_at, last_received_at.
    """
    rows = await read_rows(pool, SQL["spread_of_licenses"], list(license_ids)) if license_ids else []
    return {row["license_id"]: row for row in rows}


async def places_of_license(pool: Pool, license_id: UUID) -> dict[str, dict[str | None, int]]:
    """Its copies by country, by asn and by network, the most frequent first; None: not known."""
    found: dict[str, dict[str | None, int]] = {"country": {}, "asn": {}, "network": {}}
    for row in await read_rows(pool, SQL["places_of_license"], license_id):
        found[row["kind"]][row["value"]] = row["installations"]
    return found


async def unknown_keys(
    pool: Pool, wanted: Filter, *, now: datetime, limit: int, offset: int = 0
) -> list[Row]:
    """The keys no license has, the most used first: product, key_hash (hexadecimal), key_hint, installations,
    reporting, networks, countries, operators, first_received_at, last_received_at; total: their number.
    """
    async with reading(pool) as connection:
        asked = await condition(connection, wanted, NOW, now=now, first=3)
        statement = fill(SQL["unknown_keys"], filter=asked.sql)
        return [dict(row) for row in await connection.fetch(statement, limit, offset, *asked.values)]
