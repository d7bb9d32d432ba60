"""The job "watch deadlines": which copies are late, lost or no longer new, by the schedule of their product.

A deadline is an indexed column, and lazy: pings do not move it, and the job checks at the deadline when the
copy was last seen. The oldest come first; a row that PostgreSQL refuses is due again in an hour and blocks no
others. Safe to be killed anywhere and to run beside the writer, which makes a copy active again.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple, TypeAlias
from uuid import UUID

from telemetry_server.enrich.lifecycle import SILENT, NextPhase, Outage, Schedule, lives, next_life
from telemetry_server.jobs.outages import note_outages
from telemetry_server.logs import Severity, log
from telemetry_server.store.database import Connection
from telemetry_server.store.fleet import lifecycle as store
from telemetry_server.store.fleet.lifecycle import BEFORE_ALL, Copy, Settled
from telemetry_server.store.registry.products import all_products

SECOND_LOOK = timedelta(minutes=1)
"""A ping that was written while its copy was found late is seen then, and corrects it."""
PUT_OFF = timedelta(hours=1)

_Schedules: TypeAlias = Mapping[UUID, Schedule]


class Portions(NamedTuple):
    """The number of copies per statement, and of these portions per run."""

    copies: int = 2_000
    most: int = 50


PORTIONS = Portions()


async def watch_deadlines(connection: Connection, now: datetime, portions: Portions = PORTIONS) -> str:
    outages = await note_outages(connection, now)
    changed = await _reschedule(connection, outages, now, portions)
    changed += await _watch(connection, await _schedules(connection, outages), now, portions)
    return f"{changed} phases changed"


async def _watch(connection: Connection, schedules: _Schedules, now: datetime, portions: Portions) -> int:
    """Checks all due copies, each once, up to the limit of a run; returns the number of changes."""
    changed, last = 0, BEFORE_ALL
    for _ in range(portions.most):
        copies = await store.due(connection, now, last, portions.copies)
        changed += await _look(connection, copies, schedules, now)
        if len(copies) < portions.copies:
            break
        last = copies[-1]
    return changed


async def _reschedule(
    connection: Connection, outages: Sequence[Outage], now: datetime, portions: Portions
) -> int:
    """Checks the copies of products whose schedule changed, up to the limit of a run."""
    changed = 0
    for _ in range(portions.most):
        async with connection.transaction():
            copies = await store.rescheduled(connection, portions.copies)  # locks the product's schedule
            schedules = await _schedules(connection, outages) if copies else {}
            changed += await _look(connection, copies, schedules, now)
        if not copies:
            break
    return changed


async def _schedules(connection: Connection, outages: Sequence[Outage]) -> _Schedules:
    return {product.id: Schedule.of(product, outages) for product in await all_products(connection)}


async def _look(connection: Connection, copies: Sequence[Copy], schedules: _Schedules, now: datetime) -> int:
    """Writes the present phases of copies; returns the number of copies whose phase changed."""
    found = [_found(copy, schedules.get(copy.product_id), now) for copy in copies]
    settled = [each for each in found if each]
    refused = await store.settle(connection, settled, now)
    odd = [copy for copy, each in zip(copies, found, strict=True) if each is None]
    if stuck := odd + [each.copy for each in refused]:
        some = [str(copy.installation_id) for copy in stuck[:20]]
        log("phases not written", Severity.ERROR, installations=some, count=len(stuck))
        await store.put_off(connection, stuck, now + PUT_OFF)
    return sum(bool(each.steps) for each in settled) - sum(bool(each.steps) for each in refused)


def _found(copy: Copy, schedule: Schedule | None, now: datetime) -> Settled | None:
    """The present phase of a copy; None if rows that belong to it are missing."""
    first, last = copy.first_received_at, copy.last_received_at
    if schedule is None or last is None:
        return None
    steps = lives(copy.life, copy.life_since, first, last, schedule=schedule, now=now)
    life, since = steps[-1] if steps else (copy.life, copy.life_since)
    found = next_life(life, since, first, last, schedule=schedule, now=now)
    if steps and found.life in SILENT:
        found = NextPhase(found.life, found.since, min(found.due_at, now + SECOND_LOOK))
    return Settled(copy, found, steps)
