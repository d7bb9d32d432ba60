"""The monthly partitions of pings: made ahead, emptied into from the default one, dropped when over."""

import re
from datetime import UTC, date, datetime

import asyncpg

from telemetry_server.logs import Severity, log
from telemetry_server.store.queries import load

SQL = load("partitions")

MONTHS_AHEAD = 3
# Every writer queues behind a lock that waits: behind a long export, rather fail and try again later.
_WAIT_A_MOMENT = "SET LOCAL lock_timeout = '1s'"
_WITHIN = "received_at >= $1 AND received_at < $2"
_NAME = re.compile(r"pings_(\d{4})_(\d{2})")


async def make_partitions(connection: asyncpg.Connection, today: date) -> list[date]:
    """Sees to it that this month and the next three have a partition; gives the months made.

    Rows that landed in the default partition are an alarm, and are moved to their month.
    """
    wanted = [_months_after(today, ahead) for ahead in range(MONTHS_AHEAD + 1)]
    strays = dict(await connection.fetch(SQL["strays"]))
    for month, count in strays.items():
        log("pings in the default partition", Severity.ERROR, month=str(month), pings=count)
    missing = sorted({*wanted, *strays} - set(await partition_months(connection)))
    for month in missing:
        await _make(connection, month)
    return missing


async def drop_partitions(connection: asyncpg.Connection, today: date, keep_days: int) -> list[date]:
    """Drops the months that ended more than `keep_days` ago; gives them."""
    months = await partition_months(connection)
    over = [month for month in months if (today - _months_after(month, 1)).days > keep_days]
    for month in over:
        async with connection.transaction():
            await connection.execute(_WAIT_A_MOMENT)
            await connection.execute(f'DROP TABLE "{_name(month)}"')
    return over


async def partition_months(connection: asyncpg.Connection) -> list[date]:
    """The first days of the months that have a partition."""
    matches = [_NAME.fullmatch(row["relname"]) for row in await connection.fetch(SQL["months"])]
    return [date(int(match[1]), int(match[2]), 1) for match in matches if match]


async def stray_count(connection: asyncpg.Connection) -> int:
    """How many pings no month's partition took; anything but 0 is an alarm."""
    return sum(count for _, count in await connection.fetch(SQL["strays"]))


async def _make(connection: asyncpg.Connection, month: date) -> None:
    """One transaction: a month with rows in the default partition cannot be attached beside them."""
    start, end = _instant(month), _instant(_months_after(month, 1))
    name = _name(month)
    async with connection.transaction():
        await connection.execute(_WAIT_A_MOMENT)
        await connection.execute("LOCK TABLE pings IN SHARE UPDATE EXCLUSIVE MODE")
        await connection.execute(f'CREATE TABLE "{name}" (LIKE pings INCLUDING CONSTRAINTS)')
        await connection.execute("LOCK TABLE pings_default IN ACCESS EXCLUSIVE MODE")
        await connection.execute(
            f"WITH moved AS (DELETE FROM pings_default WHERE {_WITHIN} RETURNING *) "  # noqa: S608  a date
            f'INSERT INTO "{name}" SELECT * FROM moved',
            *(start, end),
        )
        await connection.execute(
            f"ALTER TABLE pings ATTACH PARTITION \"{name}\" FOR VALUES FROM ('{start}') TO ('{end}')"
        )


def _name(month: date) -> str:
    return f"pings_{month:%Y_%m}"


def _instant(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def _months_after(day: date, months: int) -> date:
    index = day.year * 12 + day.month - 1 + months
    return date(index // 12, index % 12 + 1, 1)
