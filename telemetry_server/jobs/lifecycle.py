"""The job "watch deadlines": who is late, lost, no longer new, by the schedule of its product.

A deadline is an indexed column, and lazy: pings leave it alone, and whoever finds it over looks when the
copy was last heard of. The oldest come first; what PostgreSQL refuses is moved on for an hour and blocks
nobody. Safe to be killed anywhere and to run beside the writer, who makes a copy active again by itself.
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
"""A ping that was being written while its copy was found late is seen then, and takes it back."""
PUT_OFF = timedelta(hours=1)

_Schedules: TypeAlias = Mapping[UUID, Schedule]


class Portions(NamedTuple):
    """How many copies a statement takes, and how many of these portions one run does."""

    copies: int = 2_000
    most: int = 50


PORTIONS = Portions()


async def watch_deadlines(connection: Connection, now: datetime, portions: Portions = PORTIONS) -> str:
    outages = await note_outages(connection, now)
    changed = await _reschedule(connection, outages, now, portions)
    changed += await _watch(connection, await _schedules(connection, outages), now, portions)
    return f"{changed} lives changed"


async def _watch(connection: Connection, schedules: _Schedules, now: datetime, portions: Portions) -> int:
    """Looks at everybody who is due, each once, as far as one run goes."""
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
    """Looks at the copies of products whose schedule changed, as far as one run goes."""
    changed = 0
    for _ in range(portions.most):
        async with connection.transaction():
            copies = await store.rescheduled(connection, portions.copies)  # from here on, no schedule changes
            schedules = await _schedules(connection, outages) if copies else {}
            changed += await _look(connection, copies, schedules, now)
        if not copies:
            break
    return changed


async def _schedules(connection: Connection, outages: Sequence[Outage]) -> _Schedules:
    return {product.id: Schedule.of(product, outages) for product in await all_products(connection)}


async def _look(connection: Connection, copies: Sequence[Copy], schedules: _Schedules, now: datetime) -> int:
    """How many of the copies live another life now."""
    found = [_found(copy, schedules.get(copy.product_id), now) for copy in copies]
    settled = [each for each in found if each]
    refused = await store.settle(connection, settled)
    odd = [copy for copy, each in zip(copies, found, strict=True) if each is None]
    if stuck := odd + [each.copy for each in refused]:
        await _put_off(connection, stuck, now)
    return sum(bool(each.steps) for each in settled) - sum(bool(each.steps) for each in refused)


def _found(copy: Copy, schedule: Schedule | None, now: datetime) -> Settled | None:
    """None where rows that belong to the copy are not there."""
    first, last = copy.first_received_at, copy.last_received_at
    if schedule is None or last is None:
        return None
    steps = lives(copy.life, copy.life_since, first, last, schedule=schedule, now=now)
    life, since = steps[-1] if steps else (copy.life, copy.life_since)
    found = next_life(life, since, first, last, schedule=schedule, now=now)
    if steps and found.life in SILENT:
        found = NextPhase(found.life, found.since, min(found.due_at, now + SECOND_LOOK))
    return Settled(copy, found, steps)


async def _put_off(connection: Connection, copies: Sequence[Copy], now: datetime) -> None:
    some = [str(copy.installation_id) for copy in copies[:20]]
    log("lives not settled", Severity.ERROR, installations=some, count=len(copies))
    await store.put_off(connection, copies, now + PUT_OFF)
