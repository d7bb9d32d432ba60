"""When versions were released, for the axis of charts. Reads only."""

from datetime import date
from typing import Any

from telemetry_server.store.database import Pool
from telemetry_server.store.queries import load
from telemetry_server.store.reading import read_rows

SQL = load(__name__)


async def released_between(pool: Pool, product: str, first: date, last: date) -> list[dict[str, Any]]:
    """Rows of version and released_on of the product of that slug, the oldest first."""
    return await read_rows(pool, SQL["released_between"], product, first, last)
