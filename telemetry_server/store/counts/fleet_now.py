"""The present counts of the fleet, by the same statements for a fleet of any size.

The statements that count return rows (product_id, dimension, value, depth, count). The job "count the fleet"
stores those of a large fleet in the table fleet_now; for a small fleet the statement replaces the table in a
question. `depth` is the number of time ranges that contain an event: all ranges end now, so the longest do.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from telemetry_server.job_names import JobName
from telemetry_server.store.counts.rollups import MOST_VALUES
from telemetry_server.store.database import Connection, Pool
from telemetry_server.store.dimensions import ALL, BY_NAME, DIMENSIONS, Dimension, grouping
from telemetry_server.store.filtering import Condition
from telemetry_server.store.fleet.installations import Row
from telemetry_server.store.queries import fill, load
from telemetry_server.store.reading import read_rows
from telemetry_server.store.watermarks import reach

SQL = load(__name__)

SMALL = 20_000
"""A fleet of so few installations is counted in about a second; the job counts larger ones."""
MOST_AT_ONCE = 2 * SMALL
"""The most installations to count for a question. A fleet that grew is counted so until the job has run."""

_SECONDS = 600


@dataclass(frozen=True, slots=True)
class Counted:
    """When the fleet is counted: at the last run of the job, or now, for the question."""

    at: datetime
    by_job: bool


async def counted(connection: Connection, products: Condition, now: datetime) -> Counted | None:
    """When the installations of some products are counted; None: not yet.

    `products` is a condition on r.product_id with the parameters from the third on.
    """
    statement = fill(SQL["when_counted"], filter=products.sql)
    row = await connection.fetchrow(statement, JobName.COUNT_THE_FLEET, ALL, *products.values)
    if row["reached_at"] is None:
        return None if await is_large(connection, MOST_AT_ONCE) else Counted(now, by_job=False)
    return Counted(row["reached_at"], by_job=True) if row["counted"] else None


async def is_large(connection: Connection, small: int) -> bool:
    """Whether there are more installations than `small`."""
    return bool(await connection.fetchval(SQL["is_large"], small))


# ── counting ────────────────────────────────────────────────────────────────────────────────


async def count(
    connection: Connection, begins: Sequence[datetime], hours_since: datetime, now: datetime
) -> None:
    """Counts the fleet again, by ranges that began at `begins`, the longest first. Call within `counting`."""
    await connection.execute(SQL["forget_counts"])
    counted: list[tuple[str, tuple[Any, ...]]] = [
        (count_by_value(DIMENSIONS), ()),
        (within("installations_by_gaps", begins="$2::timestamptz[]", filter="TRUE"), (begins,)),
        (within("pings_by_hour", hours_since="$2::timestamptz", filter="TRUE"), (hours_since,)),
    ]
    for counts, values in counted:
        statement = fill(SQL["keep_counts"], counts=f"({counts})")
        await connection.execute(statement, MOST_VALUES, *values, timeout=_SECONDS)
    await reach(connection, JobName.COUNT_THE_FLEET, now)


async def forget(connection: Connection) -> None:
    """Deletes the counts of the job: the fleet is counted for each question again."""
    await connection.execute(SQL["forget_counts"])
    await connection.execute(SQL["forget_mark"], JobName.COUNT_THE_FLEET)


def count_by_value(dimensions: Sequence[Dimension], wanted: str = "TRUE", *, total: bool = False) -> str:
    """The statement that counts by dimensions; installations AS i are read only if a slot names them."""
    values = {one.name: one.text(one.present) for one in dimensions}
    slots = grouping(values, otherwise=ALL, value="''", total=total)
    return within("installations_by_value", filter=wanted, **slots)


def within(name: str, **slots: str) -> str:
    """A statement that counts, as a part of another."""
    return fill(SQL[name].removesuffix(";"), **slots)


# ── questions ───────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Fleet:
    """The installations of a product, by its slug, or of all, and when they are counted."""

    product: str | None
    counted: Counted

    def of(self, column: str) -> str:
        """The condition on a product_id. The slug is the first parameter of each question."""
        if self.product is None:
            return "TRUE"
        return f"{column} = (SELECT p.product_id FROM products AS p WHERE p.slug = $1)"  # noqa: S608  a column of ours

    async def ask(self, pool: Pool, question: str, *arguments: Any, counts: str, since: Any) -> list[Row]:
        """Asks the counts of the job, or the statement `counts`, whose last parameter is `since`."""
        if self.counted.by_job:
            statement = fill(SQL[question], counts="fleet_now")
            return await read_rows(pool, statement, self.product, *arguments)
        statement = fill(SQL[question], counts=f"({counts})")
        return await read_rows(pool, statement, self.product, *arguments, since)


async def by_value(
    connection: Connection, by: str, asked: Condition, values: int, counted: Counted | None
) -> list[Row]:
    """The rows of `counting.present`; `asked` has the parameters from the third on.

    It is a condition on PRODUCTS; where `counted` is None, on the columns NOW, and counted for the question.
    """
    column, dimension = ("p.slug", ALL) if by == "product" else ("r.value", by)
    dimensions = [BY_NAME[by]] if by in BY_NAME else []
    narrowed, wanted = (asked.sql, "TRUE") if counted is None else ("TRUE", asked.sql)
    counts = f"({count_by_value(dimensions, narrowed, total=not dimensions)})"
    if counted is not None and counted.by_job:
        counts = "fleet_now"
    statement = fill(SQL["by_value"], counts=counts, by=column, filter=wanted)
    return [dict(row) for row in await connection.fetch(statement, values, dimension, *asked.values)]
