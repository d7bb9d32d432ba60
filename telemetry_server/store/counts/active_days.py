"""The copies of each product at the end of each day (UTC), counted by the job "count active copies".

`fleet_days` counts the copies that sent a ping on a day: with a weekly interval a seventh of the fleet. Here
a copy counts from its first ping until it is lost, by the last that was known of it at the end of the day:

- verdict and life are those before their first change after the day, else the present ones: the timeline in
  `changes` holds each change with its time;
- what the copy reported is that of its last day with a ping, in `installation_days`. If no ping came since,
  that is its present state in `installation_facts`, so that the present day is one scan of that table;
- pings that came late repair the past: they are counted on the days on which they were made, and a copy that
  seemed late or lost then, but made pings, was not.

With it, the features are counted by version, edition, verdict and life: `feature_value_days`.

A day is counted as a whole, and replaced. `active_due` has the days to be counted: the present one; a day
that is over, once more; the days whose last known state a late ping changed ("roll up pings"); the days
since a change of life that was found later ("watch deadlines").
"""

from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import NamedTuple
from uuid import UUID

from telemetry_server.store.counts.rollups import MOST_VALUES, Open
from telemetry_server.store.database import Connection
from telemetry_server.store.dimensions import BY_NAME, at_end_of_day, grouping
from telemetry_server.store.distribution import fence
from telemetry_server.store.queries import fill, load

SQL = load(__name__)

TURNED = "turned"
"""The dimension of what copies became on a day: new, returned, lost."""

MOST_FEATURES, MOST_FEATURE_VALUES = 1_000, 100
"""Of a product and day, in the counts of features by version, edition, verdict and life."""

_NEAR = timedelta(days=32)
"""Almost every copy that is not lost reported so recently: its month is in one or two partitions."""
_SECONDS = 3_600
_COUNT_ACTIVE = fill(
    SQL["count_active"],
    fence="TRUE /*:fence*/",
    **grouping(
        at_end_of_day(TURNED, "f.turned", "f.life_at_end", lost="lost"),
        otherwise="life",
        value="NULL::text",
        total=False,
    ),
)
_COUNT_FEATURES = fill(
    SQL["count_feature_values"], **{name: BY_NAME[name].then or "" for name in ("version", "edition")}
)


class Waits(NamedTuple):
    """Which days are counted: large ones if due since before `present`; those before `today`, `past`."""

    today: date
    small: int
    present: datetime
    past: datetime


async def mark(connection: Connection, first: date, last: date, now: datetime) -> None:
    """Marks these days of all products, each from its first ping on."""
    rows = await connection.fetch(SQL["first_days"], timeout=_SECONDS)
    starts = [row["product_id"] for row in rows], [row["day"] for row in rows]
    await connection.execute(SQL["mark_active"], first, last, now, *starts, timeout=_SECONDS)


async def due(connection: Connection, first: date, last: date, waits: Waits) -> list[tuple[date, list[UUID]]]:
    """The due days from `first` to `last`, the newest first, and their products."""
    asked = first, last, waits.small, waits.today, waits.present, waits.past
    return [(row["day"], row["products"]) for row in await connection.fetch(SQL["due_active"], *asked)]


async def count_day(
    connection: Connection, day: date, products: Sequence[UUID], days: Open, *, today: date, now: datetime
) -> None:
    """Counts the day of these products again, features as far as their counters are stored.

    Call within `counting`. A day that is not over stays due.
    """
    await connection.execute(SQL["take_active"], day, products, timeout=_SECONDS)
    ends_at = datetime.combine(day + timedelta(days=1), time(), UTC)
    statement = fill(_COUNT_ACTIVE, fence=await fence(connection))
    asked = day, products, ends_at, MOST_VALUES, day - _NEAR
    await connection.execute(statement, *asked, timeout=_SECONDS)
    if day >= days.counters_from:
        features = day, products, ends_at, MOST_FEATURE_VALUES, MOST_FEATURES
        await connection.execute(_COUNT_FEATURES, *features, timeout=_SECONDS)
    if day >= today:
        await connection.execute(SQL["keep_active"], day, products, now)


async def forget_due(connection: Connection, day: date, products: Sequence[UUID]) -> None:
    """Leaves a day as it was counted: its pings are deleted."""
    await connection.execute(SQL["take_active"], day, products, timeout=_SECONDS)


async def replace_operators(connection: Connection) -> None:
    """Counts the network operators again; call within `counting`."""
    await connection.execute(SQL["replace_operators"], timeout=_SECONDS)
