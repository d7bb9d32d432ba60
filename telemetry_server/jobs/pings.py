"""The job "roll up pings": the days of installations, counted from their pings.

Pings are processed in the order of their receipt, in slices: one transaction each, which moves the watermark.
So a backlog of any size is processed in bounded memory, and a killed run continues where it was. Each day of
an installation with a ping in the slice is counted again from all of its pings received before the end of the
slice; pings received later, of any day, are in a later slice.
"""

from datetime import UTC, datetime, timedelta

from telemetry_server.check.fields import Registry
from telemetry_server.job_names import JobName
from telemetry_server.jobs.kept_days import open_days
from telemetry_server.store import partitions
from telemetry_server.store.clock import believable, is_future
from telemetry_server.store.counts import rollups
from telemetry_server.store.counts.rollups import Open, Slice
from telemetry_server.store.database import Connection
from telemetry_server.store.job_log import Run
from telemetry_server.store.watermarks import reach, reached

USUAL, LATEST = timedelta(seconds=10), timedelta(minutes=5)
"""How long after it was received a ping is committed: usually at once, and at the latest."""
SWEEP = timedelta(minutes=15)
"""The interval of searches for pings that were committed later than usual."""
SLICE_PINGS = 100_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def roll_up_pings(registry: Registry, slice_pings: int = SLICE_PINGS) -> Run:
    async def run(connection: Connection, now: datetime) -> str:
        today = (await believable(connection, now)).date()  # by a clock far ahead, no day would be open
        days = await open_days(connection, registry, today)
        mark = await _first_mark(connection)
        since = now if mark is None else _before(mark, now)
        ahead = await _received_ahead(connection, now)
        end = ahead if ahead and mark and _sweeps(mark, now) else now
        pings = changed = 0
        while mark is not None and since < end:
            part = await next_slice(connection, since, end, slice_pings, days)
            mark, counted = await _roll_up(connection, part, days, now, mark, ahead=ahead)
            since = _before(mark, now) if counted is None else part.until
            changed, pings = changed + (counted or 0), pings + part.pings
        return f"checked {pings} pings, counted {changed} days of installations again"

    return run


async def next_slice(
    connection: Connection, since: datetime, before: datetime, most: int, days: Open
) -> Slice:
    """The next slice; makes the partitions of its days: late pings may be of months long ago."""
    part = await rollups.next_slice(connection, since, before, most, days)
    await partitions.make_months_if_free(connection, partitions.INSTALLATION_DAYS, part.months)
    return part


async def _first_mark(connection: Connection) -> datetime | None:
    """The watermark; before the first run it is set to the oldest ping. None: there are no pings."""
    if mark := await reached(connection, JobName.ROLL_UP_PINGS):
        return mark
    if first := await rollups.first_received_at(connection):
        await reach(connection, JobName.ROLL_UP_PINGS, first)
    return first


async def _received_ahead(connection: Connection, now: datetime) -> datetime | None:
    """The end of the pings that were received by a clock that was ahead; None without any."""
    last = await rollups.last_received_at(connection)
    return last + timedelta(microseconds=1) if last is not None and is_future(last, now) else None


def _sweeps(mark: datetime, now: datetime) -> bool:
    """Whether to check earlier pings again: at the first run of a quarter, and if the clock was ahead."""
    return mark > now or _quarter(mark) != _quarter(now)


def _before(mark: datetime, now: datetime) -> datetime:
    """From when on to take pings. The watermark is in the future if the clock was ahead when it was set.

    The first run of each quarter of an hour checks all pings again from the quarter of the last run on.
    """
    return _quarter(min(mark, now)) - LATEST if _sweeps(mark, now) else mark - USUAL


def _quarter(moment: datetime) -> datetime:
    """The beginning of the quarter of an hour."""
    return moment - (moment - _EPOCH) % SWEEP


async def _roll_up(
    connection: Connection, part: Slice, days: Open, now: datetime, mark: datetime, *, ahead: datetime | None
) -> tuple[datetime, int | None]:
    """Counts a slice, and what was counted beyond it: no number shrinks while a run catches up.

    Returns the watermark and the number of changed days. None: the watermark was moved to pings that were
    added to the past, and nothing was counted.
    """
    async with rollups.counting(connection, JobName.ROLL_UP_PINGS):
        found = await rollups.lock_mark(connection)
        if found != mark:
            return found, None
        before = min(max(part.until, mark), now)
        changed = await rollups.roll_up_pings(connection, part, ahead or before, days, now)
        await reach(connection, JobName.ROLL_UP_PINGS, before)
    return before, changed
