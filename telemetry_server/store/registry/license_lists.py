"""Licenses and customers as pages list them: sorted, with exact totals. Reads only."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from types import MappingProxyType
from typing import Any, TypeAlias
from uuid import UUID

from telemetry_server.check.filters.terms import Filter
from telemetry_server.store.database import Connection, Pool
from telemetry_server.store.filtering import CUSTOMERS, LICENSES, condition
from telemetry_server.store.queries import fill, load
from telemetry_server.store.reading import read_rows

SQL = load(__name__)

Row: TypeAlias = dict[str, Any]

SOON = timedelta(days=30)
YEAR = timedelta(days=366)

LICENSE_SORTS: Mapping[str, str] = MappingProxyType(
    {
        "created": "l.license_id",
        "updated": "l.updated_at",
        "expires": "l.expires_at",
        "seats": "l.seats",
        "used": "l.seats_used",
        "over": "l.seats_used - l.seats",
        "status": "l.status",
        "hint": "l.key_hint",
    }
)
CUSTOMER_SORTS: Mapping[str, str] = MappingProxyType(
    {
        "created": "c.customer_id",
        "name": "lower(coalesce(c.company, c.name, c.email))",
        "licenses": "licenses",
        "used": "seats_used",
        "over": "over",
        "expires": "next_expiry",
    }
)


@dataclass(frozen=True, slots=True)
class ListPage:
    """What is wanted of a list: `sort` is a name of the sorts, with "-" before it for descending order."""

    sort: str
    limit: int
    offset: int = 0


async def licenses_shown(
    connection: Connection, wanted: Filter, part: ListPage, *, now: datetime
) -> list[Row]:
    """The licenses of the page. Raises BadFilter."""
    asked = await condition(connection, wanted, LICENSES, now=now, first=3)
    order = _order(part.sort, LICENSE_SORTS, "l.license_id")
    statement = fill(SQL["licenses_shown"], filter=asked.sql, order=order)
    return [dict(row) for row in await connection.fetch(statement, part.limit, part.offset, *asked.values)]


async def license_totals(connection: Connection, wanted: Filter, *, now: datetime) -> Mapping[str, int]:
    """The number of licenses by tab: all, over, expiring, expiring_in_use, unused, ended."""
    asked = await condition(connection, wanted, LICENSES, now=now, first=3)
    statement = fill(SQL["license_totals"], filter=asked.sql)
    row = await connection.fetchrow(statement, now, now + SOON, *asked.values)
    assert row is not None, "an aggregate has a row"
    return dict(row)


async def expiries(connection: Connection, wanted: Filter, *, now: datetime) -> dict[date, tuple[int, int]]:
    """By month, the active licenses that expire within a year, and those of them that are in use."""
    asked = await condition(connection, wanted, LICENSES, now=now, first=3)
    rows = await connection.fetch(
        fill(SQL["expiries"], filter=asked.sql), now, now + YEAR + SOON, *asked.values
    )
    return {row["month"]: (row["licenses"], row["in_use"]) for row in rows}


async def customers_shown(
    connection: Connection, wanted: Filter, named: str | None, part: ListPage, *, now: datetime
) -> list[Row]:
    """The customers of the page; `named`: a text that is in their e-mail, name, company or account."""
    asked = await condition(connection, wanted, CUSTOMERS, now=now, first=5)
    order = _order(part.sort, CUSTOMER_SORTS, "c.customer_id")
    statement = fill(SQL["customers_shown"], filter=asked.sql, order=order)
    text = named and named.lower()
    rows = await connection.fetch(statement, part.limit, part.offset, text, now, *asked.values)
    return [dict(row) for row in rows]


async def customer_total(connection: Connection, wanted: Filter, named: str | None, *, now: datetime) -> int:
    """The number of customers that match."""
    asked = await condition(connection, wanted, CUSTOMERS, now=now, first=2)
    statement = fill(SQL["customer_total"], filter=asked.sql)
    return int(await connection.fetchval(statement, named and named.lower(), *asked.values))


async def customer_names(connection: Connection, customer_ids: Collection[UUID]) -> dict[UUID, str]:
    """The company, else the name, else the e-mail of each of these customers."""
    rows = await connection.fetch(SQL["customer_names"], list(customer_ids)) if customer_ids else []
    return {row["customer_id"]: row["name"] for row in rows}


async def licenses_named(pool: Pool, license_ids: Collection[UUID]) -> dict[UUID, Row]:
    """key_hint, seats, seats_used, customer_id and customer, the name of the customer, by license."""
    rows = await read_rows(pool, SQL["licenses_named"], list(license_ids)) if license_ids else []
    return {row["license_id"]: row for row in rows}


async def license_owners(connection: Connection, customer_ids: Collection[UUID]) -> dict[UUID, UUID]:
    """The customer of each license of these customers."""
    rows = await connection.fetch(SQL["license_owners"], list(customer_ids)) if customer_ids else []
    return {row["license_id"]: row["customer_id"] for row in rows}


def _order(sort: str, sorts: Mapping[str, str], tie: str) -> str:
    direction = "DESC" if sort.startswith("-") else "ASC"
    return f"{sorts[sort.removeprefix('-')]} {direction} NULLS LAST, {tie} {direction}"
