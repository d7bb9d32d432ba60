"""The job "count active copies": how many copies there are at the end of each day.

The present day changes all the time: it is counted at each run of the job, for a large product after
LARGE_WAITS. It is over a quarter of an hour after midnight, when all of its pings are committed, and is
counted once more then. A day that is over changes by late pings, of a large fleet all the time: it waits
PAST_WAITS.
"""

from datetime import UTC, date, datetime, time, timedelta
from time import monotonic

from telemetry_server.check.fields import Registry
from telemetry_server.job_names import JobName
from telemetry_server.jobs.days import LARGE_WAITS
from telemetry_server.jobs.kept_days import open_days
from telemetry_server.jobs.pings import SWEEP
from telemetry_server.store.clock import believable
from telemetry_server.store.counts import active_days, rollups
from telemetry_server.store.counts.active_days import Waits
from telemetry_server.store.counts.fleet_now import SMALL
from telemetry_server.store.counts.rollups import Open
from telemetry_server.store.database import Connection
from telemetry_server.store.job_log import Run
from telemetry_server.store.watermarks import reach, reached

PAST_WAITS = timedelta(hours=6)
SHARE = timedelta(minutes=2)
"""How long a run counts past days, the newest first; the next one continues."""

_DAY = timedelta(days=1)


def count_active_copies(
    registry: Registry, large_waits: timedelta = LARGE_WAITS, past_waits: timedelta = PAST_WAITS
) -> Run:
    async def run(connection: Connection, now: datetime) -> str:
        today = (await believable(connection, now) - SWEEP).date()
        days = await open_days(connection, registry, today)
        await _mark_new_days(connection, days, today, now)
        waits = Waits(today, SMALL, now - large_waits, now - past_waits)
        count = await count_due(connection, days._replace(until=today), waits, now)
        return f"counted {count} days of products again"

    return run


async def count_due(connection: Connection, days: Open, waits: Waits, now: datetime) -> int:
    """Counts the due days up to `days.until`, the newest first, for SHARE; returns their number."""
    count, began = 0, monotonic()
    for day, products in await active_days.due(connection, date.min, days.until, waits):
        async with rollups.counting(connection, JobName.COUNT_ACTIVE_COPIES):
            if day < days.pings_from:
                await active_days.forget_due(connection, day, products)
                continue
            await active_days.count_day(connection, day, products, days, today=waits.today, now=now)
        count += len(products)
        if monotonic() - began > SHARE.total_seconds():
            break
    return count


async def count_again(connection: Connection, first: date, last: date, days: Open, now: datetime) -> None:
    """Counts the days from `first` to `last` of all products again."""
    today = (now - SWEEP).date()
    last = min(last, today)
    async with rollups.counting(connection, JobName.COUNT_ACTIVE_COPIES):
        await active_days.mark(connection, first, last, now)
    at_once = Waits(today, SMALL, now, now)
    for day, products in await active_days.due(connection, first, last, at_once):
        async with rollups.counting(connection, JobName.COUNT_ACTIVE_COPIES):
            await active_days.count_day(connection, day, products, days, today=today, now=now)


async def _mark_new_days(connection: Connection, days: Open, today: date, now: datetime) -> None:
    """Marks the days since the last run; at the first run all whose pings are stored."""
    mark = await reached(connection, JobName.COUNT_ACTIVE_COPIES)
    first = days.pings_from if mark is None else mark.astimezone(UTC).date() + _DAY
    if mark is None or first <= today:
        async with rollups.counting(connection, JobName.COUNT_ACTIVE_COPIES):
            await active_days.mark(connection, first, today, now)
            await active_days.replace_operators(connection)
            midnight = datetime.combine(today, time(), UTC)
            await reach(connection, JobName.COUNT_ACTIVE_COPIES, midnight)
