"""The keys that copies use and no license has, and how far each has spread. Reads only."""

from datetime import datetime

from telemetry_server.check.filters.terms import Filter
from telemetry_server.store.database import Connection
from telemetry_server.store.filtering import NOW, condition
from telemetry_server.store.fleet.installations import Row
from telemetry_server.store.queries import fill, load

SQL = load(__name__)


async def unknown_keys(
    connection: Connection, wanted: Filter, *, now: datetime, limit: int, offset: int = 0
) -> list[Row]:
    """The keys no license has, the most used first: product_id, product, key_hash (hexadecimal), key_hint,
    installations, reporting, active (not lost), networks (/24, /48), countries, operators,
    first_received_at, last_received_at; total: their number.
    """
    asked = await condition(connection, wanted, NOW, now=now, first=3)
    statement = fill(SQL["unknown_keys"], filter=asked.sql)
    return [dict(row) for row in await connection.fetch(statement, limit, offset, *asked.values)]


async def unknown_key_total(connection: Connection, wanted: Filter, *, now: datetime) -> int:
    """The number of such keys."""
    asked = await condition(connection, wanted, NOW, now=now, first=1)
    statement = fill(SQL["unknown_key_total"], filter=asked.sql)
    return int(await connection.fetchval(statement, *asked.values))
