"""The time, as far as it is known to be right, and the correction of stored times that are in the future.

A machine that starts with a wrong clock stores wrong times, and by them jobs would delete too much. So this
machine's clock, the database's and those of the copies are compared, with a tolerance: several servers never
agree exactly.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import asyncpg

from telemetry_server.errors import OperatorError
from telemetry_server.job_names import JobName
from telemetry_server.store.database import lock_in_order
from telemetry_server.store.queries import load

SQL = load(__name__)

TOLERANCE = timedelta(minutes=5)
"""The largest difference of two clocks that agree."""
LEAP = timedelta(days=2)
"""How far the clock may be beyond the latest known time: longer than the interval of any job that deletes."""
STEP = timedelta(days=7)
"""How far a run that deletes goes beyond the one before."""
VOUCH = f"telemetry-server run {JobName.FORGET_SESSIONS} --clock-is-right"

_BATCH = 2_000
_PATIENCE = timedelta(hours=6)
_SECONDS = 3_600
_REPORTED_FOR = timedelta(days=7)
_FIRST, _LAST = datetime(1970, 1, 1, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC)


class ClockDoubt(OperatorError):
    """The clock may be wrong: nothing is deleted."""

    code = "clock"


@dataclass(frozen=True, slots=True)
class Clock:
    """The clocks, read at one moment.

    `known` is the latest reliable moment, None in a new database; `received` the latest moment that pings
    from after `here` agree on; `ahead` the latest stored time that is later than `here`.
    """

    here: datetime
    there: datetime
    known: datetime | None
    received: datetime | None
    ahead: datetime | None

    @property
    def doubt(self) -> str | None:
        """Why the clock may be wrong, and what to do; None if there is no sign of that."""
        if abs(self.here - self.there) > TOLERANCE:
            return (
                f"this machine's clock says {_text(self.here)} and the database's {_text(self.there)}; "
                "let both follow a time server"
            )
        if self.is_behind:
            return (
                f"the clock says {_text(self.here)}, but copies reported until {_text(self.received)}; "
                "it is behind: set it right (if it is, see docs/rollups.md)"
            )
        if self.known is not None and self.here - self.known > LEAP:
            return (
                f"the clock jumped: it says {_text(self.here)}, {(self.here - self.known).days} days after "
                f"{_text(self.known)}, the last time that pings and jobs agree on; set it right, or if it is "
                f"right, wait until copies report or run: {VOUCH}"
            )
        return None

    @property
    def problem(self) -> str | None:
        """The doubt, or else the times that are to be corrected; None without either."""
        if self.doubt or self.ahead is None:
            return self.doubt
        job = JobName.TAKE_BACK_FUTURE_TIMES
        return f'times up to {_text(self.ahead)} lie in the future; "{job}" corrects them'

    @property
    def is_behind(self) -> bool:
        """Whether copies and the server agreed on times that are in the future now."""
        return self.received is not None and self.received - self.here > TOLERANCE

    @property
    def lag(self) -> timedelta:
        """By how much `here` is known to be behind; not positive where nothing says so.

        Copies know it. The database's clock does where no copy agreed with `here` of late.
        """
        confirmed = self.known is not None and self.here - self.known <= LEAP
        return max(self.received or self.here, self.here if confirmed else self.there) - self.here


def lead(now: datetime) -> timedelta:
    """How far the clock, which says `now`, is ahead of the time since the machine started.

    Constant, unless the clock is set.
    """
    return now - datetime.fromtimestamp(time.monotonic(), UTC)


def is_future(moment: datetime, now: datetime) -> bool:
    """Whether a stored time is in the future: the clock was ahead, or is behind now."""
    return moment - now > TOLERANCE


async def read_clock(connection: asyncpg.Connection, now: datetime) -> Clock:
    """Reads the other clocks; `now` is the time of this machine's."""
    latest = now + TOLERANCE
    there = await database_time(connection)
    received = await connection.fetchval(SQL["agreed"], latest, _LAST)
    ahead = await connection.fetchval(SQL["ahead"], latest)
    return Clock(now, there, await _known(connection, now), received, ahead)


async def database_time(connection: asyncpg.Connection) -> datetime:
    """The time of the database's clock."""
    there: datetime = await connection.fetchval(SQL["there"])
    return there


async def believable(connection: asyncpg.Connection, now: datetime) -> datetime:
    """`now`, but at most LEAP after the latest reliable moment."""
    known = await _known(connection, now)
    return now if known is None else min(now, known + LEAP)


async def _known(connection: asyncpg.Connection, now: datetime) -> datetime | None:
    latest = now + TOLERANCE
    agreed = await connection.fetchval(SQL["agreed"], _FIRST, latest)
    forgot = await connection.fetchval(SQL["last_as_of"], latest)
    return max(filter(None, (agreed, forgot)), default=None)


# ── forgetting ──────────────────────────────────────────────────────────────────────────────


async def time_to_forget(
    connection: asyncpg.Connection, job: str, now: datetime, keeps: timedelta
) -> datetime:
    """The time by which the job may delete data that is kept for `keeps`. Raises ClockDoubt.

    Now, but at most STEP beyond its last run, and half of `keeps` beyond the newest pings: a clock
    that is less than LEAP ahead is not in doubt. Copies with wrong clocks delay it by less than LEAP.
    """
    doubt = (await read_clock(connection, now)).doubt
    if doubt:
        raise ClockDoubt(f"Nothing is forgotten: {doubt}")
    last = await connection.fetchval(SQL["as_of"], job, now + TOLERANCE)
    agreed = await connection.fetchval(SQL["agreed"], _FIRST, now + TOLERANCE)
    least = max(agreed or now, now - LEAP)  # what time it is at least, unless the clock is in doubt
    return min(now, (last or now) + STEP, least + min(LEAP, keeps / 2))


async def keep_as_of(connection: asyncpg.Connection, job: str, as_of: datetime) -> None:
    """Records that the job deleted by that time, or that the operator confirms the time."""
    await connection.execute(SQL["keep_as_of"], job, as_of)


# ── taking back ─────────────────────────────────────────────────────────────────────────────


async def take_back(connection: asyncpg.Connection, now: datetime) -> str | None:
    """Corrects stored times in the future; returns a sentence on what, or None if there are none.

    Pings and counts stay as they are. Safe to be killed anywhere: each step is idempotent.
    """
    latest = now + TOLERANCE
    async with connection.transaction():
        ended = await connection.fetch(SQL["take_back_outages"], now, latest + _PATIENCE)
        marks = await connection.fetch(SQL["take_back_marks"], now, latest)
        until = max((row["reached_at"] for row in marks), default=now)
        await connection.execute(SQL["stale_again"], now, until)
        await connection.execute(SQL["take_back_due"], now, latest)
        await connection.execute(SQL["take_back_hostnames"], now, latest)
        if marks or ended:
            await connection.execute(SQL["look_at_all"])
    heard = await _by_installation(connection, "heard_ahead", "take_back_hearing", now)
    lived = await _by_installation(connection, "lived_ahead", "take_back_lives", now)
    counts = {"watermarks": len(marks), "outages": len(ended), "installations": heard, "lives": lived}
    if not any(counts.values()):
        return None
    found = ", ".join(f"{what}: {count}" for what, count in counts.items() if count)
    return f"{found}; the clock had been ahead" + (f" until {_text(until)}" if until > now else "")


async def set_back(connection: asyncpg.Connection, marks: Sequence[str], now: datetime) -> None:
    """Sets these watermarks back to `now`: pings received while the clock is behind are before them."""
    await connection.execute(SQL["set_back"], now, marks)


async def _by_installation(connection: asyncpg.Connection, find: str, correct: str, now: datetime) -> int:
    """Corrects batches until none is left; returns the number of corrected installations."""
    latest, count = now + TOLERANCE, 0
    while rows := await connection.fetch(SQL[find], latest, _BATCH, timeout=_SECONDS):
        async with connection.transaction():
            await lock_in_order(connection)
            ids = [row["installation_id"] for row in rows]
            count += await connection.fetchval(SQL[correct], ids, now, latest, timeout=_SECONDS)
            await connection.execute(SQL["look_at_all"])
    return count


async def keep_finding(connection: asyncpg.Connection, job: str, finding: str, now: datetime) -> None:
    """Records the correction; `taken_back` returns it for a week."""
    await connection.execute(SQL["keep_finding"], job, finding, now)


async def taken_back(connection: asyncpg.Connection, now: datetime) -> str | None:
    """A sentence on the last correction within a week; None without any."""
    row = await connection.fetchrow(SQL["finding"], now - _REPORTED_FOR)
    return row and f"{_text(row['found_at'])}: took back {row['finding']}"


def _text(moment: datetime | None) -> str:
    return "never" if moment is None else f"{moment.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
