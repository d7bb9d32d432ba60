"""Retention of addresses: in full at first, then as networks, or not at all.

Addresses are in installations, pings, forks, lineage and the timeline (changes, field client_address), and
are the keys of hostnames. Pings and timeline are processed day by day from a watermark on: a killed run
continues there, and a shorter retention applies to all rows before it.
"""

from datetime import datetime, timedelta
from uuid import UUID

from telemetry_server.job_names import JobName
from telemetry_server.store.clock import is_future
from telemetry_server.store.database import Connection, lock_in_order
from telemetry_server.store.fleet.hostnames import forget_hostnames
from telemetry_server.store.queries import load
from telemetry_server.store.watermarks import reach, reached
from telemetry_server.uuid7 import LOWEST

SQL = load(__name__)

MOST_DAYS_WITHOUT_A_RUN = 2

ERASE_ADDRESSES = "erase addresses"
_OVERLAP = timedelta(days=2)
_DAY = timedelta(days=1)
_BATCH = 2_000
_SECONDS = 3_600


async def shorten_addresses(connection: Connection, now: datetime, keep_days: int) -> int:
    """Shortens addresses older than `keep_days` to their /24 or /48; returns the number of changed rows."""
    until = now - timedelta(days=keep_days)
    changed = await _day_by_day(connection, JobName.SHORTEN_ADDRESSES, "shorten", until)
    for table in ("installation", "fork", "lineage"):
        changed += await connection.fetchval(SQL[f"shorten_{table}_addresses"], until, timeout=_SECONDS)
    await forget_hostnames(connection)
    return changed


async def erase_addresses(connection: Connection, now: datetime) -> int:
    """Deletes all addresses, short and full, received up to `now`; returns the number of changed rows."""
    changed = await _day_by_day(connection, ERASE_ADDRESSES, "erase", now)
    last: UUID | None = LOWEST
    while last is not None:  # in batches: the writer waits for these rows
        async with connection.transaction():
            await lock_in_order(connection)
            row = await connection.fetchrow(
                SQL["erase_installation_addresses"], last, _BATCH, timeout=_SECONDS
            )
        last, changed = row["last"], changed + row["count"]
    for table in ("fork", "lineage"):
        changed += await connection.fetchval(SQL[f"erase_{table}_addresses"], timeout=_SECONDS)
    await forget_hostnames(connection)
    return changed


async def _day_by_day(connection: Connection, mark: str, verb: str, until: datetime) -> int:
    """Shortens or erases the addresses of pings and timeline between the watermark and `until`."""
    done_until = await reached(connection, mark)
    first = (
        min(done_until, until) - _OVERLAP if done_until else await connection.fetchval(SQL["oldest_address"])
    )
    at, changed = first or until, 0
    while at < until:
        end = min(at + _DAY, until)
        for table in ("ping", "change"):
            changed += await connection.fetchval(SQL[f"{verb}_{table}_addresses"], at, end, timeout=_SECONDS)
        await reach(connection, mark, end)
        at = end
    return changed


async def retention_problem(connection: Connection, now: datetime) -> str | None:
    """Why addresses may be kept longer than the setting says; None: they are not."""
    run = await connection.fetchrow(SQL["last_run"], JobName.SHORTEN_ADDRESSES)
    if run["last_error"]:
        return f'the job "{JobName.SHORTEN_ADDRESSES}" failed'
    if run["last_finished_at"] and is_future(run["last_finished_at"], now):
        return f'the job "{JobName.SHORTEN_ADDRESSES}" last ran by a clock that was ahead'
    if now - (run["last_finished_at"] or run["made_at"]) > timedelta(days=MOST_DAYS_WITHOUT_A_RUN):
        when = f"on {run['last_finished_at']:%Y-%m-%d}" if run["last_finished_at"] else "never"
        return f'the job "{JobName.SHORTEN_ADDRESSES}" last ended {when}'
    return None
