"""Runs jobs under their advisory lock, and records how each run ended."""

import zlib
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Any, TypeAlias

from telemetry_server.store.clock import TOLERANCE
from telemetry_server.store.database import Acquire, Connection
from telemetry_server.store.queries import load

SQL = load(__name__)

Run: TypeAlias = Callable[[Connection, datetime], Awaitable[str]]
"""A job: takes the time, and returns a sentence on what it did."""


async def run_locked(
    acquire: Acquire, name: str, run: Run, *, now: datetime, due_after: timedelta
) -> str | None:
    """Runs under the job's lock and records how it ended; reraises what it raises.

    Returns None where another process holds the lock, or where the last good run began less than `due_after`
    ago. A last run in the future does not count. With a `due_after` of 0 the job is always due.
    """
    lock = lock_number(name)
    async with acquire() as connection:
        if not await connection.fetchval(SQL["try_lock"], lock):
            return None
        try:
            last = await connection.fetchval(SQL["last_good_start"], name)
            if last is not None and -min(TOLERANCE, due_after) < now - last < due_after * 0.9:
                return None
            await connection.execute(SQL["job_started"], name, now)
            try:
                done = await run(connection, now)
            except Exception as error:
                await connection.execute(SQL["job_ended"], name, f"{type(error).__name__}: {error}"[:500])
                raise
            await connection.execute(SQL["job_ended"], name, None)
            return done
        finally:
            await connection.execute(SQL["unlock"], lock)


async def all_jobs(connection: Connection) -> list[dict[str, Any]]:
    """The last run of each job that ever ran: name, last_started_at, last_finished_at, last_error."""
    return [dict(row) for row in await connection.fetch(SQL["all_jobs"])]


def lock_number(name: str) -> int:
    """The number of a job's advisory lock; none is that of the migrations."""
    return 7_265_430_000_000 + zlib.crc32(name.encode())
