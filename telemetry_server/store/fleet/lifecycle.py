"""The lifecycle of installations in the database: which are due for a check, and its result.

The present phase is in installation_facts; each transition is a row of changes, field `life`, with its time
by the schedule and the number of the last ping before it. The keys of these rows differ: each transition is
later than the one before it, and that of a ping has the number of the ping.
"""

from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import NamedTuple
from uuid import UUID

import asyncpg

from telemetry_server.enrich.lifecycle import NextPhase, Phase
from telemetry_server.model import Lifecycle
from telemetry_server.store.database import Connection, lock_in_order
from telemetry_server.store.fleet.installations import ANCIENT
from telemetry_server.store.halving import halving
from telemetry_server.store.json_rows import as_json
from telemetry_server.store.queries import load
from telemetry_server.uuid7 import LOWEST

SQL = load(__name__)


class Copy(NamedTuple):
    """An installation and what its lifecycle depends on. `last_*` are None without a row in installations."""

    installation_id: UUID
    product_id: UUID
    life: Lifecycle
    life_since: datetime
    due_at: datetime
    first_received_at: datetime
    last_received_at: datetime | None
    last_sequence: int | None


BEFORE_ALL = Copy(LOWEST, LOWEST, Lifecycle.NEW, ANCIENT, ANCIENT, ANCIENT, None, None)


class Settled(NamedTuple):
    """The new phase of a copy, and the transitions that led to it."""

    copy: Copy
    found: NextPhase
    steps: Sequence[Phase]


async def due(connection: Connection, now: datetime, after: Copy, limit: int) -> list[Copy]:
    """At most `limit` copies that are due, the longest overdue first, after a given one."""
    return _copies(await connection.fetch(SQL["due"], now, after.due_at, after.installation_id, limit))


async def settle(connection: Connection, settled: Sequence[Settled], now: datetime) -> list[Settled]:
    """Writes the phases of copies that have not changed since; returns those that PostgreSQL refuses.

    Days that are over, and in which a copy became late or lost, as is found now, are counted again.
    """

    async def write(part: Sequence[Settled]) -> None:
        rows = [row for each in part for row in _rows(each)]
        async with connection.transaction():
            await lock_in_order(connection)
            await connection.execute(SQL["settle"], as_json([_now(each) for each in part]), as_json(rows))
            if since := _days_before(part, now.date()):
                products, days = list(since), list(since.values())
                await connection.execute(SQL["mark_ended"], products, days, now.date(), now)

    parts = await halving(settled, write) if settled else []
    return [each for part, error in parts if error for each in part]


async def put_off(connection: Connection, copies: Sequence[Copy], until: datetime) -> None:
    """Makes these copies due at `until`, except those for which PostgreSQL refuses even that."""

    async def write(part: Sequence[Copy]) -> None:
        async with connection.transaction():
            await connection.execute(SQL["put_off"], part[0].installation_id, until)

    for copy in copies:
        await halving([copy], write)


async def rescheduled(connection: Connection, limit: int) -> list[Copy]:
    """The next `limit` copies of a product whose schedule changed; empty: there are no more.

    Call it in the transaction that settles them: it marks them as checked. One that the writer changes before
    it is settled has the new schedule already.
    """
    while product := await connection.fetchrow(SQL["rescheduled_product"]):
        product_id = product["product_id"]
        copies = _copies(
            await connection.fetch(SQL["of_product"], product_id, product["reschedule_after"], limit)
        )
        last = copies[-1].installation_id if copies else None
        await connection.execute(SQL["reschedule_after"], product_id, last)
        if copies:
            return copies
    return []


def _copies(rows: Sequence[asyncpg.Record]) -> list[Copy]:
    return [Copy(**row)._replace(life=Lifecycle(row["life"])) for row in rows]


def _days_before(settled: Sequence[Settled], today: date) -> dict[UUID, date]:
    """By product, the earliest day before `today` on which a phase began."""
    earliest: dict[UUID, date] = {}
    for copy, _, steps in settled:
        if steps and (day := steps[0].since.astimezone(UTC).date()) < today:
            earliest[copy.product_id] = min(day, earliest.get(copy.product_id, day))
    return dict(sorted(earliest.items()))


def _now(settled: Settled) -> dict[str, object]:
    copy, found, _ = settled
    return {
        "installation_id": copy.installation_id,
        "seen_life": copy.life,
        "seen_due_at": copy.due_at,
        "life": found.life,
        "life_since": found.since,
        "due_at": found.due_at,
    }


def _rows(settled: Settled) -> list[dict[str, object]]:
    copy, _, steps = settled
    before = [copy.life, *(step.life for step in steps)]
    return [
        {
            "installation_id": copy.installation_id,
            "changed_at": step.since,
            "sequence": copy.last_sequence,
            "before": life,
            "after": step.life,
        }
        for life, step in zip(before, steps, strict=False)
    ]
