"""The public figures: who is counted, and what was released."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import date
from uuid import UUID

from telemetry_server.privacy.public_cells import Figure
from telemetry_server.store.database import Connection, Pool
from telemetry_server.store.queries import load

SQL = load(__name__)


async def owners(connection: Connection) -> dict[UUID, bytes]:
    """The customer of each license that has one, by license."""
    return {row["license_id"]: row["customer_id"].bytes for row in await connection.fetch(SQL["owners"])}


async def customers_by_value(
    connection: Connection, dimension: str, owner_of: Mapping[UUID, bytes]
) -> dict[str, set[bytes]]:
    """The customers of each value of a dimension."""
    found: defaultdict[str, set[bytes]] = defaultdict(set)
    for row in await connection.fetch(SQL["licenses_by_value"], dimension):
        if row["license_id"] in owner_of:
            found[row["value"]].add(owner_of[row["license_id"]])
    return found


async def keep(connection: Connection, week: date, figures: Sequence[Figure]) -> None:
    """Releases the figures of a week, unless it has some."""
    columns = [[getattr(each, name) for each in figures] for name in Figure.__slots__]
    await connection.execute(SQL["keep"], week, *columns)


async def newest(database: Connection | Pool) -> tuple[date | None, list[Figure]]:
    """The newest release: its week, and its figures by dimension, the largest first."""
    week = await database.fetchval(SQL["last_release"])
    rows = await database.fetch(SQL["figures"], week) if week else []
    return week, [Figure(**row) for row in rows]
