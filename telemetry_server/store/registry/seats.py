"""Seats over time, licenses over their seats, and licenses that expire.

The past of a license is calculated for the question, from the timelines of the copies that have its key, or
had it; `over_since` of the licenses that are over their seats now is stored: they can be listed by it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from itertools import groupby
from operator import itemgetter
from typing import Any, TypeAlias
from uuid import UUID

from telemetry_server.check.filters.terms import Filter
from telemetry_server.enrich.seats import (
    ENVIRONMENT,
    KEY,
    LIFE,
    CopyOnKey,
    SeatChange,
    Step,
    Turn,
    over_since,
    seats_at,
    steps_of,
    takes_seat_of,
    used_by_day,
)
from telemetry_server.store.database import Connection, Pool
from telemetry_server.store.filtering import LICENSES, condition
from telemetry_server.store.queries import fill, load
from telemetry_server.store.reading import reading
from telemetry_server.store.registry.licenses import NoSuchLicense

SQL = load(__name__)

Row: TypeAlias = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Expiring:
    """Number of licenses, of those in use among them, and of the copies on these."""

    licenses: int
    in_use: int
    copies: int


@dataclass(frozen=True, slots=True)
class _Seats:
    """The seats of one license: the present number, its changes, and when seats were taken and given back."""

    seats: int | None
    changes: Sequence[SeatChange]
    steps: Sequence[Step]


async def seats_over_time(
    pool: Pool, license_id: UUID, first: date, last: date, *, now: datetime
) -> list[Row]:
    """day, used, seats (None: any number) at the end of each day, now on the last. Raises NoSuchLicense."""
    async with reading(pool) as connection:
        found = await _seats_of(connection, license_id)
    used = used_by_day(found.steps, first, min(last, now.date()))
    return [
        {"day": day, "used": count, "seats": seats_at(_end(day), found.seats, found.changes)}
        for day, count in used.items()
    ]


async def over_seats(pool: Pool, wanted: Filter, *, now: datetime, limit: int, offset: int = 0) -> list[Row]:
    """Licenses with more copies than seats, those with the most too many first; total: their number.

    `over_since` is None until the job "judge installations" has found out.
    """
    return await _listed(pool, "over_seats", wanted, now, limit, offset)


async def expiring(pool: Pool, wanted: Filter, *, now: datetime, days: int = 30) -> Expiring:
    """The active licenses that end within `days`."""
    [row] = await _listed(pool, "expiring", wanted, now, now, now + timedelta(days=days))
    return Expiring(**row)


async def expiring_licenses(
    pool: Pool,
    wanted: Filter,
    *,
    now: datetime,
    days: int = 30,
    in_use: bool = False,
    limit: int,
    offset: int = 0,
) -> list[Row]:
    """These licenses, the first to end first; with `in_use` only those with a copy. total: their number."""
    until = now + timedelta(days=days)
    return await _listed(pool, "expiring_licenses", wanted, now, now, until, in_use, limit, offset)


async def note_over_since(connection: Connection, limit: int, now: datetime) -> int:
    """Finds out since when at most `limit` licenses have been over their seats; returns their number."""
    found = [row["license_id"] for row in await connection.fetch(SQL["newly_over"], limit)]
    since = []
    for license_id in found:
        seats = await _seats_of(connection, license_id)
        since.append(over_since(seats.steps, seats.seats, seats.changes) or now)
    if found:
        await connection.execute(SQL["keep_over_since"], found, since)
    return len(found)


async def _seats_of(connection: Connection, license_id: UUID) -> _Seats:
    license_ = await connection.fetchrow(SQL["license_seats"], license_id)
    if license_ is None:
        raise NoSuchLicense(f"There is no license {license_id}.")
    changes = [SeatChange(**row) for row in await connection.fetch(SQL["seat_changes"], license_id)]
    rows = await connection.fetch(SQL["copies_on_key"], license_["keys"])
    takes = takes_seat_of(frozenset(license_["keys"]), license_["free_environments"])
    copies = (_copy(list(group)) for _, group in groupby(rows, itemgetter("installation_id")))
    steps = [step for copy in copies for step in steps_of(copy, takes)]
    return _Seats(license_["seats"], changes, steps)


def _copy(rows: Sequence[Any]) -> CopyOnKey:
    """The rows of one copy, one for each turn, and one without any."""
    first = rows[0]
    turns = [
        Turn(row["changed_at"], row["field"], row["before"], row["after"])
        for row in rows
        if row["changed_at"] is not None
    ]
    present = {KEY: first["key"], ENVIRONMENT: first["environment"], LIFE: first["life"]}
    return CopyOnKey(first["first_received_at"], present, turns)


def _end(day: date) -> datetime:
    return datetime.combine(day + timedelta(days=1), time(), UTC) - timedelta(microseconds=1)


async def _listed(pool: Pool, name: str, wanted: Filter, now: datetime, *arguments: Any) -> list[Row]:
    async with reading(pool) as connection:
        asked = await condition(connection, wanted, LICENSES, now=now, first=len(arguments) + 1)
        statement = fill(SQL[name], filter=asked.sql)
        return [dict(row) for row in await connection.fetch(statement, *arguments, *asked.values)]
