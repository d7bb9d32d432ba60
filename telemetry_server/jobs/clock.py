"""How jobs handle a clock that is or was wrong."""

from datetime import datetime, timedelta

from telemetry_server.job_names import JobName
from telemetry_server.logs import Severity, log
from telemetry_server.store import clock
from telemetry_server.store.clock import TOLERANCE, ClockDoubt
from telemetry_server.store.database import Connection
from telemetry_server.store.job_log import Run
from telemetry_server.store.upkeep.addresses import ERASE_ADDRESSES


def waiting(run: Run) -> Run:
    """A job that raises ClockDoubt while the clock may be wrong."""

    async def careful(connection: Connection, now: datetime) -> str:
        if doubt := (await clock.read_clock(connection, now)).doubt:
            raise ClockDoubt(f"The job waits: {doubt}")
        return await run(connection, now)

    return careful


def forgetting(name: str, run: Run, keeps: timedelta = timedelta.max) -> Run:
    """A job that deletes data older than `keeps` by a reliable time, not far beyond its last run.

    It raises ClockDoubt while the clock may be wrong.
    """

    async def careful(connection: Connection, now: datetime) -> str:
        as_of = await clock.time_to_forget(connection, name, now, keeps)
        done = await run(connection, as_of)
        await clock.keep_as_of(connection, name, as_of)
        if as_of == now:
            return done
        return f"{done}, as of {as_of:%Y-%m-%d %H:%M} UTC: not far beyond the last run and the newest pings"

    return careful


async def take_back_future_times(connection: Connection, now: datetime) -> str:
    """The job: if the clock was ahead, sets back the times that were stored meanwhile.

    Not if the clock is behind now: then the stored times are right.
    """
    read = await clock.read_clock(connection, now)
    if read.is_behind:
        await clock.set_back(connection, [JobName.SHORTEN_ADDRESSES, ERASE_ADDRESSES], now)
    if read.is_behind or abs(read.here - read.there) > TOLERANCE:
        return f"nothing is taken back: {read.doubt}"
    found = await clock.take_back(connection, now)
    if found is None:
        return "nothing lies in the future"
    log("future times taken back", Severity.WARNING, found=found)
    await clock.keep_finding(connection, JobName.TAKE_BACK_FUTURE_TIMES, found, now)
    return f"took back {found}"
