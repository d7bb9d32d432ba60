"""The monthly partitions: made ahead, filled from the default one, dropped after their retention."""

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
# Every writer queues behind a lock that waits. Behind a long export, fail and try again later.
WAIT_A_MOMENT = "SET LOCAL lock_timeout = '1s'"
_HOUR_SECONDS = 3600


@dataclass(frozen=True, slots=True)
class Parted:
    """A table with monthly partitions by `column`, which is a day or an instant."""

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
    """Makes the partitions of this month and the next three in every table; returns the months made.

    Rows in a default partition are logged as an error, and moved to their month.
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
    """Makes the partitions that these months lack; returns the months made."""
    missing = sorted(set(months) - set(await partition_months(connection, parted)))
    for month in missing:
        await _make(connection, parted, month)
    return missing


async def make_months_if_free(connection: Connection, parted: Parted, months: Collection[date]) -> None:
    """As `make_months`, unless a long export holds the table: the default partition takes the rows then."""
    with suppress(asyncpg.LockNotAvailableError):
        await make_months(connection, parted, months)


async def drop_partitions(
    connection: Connection, today: date, keep_days: int, parted: Parted = PINGS
) -> list[date]:
    """Drops the months that ended more than `keep_days` ago; returns them.

    A month of pings that are newer by the clocks of most copies stays: the server's clock was behind.
    """
    dropped = []
    for month in await partition_months(connection, parted):
        end = months_after(month, 1)
        if (today - end).days <= keep_days:
            continue
        if parted is PINGS:
            bounds = parted.bound(month), parted.bound(end)
            newest = await connection.fetchval(SQL["newest_by_copies"], *bounds, timeout=_HOUR_SECONDS)
            if newest is not None and (today - newest).days <= keep_days:
                continue
        async with connection.transaction():
            await connection.execute(WAIT_A_MOMENT)
            await connection.execute(f'DROP TABLE "{parted.name(month)}"')
        dropped.append(month)
    return dropped


async def partition_months(connection: Connection, parted: Parted = PINGS) -> list[date]:
    """The first days of the months that have a partition, in order."""
    return [row["month"] for row in await connection.fetch(SQL["months"], parted.table)]


async def months_everywhere(connection: Connection) -> list[date]:
    """The months that have a partition in every table."""
    months = [set(await partition_months(connection, parted)) for parted in PARTED]
    return sorted(set.intersection(*months))


async def strays(connection: Connection) -> dict[str, int]:
    """Number of rows in default partitions by table; any is a problem."""
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
    """Attaches the table of that month, and moves the month's rows from the default partition to it."""
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
    """The first day of the month that is `months` after that of `day`."""
    index = day.year * 12 + day.month - 1 + months
    return date(index // 12, index % 12 + 1, 1)
