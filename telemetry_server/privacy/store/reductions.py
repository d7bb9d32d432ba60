"""Removes what was kept above a level: by a limit that was set here, or since the copy lowered its own."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from telemetry_server.check.fields import Carrier, Level, Registry
from telemetry_server.model import LARGEST_INTEGER
from telemetry_server.store.access import audit
from telemetry_server.store.database import Connection
from telemetry_server.store.ingest.projection import project
from telemetry_server.store.queries import load

SQL = load(__name__)

_SECONDS = 600


@dataclass(frozen=True, slots=True)
class Reduction:
    """What is kept of an installation's pings before the number `sequence`, from before `until`."""

    installation_id: UUID
    level: Level
    sequence: int
    until: datetime


async def lowered(connection: Connection, since: datetime, until: datetime) -> list[Reduction]:
    """The installations that lowered their own level after `since`, as far as known until `until`."""
    rows = await connection.fetch(SQL["lowered"], since, until, timeout=_SECONDS)
    return [
        Reduction(row["installation_id"], Level(row["level"]), row["sequence"], row["changed_at"])
        for row in rows
    ]


async def limited(connection: Connection, before: datetime, now: datetime) -> list[Reduction]:
    """The installations that a limit set before `before` is to be carried out for."""
    found = [
        Reduction(row["installation_id"], Level(row["level"]), LARGEST_INTEGER, now)
        for row in await connection.fetch(SQL["limited_installations"], before)
    ]
    for row in await connection.fetch(SQL["limited_customers"], before):
        copies = await connection.fetch(SQL["copies_on"], row["licenses"])
        level = Level(row["level"])
        found += [Reduction(copy["installation_id"], level, LARGEST_INTEGER, now) for copy in copies]
    return found


async def keep_done(connection: Connection, before: datetime, now: datetime) -> None:
    """Records that the limits set before `before` were carried out."""
    for row in await connection.fetch(SQL["limited_installations"], before):
        await connection.execute(SQL["installation_is_reduced"], row["installation_id"], now, before)
    for row in await connection.fetch(SQL["limited_customers"], before):
        await connection.execute(SQL["customer_is_reduced"], row["customer_id"], now, before)


async def reduce(connection: Connection, one: Reduction, registry: Registry, *, by: str) -> None:
    """Removes what is above the level, in one transaction, and records that."""
    sections = sections_above(registry, one.level)
    day = one.until.astimezone(UTC).date()
    async with connection.transaction():
        await connection.execute(SQL["lock"], one.installation_id)
        pings = await connection.fetchval(
            SQL["remove_usage"], one.installation_id, one.sequence, timeout=_SECONDS
        )
        await connection.execute(SQL["remove_usage_of_days"], one.installation_id, day, timeout=_SECONDS)
        states = await connection.fetch(SQL["states_above"], one.installation_id, one.sequence, sections)
        await _reduce_states(connection, one, [row["state"] for row in states], sections)
        await connection.execute(SQL["reduce_forks"], one.installation_id, one.sequence, [*sections, "usage"])
        await connection.execute(SQL["remove_quarantined"], one.installation_id, one.sequence)
        entry = audit.Entry(
            actor=by,
            action="installation.reduce",
            subject_kind="installation",
            subject_id=str(one.installation_id),
            details={"level": one.level, "pings_with_counters": pings, "states": len(states)},
        )
        await audit.record(connection, entry)


async def _reduce_states(
    connection: Connection, one: Reduction, states: Sequence[bytes], sections: Sequence[str]
) -> None:
    if not states:
        return
    who, day = one.installation_id, one.until.astimezone(UTC).date()
    await connection.execute(SQL["add_reduced_states"], who, states, sections)
    await connection.execute(SQL["point_pings"], who, states, one.sequence, timeout=_SECONDS)
    await connection.execute(SQL["point_days"], who, states, day, timeout=_SECONDS)
    await connection.execute(SQL["point_installation"], who, states, one.sequence)
    await project(connection, [who])
    await connection.execute(SQL["remove_changes"], who, one.sequence, sections)
    await connection.execute(SQL["remove_states"], who, states)


def sections_above(registry: Registry, level: Level) -> list[str]:
    """The sections of facts whose fields are above the level; all fields of a section have the same one."""
    return sorted(
        {
            field.section
            for field in registry.of(Carrier.PING)
            if field.retention == "fact" and not level.allows(field.level)
        }
    )
