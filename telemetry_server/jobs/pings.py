"""The job "roll up pings": the days of installations, counted from their pings.

Pings are taken in the order they were received, in slices: one transaction each, which moves the mark on.
So a backlog of any size is worked off in bounded memory, and a run that is killed goes on where it was.
Each day of an installation that a slice has a ping of is counted anew from all of its pings received
before the slice's end; those received later, of whatever day they are, are in a later slice.
"""

from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from telemetry_server.check.fields import Registry
from telemetry_server.job_names import JobName
from telemetry_server.jobs.retention import open_days
from telemetry_server.jobs.runner import Run
from telemetry_server.store import partitions
from telemetry_server.store.clock import believable, is_future
from telemetry_server.store.counts import rollups
from telemetry_server.store.counts.rollups import Open, Slice
from telemetry_server.store.database import Connection
from telemetry_server.store.watermarks import reach, reached

USUAL, LATEST = timedelta(seconds=10), timedelta(minutes=5)
"""How long after it was received a ping is committed: usually at once, and at the latest."""
SWEEP = timedelta(minutes=15)
"""How often those are looked for that were committed later than usual."""
SLICE_PINGS = 100_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def roll_up_pings(registry: Registry, slice_pings: int = SLICE_PINGS) -> Run:
    async def run(connection: Connection, now: datetime) -> str:
        today = (await believable(connection, now)).date()  # by a clock far ahead, every day would be over
        days = await open_days(connection, registry, today)
        mark = await _first_mark(connection)
        since = now if mark is None else _before(mark, now)
        ahead = await _received_ahead(connection, now)
        end = ahead if ahead and mark and _sweeps(mark, now) else now
        pings = changed = 0
        while mark is not None and since < end:
            part = await next_slice(connection, since, end, slice_pings, days)
            rolled_up = await _roll_up(connection, part, days, now, mark, ahead=ahead)
            mark = rolled_up.mark
            since = _before(mark, now) if rolled_up.moved else part.until
            changed, pings = changed + rolled_up.changed, pings + part.pings
        return f"looked at {pings} pings, counted {changed} days of installations anew"

    return run


class _RolledUp(NamedTuple):
    """Where the mark is now, and whether it was another than expected, so that nothing was counted."""

    mark: datetime
    moved: bool
    changed: int


async def next_slice(
    connection: Connection, since: datetime, before: datetime, most: int, days: Open
) -> Slice:
    """The next slice, for whose days there are partitions: late pings may be of months long ago."""
    part = await rollups.next_slice(connection, since, before, most, days)
    await partitions.make_months_if_free(connection, partitions.INSTALLATION_DAYS, part.months)
    return part


async def _first_mark(connection: Connection) -> datetime | None:
    """The mark; before the first run it is set where the oldest ping is. None: there are no pings."""
    if mark := await reached(connection, JobName.ROLL_UP_PINGS):
        return mark
    if first := await rollups.first_received_at(connection):
        await reach(connection, JobName.ROLL_UP_PINGS, first)
    return first


async def _received_ahead(connection: Connection, now: datetime) -> datetime | None:
    """The end of the pings that were received by a clock that was ahead; None: there are none."""
    last = await rollups.last_received_at(connection)
    return last + timedelta(microseconds=1) if last is not None and is_future(last, now) else None


def _sweeps(mark: datetime, now: datetime) -> bool:
    """Whether to look again at what came before: first in a quarter, and where the clock was ahead."""
    return mark > now or _quarter(mark) != _quarter(now)


def _before(mark: datetime, now: datetime) -> datetime:
    """From when on to take pings. The mark is in the future where the clock was ahead when it was set.

    The first run of each quarter of an hour looks again at all that came in those that were not over when the
    last one ran.
    """
    return _quarter(min(mark, now)) - LATEST if _sweeps(mark, now) else mark - USUAL


def _quarter(moment: datetime) -> datetime:
    """When the quarter of an hour began."""
    return moment - (moment - _EPOCH) % SWEEP


async def _roll_up(
    connection: Connection, part: Slice, days: Open, now: datetime, mark: datetime, *, ahead: datetime | None
) -> _RolledUp:
    """Counts a slice, and all beyond it that was counted before: no number shrinks while a run catches up.

    Whoever adds pings of the past moves the mark back to them: then this goes on from there.
    """
    async with rollups.counting(connection, JobName.ROLL_UP_PINGS):
        found = await rollups.lock_mark(connection)
        if found != mark:
            return _RolledUp(found, moved=True, changed=0)
        before = min(max(part.until, mark), now)
        changed = await rollups.roll_up_pings(connection, part, ahead or before, days, now)
        await reach(connection, JobName.ROLL_UP_PINGS, before)
    return _RolledUp(before, moved=False, changed=changed)
