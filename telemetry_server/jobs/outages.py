"""Times in which silence says nothing against a copy, because nobody could be heard.

The server was away where no process of it said that it serves and no ping came. And it was not to be
reached, whatever was broken in front of it, where several copies should have called and nobody at all
was heard. After an outage copies come back as their patience has it, so as much time again is theirs,
6 hours at most.
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
"""A shorter silence of everybody is none: a restart, an upgrade."""
FEWEST = 5
"""Copies that have to be overdue while nobody is heard: fewer may have gone by themselves."""
LONGEST = timedelta(days=7)
"""How long a server that runs may hear nobody before it is believed that nobody calls any more."""
PATIENCE = timedelta(hours=6)
"""The longest pause a client makes before it tries again (docs/protocol.md)."""


async def say_that_it_serves(connection: Connection) -> None:
    """The chore of every server process, the jobs of which may run elsewhere, or seldom."""
    await note_absence(connection, datetime.now(UTC))


async def note_absence(connection: Connection, now: datetime) -> None:
    """The server is here now; where it was not for longer than QUIET, that was an outage.

    A watermark in the future stays: where the clock is behind now, it is right.
    """
    served_until = await watermarks.reached(connection, SERVING)
    if served_until is not None and is_future(served_until, now):
        return
    if served_until is not None and now - served_until > QUIET:
        for outage in await quiet_times(connection, served_until, now):
            await _note(connection, outage, now)
    await watermarks.reach(connection, SERVING, now)


async def note_outages(connection: Connection, now: datetime) -> tuple[Outage, ...]:
    """Writes down what is new; gives all there were, in order and apart."""
    await note_absence(connection, now)
    last = await store.last_ping(connection, now)
    if last is not None and now - last > QUIET:
        overdue = await store.awaited(connection, last, now - QUIET, FEWEST)
        if overdue >= FEWEST:
            await _note(connection, (last, min(now, last + LONGEST)), now)
    return apart(await store.outages(connection))


async def _note(connection: Connection, outage: Outage, now: datetime) -> None:
    """Where it is found only now, those that were found late or lost in it are due for another look."""
    began_at, ended_at = outage
    async with connection.transaction():
        if began_at not in {began for began, _ in await store.outages(connection)}:
            log("nobody could be heard", Severity.WARNING, since=began_at.isoformat())
            await store.look_again(connection, began_at, now)
        await store.note_outage(connection, (began_at, ended_at + min(ended_at - began_at, PATIENCE)))


async def quiet_times(connection: Connection, since: datetime, until: datetime) -> list[Outage]:
    """The times between the two in which no ping came for longer than QUIET."""
    found, at = [], since
    while at < until:
        heard = await store.last_ping(connection, min(at + QUIET, until), at)
        if heard is None:
            heard = await store.next_ping(connection, at, until) or until
            if heard - at > QUIET:
                found.append((at, heard))
        at = heard
    return found
