"""The days that can be counted again, by the retention of pings and counters.

Watermarks show what is deleted: a longer retention does not restore what a shorter one deleted.
"""

from datetime import UTC, date, datetime, time, timedelta

from telemetry_server.check.fields import Registry
from telemetry_server.job_names import JobName
from telemetry_server.store.counts.rollups import Open
from telemetry_server.store.database import Connection
from telemetry_server.store.watermarks import reach, reached


async def open_days(connection: Connection, registry: Registry, today: date) -> Open:
    """The days of which all pings, and all counters, are stored."""

    async def first(name: str, job: str) -> date:
        return min(max(first_kept(registry, name, today), await forgotten_until(connection, job)), today)

    return Open(
        await first("ping", JobName.FORGET_OLD_PINGS), await first("usage", JobName.FORGET_OLD_COUNTERS)
    )


def first_kept(registry: Registry, name: str, today: date) -> date:
    """The first day that the retention of a class keeps; `date.min` if it is kept for ever."""
    days = registry.retention[name].days
    return date.min if days is None else today - timedelta(days=days)


def most_behind(registry: Registry) -> timedelta:
    """How far the clock may be behind: what is received by it is kept for half of the retention at least."""
    return shortest(registry, "ping", "usage") / 2


def shortest(registry: Registry, *classes: str) -> timedelta:
    """The shortest time that one of the classes is kept."""
    days = [registry.retention[name].days for name in classes]
    return min((timedelta(days=each) for each in days if each is not None), default=timedelta.max)


async def forgotten_until(connection: Connection, job: str) -> date:
    """The day before which the job has deleted, or was about to."""
    mark = await reached(connection, job)
    return mark.astimezone(UTC).date() if mark else date.min


async def forget_until(connection: Connection, job: str, day: date) -> None:
    """Records that everything before the day is deleted."""
    if day > await forgotten_until(connection, job):
        await reach(connection, job, datetime.combine(day, time(), UTC))
