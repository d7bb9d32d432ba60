"""How long what is counted from is kept, and thus which days can be counted anew.

A longer retention does not bring back what a shorter one forgot: marks tell what is gone for good.
"""

from datetime import UTC, date, datetime, time, timedelta

from telemetry_server.check.fields import Registry
from telemetry_server.job_names import JobName
from telemetry_server.store.counts.rollups import Open
from telemetry_server.store.database import Connection
from telemetry_server.store.watermarks import reach, reached


async def open_days(connection: Connection, registry: Registry, today: date) -> Open:
    """The days whose pings, and whose counters, are all there."""

    async def first(name: str, job: str) -> date:
        return min(max(first_kept(registry, name, today), await forgotten_until(connection, job)), today)

    return Open(
        await first("ping", JobName.FORGET_OLD_PINGS), await first("usage", JobName.FORGET_OLD_COUNTERS)
    )


def first_kept(registry: Registry, name: str, today: date) -> date:
    """The first day of which the class is kept; `date.min` where it is kept for ever."""
    days = registry.retention[name].days
    return date.min if days is None else today - timedelta(days=days)


def most_behind(registry: Registry) -> timedelta:
    """How far the clock may be behind: what is received by it is kept for half of the retention at least."""
    days = [registry.retention[name].days for name in ("ping", "usage")]
    return min((timedelta(days=each) / 2 for each in days if each is not None), default=timedelta.max)


async def forgotten_until(connection: Connection, job: str) -> date:
    """The day until before which the job has forgotten, or was about to."""
    mark = await reached(connection, job)
    return mark.astimezone(UTC).date() if mark else date.min


async def forget_until(connection: Connection, job: str, day: date) -> None:
    """What is before the day is gone for good, from now on."""
    if day > await forgotten_until(connection, job):
        await reach(connection, job, datetime.combine(day, time(), UTC))
