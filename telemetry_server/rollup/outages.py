"""Times in which silence says nothing against a copy, because nobody could be heard.

The server was away where this job did not run and no ping came. And it was not to be reached, whatever
was broken in front of it, where several copies should have called and nobody at all was heard. After
an outage copies come back as their patience has it, so as much time again is theirs, 6 hours at most.
"""

from datetime import datetime, timedelta
from typing import Any

from telemetry_server.enrich.lives import Outage, apart
from telemetry_server.logs import Severity, log
from telemetry_server.store import outages as store

QUIET = timedelta(minutes=5)
"""A shorter silence of everybody is none: a restart, an upgrade."""
FEWEST = 5
"""Copies that have to be overdue while nobody is heard: fewer may have gone by themselves."""
LONGEST = timedelta(days=7)
"""How long a server that runs may hear nobody before it is believed that nobody calls any more."""
PATIENCE = timedelta(hours=6)
"""The longest pause a client makes before it tries again (docs/protocol.md)."""


async def note_outages(connection: Any, watched_until: datetime | None, now: datetime) -> tuple[Outage, ...]:
    """Writes down what is new; gives all there were, in order and apart.

    `watched_until` is when somebody last looked. Where an outage is found only now, those that were
    found late or lost in it are due for another look.
    """
    known = await store.outages(connection)
    beginnings = {began_at for began_at, _ in known}
    for began_at, ended_at in await _found(connection, watched_until, now):
        await store.note_outage(connection, (began_at, ended_at + min(ended_at - began_at, PATIENCE)))
        if began_at not in beginnings:
            log("nobody could be heard", Severity.WARNING, since=began_at.isoformat())
            await store.look_again(connection, began_at, now)
    return apart(await store.outages(connection))


async def _found(connection: Any, watched_until: datetime | None, now: datetime) -> list[Outage]:
    found = []
    if watched_until is not None and now - watched_until > QUIET:
        found = await quiet_times(connection, watched_until, now)
    last = await store.last_ping(connection, now)
    if last is not None and now - last > QUIET:
        overdue = await store.awaited(connection, last, now - QUIET, FEWEST)
        if overdue >= FEWEST:
            found.append((last, min(now, last + LONGEST)))
    return found


async def quiet_times(connection: Any, since: datetime, until: datetime) -> list[Outage]:
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
