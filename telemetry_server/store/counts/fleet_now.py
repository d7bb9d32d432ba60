"""What a large fleet is now, counted by a job: who looks at it need not wait until a million rows are read.

A small fleet is counted when somebody asks. `counted_at` tells which it is. `depth` says in how many of the
ranges that people choose from something lies: all those that are as long as one, or longer.
"""

from collections.abc import Sequence
from datetime import date, datetime

import asyncpg

from telemetry_server.job_names import JobName
from telemetry_server.store.counts.rollups import MOST_VALUES
from telemetry_server.store.dimensions import ALL, DIMENSIONS, FACETED, grouping
from telemetry_server.store.filtering import Condition
from telemetry_server.store.fleet.installations import Row
from telemetry_server.store.queries import fill, load
from telemetry_server.store.watermarks import reach, reached

SQL = load(__name__)
_COUNT_INSTALLATIONS = fill(
    SQL["count_installations"],
    **grouping({one.name: one.text(one.present) for one in DIMENSIONS}, otherwise=ALL, value="''"),
)
_FACETED = [one.name for one in FACETED]

_SECONDS = 600


async def is_large(connection: asyncpg.Connection, small: int) -> bool:
    """Whether there are more installations than `small`."""
    large: bool = await connection.fetchval(SQL["is_large"], small)
    return large


async def counted_at(connection: asyncpg.Connection) -> datetime | None:
    """When the fleet was counted; None where it is counted when somebody asks."""
    return await reached(connection, JobName.COUNT_THE_FLEET)


async def count(
    connection: asyncpg.Connection, begins: Sequence[datetime], hours_since: datetime, now: datetime
) -> None:
    """Counts the fleet anew, by the ranges that began at `begins`, the longest first; within `counting`."""
    await connection.execute(SQL["forget_counts"])
    await connection.execute(_COUNT_INSTALLATIONS, begins, MOST_VALUES, timeout=_SECONDS)
    await connection.execute(SQL["count_pings_that_never_came"], begins, timeout=_SECONDS)
    await connection.execute(SQL["count_newcomers"], begins, timeout=_SECONDS)
    await connection.execute(SQL["count_pings_by_hour"], hours_since, timeout=_SECONDS)
    await reach(connection, JobName.COUNT_THE_FLEET, now)


async def forget(connection: asyncpg.Connection) -> None:
    """From now on, the fleet is counted when somebody asks."""
    await connection.execute(SQL["forget_counts"])
    await connection.execute(SQL["forget_mark"], JobName.COUNT_THE_FLEET)


# ── what was counted ────────────────────────────────────────────────────────────────────────


COLUMNS = {"product": "r.product_id", "simulated": "r.product_id"}
"""What the counts can be filtered by: of fleet_now AS r."""


async def by_value(connection: asyncpg.Connection, by: str, asked: Condition, values: int) -> list[Row]:
    """As `counting.present` gives them."""
    column, dimension = ("p.slug", ALL) if by == "product" else ("r.value", by)
    statement = fill(SQL["by_value"], by=column, filter=asked.sql)
    return [dict(row) for row in await connection.fetch(statement, values, dimension, *asked.values)]


async def totals(connection: asyncpg.Connection, product: str | None, depth: int) -> Row:
    return dict(await connection.fetchrow(SQL["totals"], product, depth))


async def facets(
    connection: asyncpg.Connection, product: str | None, depth: int
) -> dict[str, dict[str | None, int]]:
    counted: dict[str, dict[str | None, int]] = {}
    for field, value, number in await connection.fetch(SQL["facets"], product, depth, _FACETED):
        counted.setdefault(field, {})[value] = number
    return counted


async def new_by_day(connection: asyncpg.Connection, product: str | None, since: date) -> dict[datetime, int]:
    rows = await connection.fetch(SQL["over_time"], product, "new_on", since.isoformat())
    return {datetime.fromisoformat(f"{row['value']}T00+00:00"): row["count"] for row in rows}


async def pings_by_hour(
    connection: asyncpg.Connection, product: str | None, since: datetime
) -> dict[datetime, int]:
    rows = await connection.fetch(SQL["over_time"], product, "pings_in", f"{since:%Y-%m-%dT%H}")
    return {datetime.fromisoformat(f"{row['value']}:00+00:00"): row["count"] for row in rows}
