"""Outages: times in which the silence of a copy means nothing, because no copy could report.

The server was down if none of its processes recorded that it serves, and no ping came. It was unreachable if
several copies were due to report, and no ping came at all. After an outage, copies return after their
back-off: they get the same time again, 6 hours at most.
"""

from datetime import UTC, datetime, timedelta

from telemetry_server.enrich.lifecycle import Outage, apart
from telemetry_server.logs import Severity, log
from telemetry_server.store import watermarks
from telemetry_server.store.clock import is_future
from telemetry_server.store.database import Connection
from telemetry_server.store.fleet import outages as store

SERVING = "serving"
QUIET = timedelta(minutes=5)
"""A shorter silence of all copies is no outage, but a restart or an upgrade."""
FEWEST = 5
"""Copies that must be overdue without any ping: fewer may have been removed."""
LONGEST = timedelta(days=7)
"""After a longer silence, a running server assumes that there are no more copies."""
PATIENCE = timedelta(hours=6)
"""The longest pause a client makes before it tries again (docs/protocol.md)."""


async def say_that_it_serves(connection: Connection) -> None:
    """The chore of every server process, as jobs may run elsewhere or seldom."""
    await note_absence(connection, datetime.now(UTC))


async def note_absence(connection: Connection, now: datetime) -> None:
    """Records that the server serves now; if it did not for longer than QUIET, that was an outage.

    A watermark in the future stays: it is right if the clock is behind now.
    """
    served_until = await watermarks.reached(connection, SERVING)
    if served_until is not None and is_future(served_until, now):
        return
    if served_until is not None and now - served_until > QUIET:
        for outage in await quiet_times(connection, served_until, now):
            await _note(connection, outage, now)
    await watermarks.reach(connection, SERVING, now)


async def note_outages(connection: Connection, now: datetime) -> tuple[Outage, ...]:
    """Records new outages; returns all of them, in order and without overlaps."""
    await note_absence(connection, now)
    last = await store.last_ping(connection, now)
    if last is not None and now - last > QUIET:
        overdue = await store.awaited(connection, last, now - QUIET, FEWEST)
        if overdue >= FEWEST:
            await _note(connection, (last, min(now, last + LONGEST)), now)
    return apart(await store.outages(connection))


async def _note(connection: Connection, outage: Outage, now: datetime) -> None:
    """Records the outage; if it is new, copies that became late or lost in it are due for another check."""
    began_at, ended_at = outage
    async with connection.transaction():
        if began_at not in {began for began, _ in await store.outages(connection)}:
            log("outage recorded", Severity.WARNING, since=began_at.isoformat())
            await store.look_again(connection, began_at, now)
        await store.note_outage(connection, (began_at, ended_at + min(ended_at - began_at, PATIENCE)))


async def quiet_times(connection: Connection, since: datetime, until: datetime) -> list[Outage]:
    """The times between `since` and `until` in which no ping came for longer than QUIET."""
    found, at = [], since
    while at < until:
        heard = await store.last_ping(connection, min(at + QUIET, until), at)
        if heard is None:
            heard = await store.next_ping(connection, at, until) or until
            if heard - at > QUIET:
                found.append((at, heard))
        at = heard
    return found
