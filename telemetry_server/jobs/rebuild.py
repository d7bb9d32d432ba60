"""Counts a range of days again from the pings: the command "rollup rebuild".

One month at a time, each in one transaction: a killed run leaves every month either unchanged or complete.
"""

from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from datetime import UTC, date, datetime, time, timedelta

from telemetry_server.check.fields import Registry
from telemetry_server.errors import OperatorError
from telemetry_server.job_names import JobName
from telemetry_server.jobs.active import count_again
from telemetry_server.jobs.cohorts import roll_up_due_weeks
from telemetry_server.jobs.days import roll_up_due
from telemetry_server.jobs.kept_days import open_days
from telemetry_server.jobs.pings import SLICE_PINGS
from telemetry_server.store import partitions
from telemetry_server.store.counts import rollups
from telemetry_server.store.counts.rollups import AHEAD, BEHIND, Open
from telemetry_server.store.database import Connection
from telemetry_server.store.watermarks import reached

_DAY = timedelta(days=1)


async def rebuild(
    connection: Connection, registry: Registry, first: date, last: date, now: datetime
) -> AsyncGenerator[float, None]:
    """Counts the days from `first` to `last` again; yields the progress, up to 1.

    Raises OperatorError if some of their pings are deleted, or nothing was counted yet.
    """
    days = await open_days(connection, registry, now.date())
    if first < days.pings_from:
        raise OperatorError(f"The pings from before {days.pings_from} are deleted and cannot be counted.")
    oldest = await rollups.first_received_at(connection)
    if oldest is None or await reached(connection, JobName.ROLL_UP_PINGS) is None:
        raise OperatorError(f"Nothing is counted yet. Run: telemetry-server run {JobName.ROLL_UP_PINGS}")
    months = list(_months(max(first, (oldest - BEHIND).date()), last))
    for number, (since, until) in enumerate(months):
        part = days._replace(pings_from=since, until=until)
        async with aclosing(_rebuild_month(connection, part, now)) as parts:
            async for done in parts:
                yield (number + done) / len(months)
        await roll_up_due(connection, days, now)
        await count_again(connection, since, until, days, now)
    await roll_up_due_weeks(connection, days.pings_from, now.date())


async def _rebuild_month(connection: Connection, days: Open, now: datetime) -> AsyncGenerator[float, None]:
    """Deletes the days of the month, and counts the pings that may be of these days; yields the progress."""
    month = days.pings_from.replace(day=1)
    await partitions.make_months_if_free(connection, partitions.INSTALLATION_DAYS, [month])
    async with rollups.counting(connection, JobName.ROLL_UP_PINGS):
        end = await reached(connection, JobName.ROLL_UP_PINGS) or now
        await rollups.clear_days(connection, days.pings_from, days.until, now)
        since = begin = datetime.combine(days.pings_from, time(), UTC) - AHEAD
        while since < end:
            part = await rollups.next_slice(connection, since, end, SLICE_PINGS, days)
            await rollups.roll_up_pings(connection, part, part.until, days, now)
            since = part.until
            yield (since - begin) / (end - begin)


def _months(first: date, last: date) -> Iterator[tuple[date, date]]:
    """The range by months: the first and the last day of each."""
    while first <= last:
        end = min(last, partitions.months_after(first, 1) - _DAY)
        yield first, end
        first = end + _DAY
