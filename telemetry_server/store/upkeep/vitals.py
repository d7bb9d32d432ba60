"""The state of PostgreSQL, of the quarantine and of jobs, for "doctor" and readiness."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from telemetry_server.store.database import Connection
from telemetry_server.store.job_log import SQL as JOB_LOG
from telemetry_server.store.queries import load

SQL = load(__name__)

_LONGEST_INTERVAL = timedelta(days=2)
"""A failed job is retried sooner than this."""
_GRACE = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class Schedule:
    """The interval of each job, and since when this process can observe it."""

    every: Mapping[str, timedelta]
    since: datetime
    began: float = field(default_factory=time.monotonic)

    def waits_since(self, ended: datetime | None, now: datetime) -> datetime:
        """Since when a job waits whose last good run ended at `ended`. Future times do not count."""
        up_since = now - timedelta(seconds=time.monotonic() - self.began)
        times = (self.since if self.since <= now else up_since, ended)
        return max(moment for moment in times if moment is not None and moment <= now + _GRACE)


async def durability(connection: Connection) -> dict[str, str]:
    """The settings that durability depends on: fsync, full_page_writes, synchronous_commit."""
    return dict(await connection.fetch(SQL["durability"]))


async def quarantined(connection: Connection) -> int:
    """Number of pings in quarantine."""
    return int(await connection.fetchval(SQL["quarantined"]))


async def pings_between(connection: Connection, since: datetime, until: datetime) -> int:
    """Number of pings received from `since` until before `until`."""
    return int(await connection.fetchval(SQL["pings_between"], since, until))


async def last_runs(connection: Connection) -> dict[str, Any]:
    """Each job's row by its name: last_started_at, last_finished_at, last_error."""
    return {row["name"]: row for row in await connection.fetch(JOB_LOG["all_jobs"])}


async def failing_jobs(connection: Connection, now: datetime) -> list[str]:
    """The names of the jobs whose last run failed; those of jobs that no longer exist for two days."""
    rows = await connection.fetch(JOB_LOG["failing_jobs"], now - _LONGEST_INTERVAL)
    return [row["name"] for row in rows]


async def late_jobs(connection: Connection, schedule: Schedule, now: datetime) -> list[str]:
    """The names of the jobs whose last good run ended more than about three intervals ago.

    Any role that may connect can hold a job's advisory lock: the job does not run then, without an error.
    """
    ended = {name: row["last_finished_at"] for name, row in (await last_runs(connection)).items()}
    return [
        name
        for name, every in schedule.every.items()
        if now - schedule.waits_since(ended.get(name), now) > 3 * every + _GRACE
    ]
