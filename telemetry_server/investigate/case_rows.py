"""The rows that a case rests on, copied and held: what they are copied from is forgotten after months.

A case is held from the moment a person opens it for work. Holding it again adds what came since.
"""

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import orjson

from telemetry_server.investigate import case_lists
from telemetry_server.investigate.evidence_tables import Tally
from telemetry_server.store.database import Connection
from telemetry_server.store.queries import load

SQL = load(__name__)

MOST_ROWS = 200_000
"""The number of pings that a case may hold; the newest are kept."""
KINDS = ("pings", "forks", "changes")
_BEFORE = timedelta(days=30)
"""Rows from this long before the first finding show how it was before."""
_AT_ONCE = 1_000
_SECONDS = 600


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """Why the rows of a case are kept, and how many there are; `is_whole`: none was left out."""

    ground: str
    held_at: datetime
    held_by: str
    rows: int
    copied_at: datetime
    is_whole: bool
    released_at: datetime | None

    @property
    def is_held(self) -> bool:
        return self.released_at is None


async def hold_of(connection: Connection, case_id: UUID) -> Hold | None:
    """The hold of a case, also one that was released; None: it was never held."""
    row = await connection.fetchrow(SQL["hold"], case_id)
    return None if row is None else Hold(**row)


async def hold(connection: Connection, case_id: UUID, *, ground: str, by: str, now: datetime) -> Hold:
    """Copies the rows of the installations of all findings of the case; in a transaction.

    Those that are copied stay. An earlier ground stays while it holds.
    """
    findings = await case_lists.findings_of(connection, case_id)
    copies = sorted({UUID(each) for row in findings for each in row["evidence"]["installations"]})
    begin = min((row["first_seen"] for row in findings), default=now) - _BEFORE
    begin, is_whole = await _bounded(connection, copies, begin, now)
    end = now + timedelta(days=1)  # what arrived in this second, too
    for kind in KINDS:
        await connection.execute(SQL[f"copy_{kind}"], case_id, copies, begin, end, timeout=_SECONDS)
    rows = sum((await rows_by_kind(connection, case_id)).values())
    await connection.execute(SQL["keep_hold"], case_id, ground, now, by, rows, is_whole)
    held = await hold_of(connection, case_id)
    assert held is not None
    return held


async def release(connection: Connection, case_id: UUID, now: datetime) -> bool:
    """Deletes the copied rows; whether there was a hold."""
    if await connection.fetchval(SQL["release_hold"], case_id, now) is None:
        return False
    await connection.execute(SQL["delete_rows"], case_id)
    return True


async def rows_by_kind(connection: Connection, case_id: UUID) -> dict[str, int]:
    """How many rows of each kind are copied."""
    return {row["kind"]: row["rows"] for row in await connection.fetch(SQL["count_rows"], case_id)}


async def columns_of(connection: Connection, case_id: UUID, kind: str) -> list[str]:
    """The names of the columns of the rows of a kind: those by which people find a row first."""
    first = (
        "received_at",
        "changed_at",
        "installation_id",
        "sequence",
        "product",
        "verdict",
        "client_address",
    )
    names = [row["name"] for row in await connection.fetch(SQL["columns"], case_id, kind)]
    return sorted(names, key=lambda name: (first.index(name) if name in first else len(first), name))


async def pieces(connection: Connection, case_id: UUID, kind: str) -> AsyncIterator[list[dict[str, Any]]]:
    """The rows of a kind, some at a time; in a transaction."""
    some: list[dict[str, Any]] = []
    async for row in connection.cursor(SQL["rows"], case_id, kind, prefetch=_AT_ONCE, timeout=_SECONDS):
        some.append(orjson.loads(row["row"]))
        if len(some) == _AT_ONCE:
            yield some
            some = []
    if some:
        yield some


async def newest_rows(connection: Connection, case_id: UUID, limit: int) -> list[dict[str, Any]]:
    """The newest rows: kind, installation, time, and the row as a dictionary."""
    rows = await connection.fetch(SQL["newest_rows"], case_id, limit)
    return [{**row, "row": orjson.loads(row["row"])} for row in rows]


async def pings_by_day(connection: Connection, findings: Sequence[Mapping[str, Any]]) -> Tally:
    """The pings of the installations of the findings, by day, from a month before the first finding on."""
    copies = sorted({UUID(each) for row in findings for each in row["evidence"]["installations"]})
    tally = Tally("pings", ())
    if copies:
        begin = min(row["first_seen"] for row in findings) - _BEFORE
        for row in await connection.fetch(SQL["days"], copies, begin.date()):
            tally.add(str(row["installation_id"]), str(row["day"]), row["pings"])
    return tally


async def notices_of(connection: Connection, case_id: UUID) -> list[dict[str, Any]]:
    """The versions of the privacy notice that pings of the case name, with their texts."""
    named = {row["version"] for row in await connection.fetch(SQL["notice_versions"], case_id)}
    return [dict(row) for row in await connection.fetch(SQL["notices"]) if row["version"] in named]


async def _bounded(
    connection: Connection, copies: Sequence[UUID], begin: datetime, end: datetime
) -> tuple[datetime, bool]:
    """The day from which on there are no more than MOST_ROWS pings, and whether that is all."""
    total = 0
    for row in await connection.fetch(SQL["pings_by_day"], copies, begin, end, timeout=_SECONDS):
        total += row["pings"]
        if total > MOST_ROWS:
            day = row["day"] + timedelta(days=1)
            return datetime(day.year, day.month, day.day, tzinfo=begin.tzinfo), False
    return begin, True


async def licenses_of(connection: Connection, installations: Collection[UUID]) -> list[dict[str, Any]]:
    """The licenses that the installations are on now, as the registry has them."""
    named = [row["license_id"] for row in await connection.fetch(SQL["licenses_named"], list(installations))]
    return [orjson.loads(row["row"]) for row in await connection.fetch(SQL["licenses"], named)]
