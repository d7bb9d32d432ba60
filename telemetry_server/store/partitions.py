"""The monthly partitions: made ahead, emptied into from the default one, dropped when over."""

import re
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime

import asyncpg

from telemetry_server.logs import Severity, log
from telemetry_server.store.database import Connection
from telemetry_server.store.queries import load

SQL = load(__name__)

MONTHS_AHEAD = 3
# Every writer queues behind a lock that waits: behind a long export, rather fail and try again later.
WAIT_A_MOMENT = "SET LOCAL lock_timeout = '1s'"
_HOUR_SECONDS = 3600


@dataclass(frozen=True, slots=True)
class Parted:
    """A table in monthly partitions by `column`, which is a day or an instant."""

    table: str
    column: str
    by_instant: bool

    def name(self, month: date) -> str:
        return f"{self.table}_{month:%Y_%m}"

    def bound(self, month: date) -> date | datetime:
        return datetime(month.year, month.month, 1, tzinfo=UTC) if self.by_instant else month


PINGS = Parted("pings", "received_at", by_instant=True)
INSTALLATION_DAYS = Parted("installation_days", "day", by_instant=False)
PARTED = (PINGS, INSTALLATION_DAYS)


async def make_partitions(connection: Connection, today: date) -> list[date]:
    """Sees to it that this month and the next three have a partition in every table; gives the months made.

    Rows that landed in a default partition are an alarm, and are moved to their month.
    """
    wanted = {months_after(today, ahead) for ahead in range(MONTHS_AHEAD + 1)}
    made: set[date] = set()
    for parted in PARTED:
        strays = await _strays(connection, parted)
        for month, count in strays.items():
            phrase = f"{parted.table} in the default partition"
            log(phrase, Severity.ERROR, month=str(month), **{parted.table: count})
        made.update(await make_months(connection, parted, wanted | strays.keys()))
    return sorted(made)


async def make_months(connection: Connection, parted: Parted, months: Collection[date]) -> list[date]:
    """Sees to it that these months have a partition; gives those made."""
    missing = sorted(set(months) - set(await partition_months(connection, parted)))
    for month in missing:
        await _make(connection, parted, month)
    return missing


async def make_months_if_free(connection: Connection, parted: Parted, months: Collection[date]) -> None:
    """Likewise; but behind a long export the default partition takes their rows for the time being."""
    with suppress(asyncpg.LockNotAvailableError):
        await make_months(connection, parted, months)


async def drop_partitions(
    connection: Connection, today: date, keep_days: int, parted: Parted = PINGS
) -> list[date]:
    """Drops the months that ended more than `keep_days` ago; gives them.

    A month of pings that most copies call newer stays: it was received by a clock that was behind.
    """
    dropped = []
    for month in await partition_months(connection, parted):
        over = (today - months_after(month, 1)).days > keep_days
        told = await _told(connection, month) if over and parted is PINGS else None
        if not over or (told and (today - told).days <= keep_days):
            continue
        async with connection.transaction():
            await connection.execute(WAIT_A_MOMENT)
            await connection.execute(f'DROP TABLE "{parted.name(month)}"')
        dropped.append(month)
    return dropped


async def _told(connection: Connection, month: date) -> date | None:
    """The last day of the month's pings by the copies' own clocks; None where there is none."""
    bounds = PINGS.bound(month), PINGS.bound(months_after(month, 1))
    day: date | None = await connection.fetchval(SQL["told"], *bounds, timeout=_HOUR_SECONDS)
    return day


async def partition_months(connection: Connection, parted: Parted = PINGS) -> list[date]:
    """The first days of the months that have a partition."""
    name = re.compile(rf"{parted.table}_(\d{{4}})_(\d{{2}})")
    names = await connection.fetch(SQL["months"], parted.table)
    matches = [name.fullmatch(row["relname"]) for row in names]
    return [date(int(match[1]), int(match[2]), 1) for match in matches if match]


async def months_everywhere(connection: Connection) -> list[date]:
    """The months that have a partition in every table."""
    months = [set(await partition_months(connection, parted)) for parted in PARTED]
    return sorted(set.intersection(*months))


async def strays(connection: Connection) -> dict[str, int]:
    """How many rows no month's partition took, by table; any is an alarm."""
    counted = {parted.table: sum((await _strays(connection, parted)).values()) for parted in PARTED}
    return {table: count for table, count in counted.items() if count}


async def _strays(connection: Connection, parted: Parted) -> dict[date, int]:
    return dict(await connection.fetch(SQL[f"stray_{parted.table}"]))


async def _make(connection: Connection, parted: Parted, month: date) -> None:
    """One transaction: a month with rows in the default partition cannot be attached beside them."""
    table, name = parted.table, parted.name(month)
    async with connection.transaction():
        await connection.execute(WAIT_A_MOMENT)
        await connection.execute(f"LOCK TABLE {table} IN SHARE UPDATE EXCLUSIVE MODE")
        await connection.execute(f'CREATE TABLE "{name}" (LIKE {table} INCLUDING CONSTRAINTS)')
        await attach(connection, parted, month)


async def attach(connection: Connection, parted: Parted, month: date) -> None:
    """Makes the table of that month its partition, with the rows that the default one took."""
    start, end = parted.bound(month), parted.bound(months_after(month, 1))
    table, name, column = parted.table, parted.name(month), parted.column
    await connection.execute(f"LOCK TABLE {table}_default IN ACCESS EXCLUSIVE MODE")
    await connection.execute(
        f"WITH moved AS (DELETE FROM {table}_default "  # noqa: S608  names of ours
        f"WHERE {column} >= $1 AND {column} < $2 RETURNING *) "
        f'INSERT INTO "{name}" SELECT * FROM moved',
        *(start, end),
    )
    await connection.execute(
        f"ALTER TABLE {table} ATTACH PARTITION \"{name}\" FOR VALUES FROM ('{start}') TO ('{end}')"
    )


def months_after(day: date, months: int) -> date:
    """The first day of the month so many months after that of `day`."""
    index = day.year * 12 + day.month - 1 + months
    return date(index // 12, index % 12 + 1, 1)
