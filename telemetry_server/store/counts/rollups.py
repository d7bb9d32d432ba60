"""The roll-ups: rows become counts, which are recomputed and replaced, never incremented.

    pings → installation_days (→ days_due) → fleet_days, feature_days (→ weeks_due) → cohort_weeks

Each function that writes is called within `counting`: a transaction that excludes others of the same job. It
marks what is due for the next stage in the same transaction, under the lock of the mark's row. A mark is
deleted before its rows are counted, so that no change is missed, also after a kill.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import NamedTuple
from uuid import UUID

from telemetry_server.enrich.steps import NEWEST, OLDEST
from telemetry_server.job_names import JobName
from telemetry_server.store.clock import is_future
from telemetry_server.store.database import Connection
from telemetry_server.store.dimensions import DIMENSIONS, grouping
from telemetry_server.store.distribution import fence
from telemetry_server.store.job_log import lock_number
from telemetry_server.store.queries import fill, load

SQL = load(__name__)
_ROLL_UP_FLEET = fill(
    SQL["roll_up_fleet"],
    **grouping(
        {one.name: one.state for one in DIMENSIONS if one.rolled and one.state},
        otherwise="verdict",
        value="verdict",
    ),
)

MOST_VALUES = 5_000
"""Of a dimension, and of features, per product and day: the rest is "other"."""
AHEAD, BEHIND = NEWEST, OLDEST
"""How far the clock of an installation may be off and still determine the day of a ping."""

MOST_BEHIND = timedelta(minutes=15)

_SECONDS = 3_600


class Open(NamedTuple):
    """The days that can be counted again: of older ones, the pings or their counters may be deleted."""

    pings_from: date
    counters_from: date
    until: date = date.max


@dataclass(frozen=True, slots=True)
class Slice:
    """Pings received from `since` until before `until`: their number, and that of their installations."""

    since: datetime
    until: datetime
    pings: int
    installations: int
    months: Sequence[date]


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the roll-ups have come: up to when pings are counted, and since when days wait.

    `pings_until` is None without any ping, `days_since` without a waiting day.
    """

    pings_until: datetime | None
    days_since: datetime | None

    def is_late(self, now: datetime) -> bool:
        """Whether the roll-ups are later than running jobs allow, or have a watermark in the future."""
        if self.pings_until is not None and is_future(self.pings_until, now):
            return True
        return now - min(self.pings_until or now, self.days_since or now) > MOST_BEHIND

    @property
    def behind(self) -> JobName:
        """The job whose work has waited longest."""
        days = self.days_since is not None and (
            self.pings_until is None or self.days_since < self.pings_until
        )
        return JobName.ROLL_UP_DAYS if days else JobName.ROLL_UP_PINGS

    def __str__(self) -> str:
        if self.pings_until is None:
            return "no ping came yet"
        pings = f"pings received until {self.pings_until:%Y-%m-%d %H:%M} UTC are counted"
        return pings + (f", days wait since {self.days_since:%Y-%m-%d %H:%M} UTC" if self.days_since else "")


@asynccontextmanager
async def counting(connection: Connection, job: JobName) -> AsyncIterator[None]:
    """A transaction that excludes others that count for this job."""
    async with connection.transaction():
        await connection.execute(SQL["begin"], lock_number(f"counting: {job}"), timeout=_SECONDS)
        yield


# ── pings ───────────────────────────────────────────────────────────────────────────────────


async def first_received_at(connection: Connection) -> datetime | None:
    first: datetime | None = await connection.fetchval(SQL["first_received_at"])
    return first


async def last_received_at(connection: Connection) -> datetime | None:
    last: datetime | None = await connection.fetchval(SQL["last_received_at"])
    return last


async def lock_mark(connection: Connection) -> datetime:
    """Up to when pings are counted; locked until the transaction ends."""
    mark: datetime = await connection.fetchval(SQL["lock_mark"], JobName.ROLL_UP_PINGS, timeout=_SECONDS)
    return mark


async def next_slice(
    connection: Connection, since: datetime, before: datetime, most: int, days: Open
) -> Slice:
    """About the first `most` pings received in that time; it ends at `before` if there are no more."""
    asked = since, before, most, days.pings_from, days.until
    row = await connection.fetchrow(SQL["next_slice"], *asked, timeout=_SECONDS)
    full = row["pings"] == most
    until = min(before, row["last_received_at"] + timedelta(microseconds=1)) if full else before
    return Slice(since, until, row["pings"], row["installations"], row["months"])


async def roll_up_pings(
    connection: Connection, part: Slice, before: datetime, days: Open, now: datetime
) -> int:
    """Counts again the days of the pings of the slice, from all pings received before `before`.

    Returns the number of rows (installation, day) that changed.
    """
    near_from = await _near_from(connection, part, before, days)
    asked = part.since, part.until, before, near_from, days.pings_from, days.until, days.counters_from, now
    statement = fill(SQL["roll_up_pings"], fence=await fence(connection))
    return int(await connection.fetchval(statement, *asked, timeout=_SECONDS))


async def _near_from(connection: Connection, part: Slice, before: datetime, days: Open) -> date:
    """The day from which on it is cheaper to read all pings than the history of each installation.

    Both ways read the heap; a history is in the partitions of its months. `date.max`: none.
    """
    today = part.since.astimezone(UTC).date()
    day_is = before - (datetime.combine(today, time(), UTC) - AHEAD)
    month_is = before - datetime.combine(today.replace(day=1), time(), UTC)
    fleet = max(await connection.fetchval(SQL["fleet_size"]), 1)
    worthwhile = part.installations * month_is >= fleet * day_is
    return today if worthwhile and today <= days.until else date.max


async def clear_days(connection: Connection, first: date, last: date, now: datetime) -> None:
    """Deletes the days of installations from `first` to `last`, to be counted again from the pings."""
    await connection.execute(SQL["clear_days"], first, last, now, timeout=_SECONDS)


# ── days ────────────────────────────────────────────────────────────────────────────────────


async def due_days(connection: Connection, due_before: datetime, small: int) -> list[tuple[date, list[UUID]]]:
    """The due days and their products; products with more than `small` only if due since `due_before`."""
    rows = await connection.fetch(SQL["due_days"], due_before, small)
    return [(row["day"], row["products"]) for row in rows]


async def roll_up_day(connection: Connection, day: date, products: Sequence[UUID], days: Open) -> None:
    """Counts the day of these products again, as far as its pings and counters still exist."""
    await connection.execute(SQL["take_due"], day, products, timeout=_SECONDS)
    if day < days.pings_from:
        return
    await connection.execute(_ROLL_UP_FLEET, day, products, MOST_VALUES, timeout=_SECONDS)
    if day >= days.counters_from:
        await connection.execute(SQL["roll_up_features"], day, products, MOST_VALUES, timeout=_SECONDS)
    await connection.execute(SQL["mark_week"], day, timeout=_SECONDS)


# ── weeks ───────────────────────────────────────────────────────────────────────────────────


async def due_weeks(connection: Connection, today: date, first: date) -> list[date]:
    """The Mondays, from `first` on, of the weeks to be counted again."""
    rows = await connection.fetch(SQL["due_weeks"], first, today, timeout=_SECONDS)
    return [row["week"] for row in rows]


async def roll_up_week(connection: Connection, week: date, first: date) -> None:
    """Counts the cohorts of the week again; weeks before `first` cannot be counted any more."""
    await connection.execute(SQL["take_due_week"], week, first, timeout=_SECONDS)
    await connection.execute(SQL["roll_up_week"], week, timeout=_SECONDS)


async def progress(connection: Connection) -> Progress:
    return Progress(**await connection.fetchrow(SQL["progress"], JobName.ROLL_UP_PINGS))
