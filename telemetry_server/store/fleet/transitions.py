"""What changed in the fleet: facts before and after, by how many copies changed so. Reads only."""

from collections.abc import Collection
from datetime import datetime

from telemetry_server.store.database import Pool
from telemetry_server.store.fleet.installations import Row
from telemetry_server.store.queries import fill, load
from telemetry_server.store.reading import read_rows

SQL = load(__name__)

_IN_PRODUCTS = "f.product_id IN (SELECT p.product_id FROM products AS p WHERE p.slug = ANY ({slugs}))"


async def changed_fields(
    pool: Pool, fields: Collection[str], since: datetime, until: datetime, products: Collection[str] | None
) -> dict[str, int]:
    """By field, the number of copies in which it changed."""
    rows = await _read(pool, "changed_fields", (list(fields), since, until), products)
    return {row["field"]: row["copies"] for row in rows}


async def transitions(
    pool: Pool,
    field: str,
    since: datetime,
    until: datetime,
    products: Collection[str] | None,
    *,
    limit: int,
) -> list[Row]:
    """before, after, copies, days (from the first ping on average) and last_at, the most frequent first."""
    return await _read(pool, "transitions", (limit, field, since, until), products)


async def _read(
    pool: Pool, name: str, asked: tuple[object, ...], products: Collection[str] | None
) -> list[Row]:
    if products is None:
        return await read_rows(pool, SQL[name], *asked)
    limited = _IN_PRODUCTS.format(slugs=f"${len(asked) + 1}::text[]")
    return await read_rows(pool, fill(SQL[name], products=limited), *asked, sorted(products))
