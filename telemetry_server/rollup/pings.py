"""The job "roll up pings": the days of installations, counted from their pings.

Pings are taken in the order they were received, in slices: one transaction each, which moves the mark on.
So a backlog of any size is worked off in bounded memory, and a run that is killed goes on where it was.
Each day of an installation that a slice has a ping of is counted anew from all of its pings received
before the slice's end; those received later, of whatever day they are, are in a later slice.
"""

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Any, TypeAlias

from telemetry_server.check.registry import Registry
from telemetry_server.rollup.retention import open_days
from telemetry_server.store import partitions, rollups
from telemetry_server.store.marks import reach, reached
from telemetry_server.store.rollups import Kind, Open, Slice

OVERLAP = timedelta(minutes=5)
"""A ping is committed at the latest so long after it was received."""
SLICE_PINGS = 100_000

Run: TypeAlias = Callable[[Any, datetime], Awaitable[str]]


def roll_up_pings(registry: Registry, slice_pings: int = SLICE_PINGS) -> Run:
    async def run(connection: Any, now: datetime) -> str:
        days = await open_days(connection, registry, now.date())
        since = await _first(connection, now)
        pings = changed = 0
        while since < now:
            part = await next_slice(connection, since, now, slice_pings, days)
            changed += await _roll_up(connection, part, days, now)
            pings, since = pings + part.pings, part.until
        return f"looked at {pings} pings, counted {changed} days of installations anew"

    return run


async def next_slice(connection: Any, since: datetime, before: datetime, most: int, days: Open) -> Slice:
    """The next slice, for whose days there are partitions: late pings may be of months long ago."""
    part = await rollups.next_slice(connection, since, before, most, days)
    await partitions.make_months_if_free(connection, partitions.INSTALLATION_DAYS, part.months)
    return part


async def _first(connection: Any, now: datetime) -> datetime:
    """From when on to take pings; also where the clock was ahead when the mark was set."""
    mark = await reached(connection, Kind.PINGS)
    if mark is None:
        return await rollups.first_received_at(connection) or now
    return min(mark, now) - OVERLAP


async def _roll_up(connection: Any, part: Slice, days: Open, now: datetime) -> int:
    """What the last run saw beyond the slice counts too: no number shrinks while a run catches up."""
    async with rollups.counting(connection, Kind.PINGS):
        mark = await reached(connection, Kind.PINGS) or part.until
        before = max(part.until, min(mark, now))
        changed = await rollups.roll_up_pings(connection, part, before, days, now)
        await reach(connection, Kind.PINGS, before)
    return changed
