"""Jobs under their advisory lock, and how each last went."""

import zlib
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

from telemetry_server.store.clock import TOLERANCE
from telemetry_server.store.database import Acquire, Connection
from telemetry_server.store.queries import load

SQL = load(__name__)


async def run_locked(
    acquire: Acquire,
    name: str,
    run: Callable[[Connection, datetime], Awaitable[str]],
    *,
    now: datetime,
    due_after: timedelta,
) -> str | None:
    """Runs under the job's lock and writes down how it went; what it raises goes on.

    None where another process holds the lock, or where the last good run began less than `due_after` ago: a
    last run in the future counts as never. With a `due_after` of 0 it is always due.
    """
    lock = lock_number(name)
    async with acquire() as connection:
        if not await connection.fetchval(SQL["try_lock"], lock):
            return None
        try:
            last = await connection.fetchval(SQL["last_good_start"], name)
            if last is not None and -min(TOLERANCE, due_after) < now - last < due_after * 0.9:
                return None
            return await _run_noted(connection, name, run, now)
        finally:
            await connection.execute(SQL["unlock"], lock)


async def _run_noted(
    connection: Connection,
    name: str,
    run: Callable[[Connection, datetime], Awaitable[str]],
    now: datetime,
) -> str:
    await connection.execute(SQL["job_started"], name, now)
    try:
        done = await run(connection, now)
    except Exception as error:
        await connection.execute(SQL["job_ended"], name, f"{type(error).__name__}: {error}"[:500])
        raise
    await connection.execute(SQL["job_ended"], name, None)
    return done


def lock_number(name: str) -> int:
    """A lock of its own for each job, apart from that of the migrations."""
    return 7_265_430_000_000 + zlib.crc32(name.encode())
