"""Runs jobs and chores periodically. The job table is in `app.py`.

A *job* runs for the whole deployment: under an advisory lock, idempotent, also by hand with
"telemetry-server run JOB". A *chore* belongs to one server process, such as to refresh a cache.
"""

import asyncio
import math
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from telemetry_server.errors import Unavailable
from telemetry_server.job_names import JobName
from telemetry_server.logs import Severity, log, log_rationed
from telemetry_server.store.clock import TOLERANCE, ClockDoubt, lead
from telemetry_server.store.database import Acquire, translated
from telemetry_server.store.job_log import Run, run_locked

_RETRY_SECONDS = 5
_GLANCE_SECONDS = 5
"""The interval at which a sleeping job checks whether the clock was set."""


@dataclass(frozen=True, slots=True)
class Job:
    """Work for the whole deployment, at the interval `every`. `run` returns a sentence on what it did."""

    name: JobName
    run: Run
    every: timedelta


@dataclass(frozen=True, slots=True)
class Chore:
    """Work of one process, at the interval `every`."""

    name: str
    run: Callable[[], Awaitable[object]]
    every: timedelta


async def run_job(job: Job, acquire: Acquire, *, only_if_due: bool = False) -> str | None:
    """Runs the job now; None if another process runs it, or if it is not due."""
    due_after = job.every if only_if_due else timedelta(0)
    return await run_locked(acquire, job.name, job.run, now=datetime.now(UTC), due_after=due_after)


@asynccontextmanager
async def running(jobs: Sequence[Job], chores: Sequence[Chore], acquire: Acquire) -> AsyncIterator[None]:
    """Runs jobs and chores in the background until the block is left."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(_repeat(job.name, job.every, _due(job, acquire))) for job in jobs]
        tasks += [group.create_task(_repeat(chore.name, chore.every, chore.run)) for chore in chores]
        tasks.append(group.create_task(_watch_the_clock()))
        yield
        for task in tasks:
            task.cancel()


def _due(job: Job, acquire: Acquire) -> Callable[[], Awaitable[object]]:
    async def due() -> None:
        async with translated():
            await run_job(job, acquire, only_if_due=True)

    return due


async def _repeat(name: str, every: timedelta, run: Callable[[], Awaitable[object]]) -> None:
    """Runs at once, then at the interval `every`; retries soon after failures. Logs a doubtful clock once.

    Checks for its cancellation, which the driver may turn into another error.
    """
    task, in_doubt = asyncio.current_task(), False
    while task and not task.cancelling():
        pause = every.total_seconds()
        try:
            await run()
            in_doubt = False
        except ClockDoubt as doubt:
            if not in_doubt:
                log("clock in doubt", Severity.ERROR, job=name, error=doubt.detail)
            pause, in_doubt = min(pause, _RETRY_SECONDS), True
        except Unavailable as error:  # all jobs fail at each try until PostgreSQL is back
            cause = {"cause": type(error.__cause__).__name__} if error.__cause__ else {}
            log_rationed("job waits", Severity.ERROR, job=name, error=error.detail, **cause)
            pause = min(pause, _RETRY_SECONDS)
        except Exception as error:  # noqa: BLE001  a failed job must not stop the others
            log("job failed", Severity.ERROR, job=name, error=f"{type(error).__name__}: {error}")
            pause = min(pause, _RETRY_SECONDS)
        if not task.cancelling():
            await _sleep(pause * random.uniform(0.9, 1.1))  # noqa: S311  spreads several servers


async def _sleep(seconds: float) -> timedelta:
    """Sleeps until the clock is set, as other jobs are due then; returns by how much it was set."""
    until, before, jump = time.monotonic() + seconds, lead(datetime.now(UTC)), timedelta(0)
    while abs(jump) <= TOLERANCE and (left := until - time.monotonic()) > 0:
        await asyncio.sleep(min(left, _GLANCE_SECONDS))
        jump = lead(datetime.now(UTC)) - before
    return jump


async def _watch_the_clock() -> None:
    """Logs when the clock is set while the process runs."""
    while True:
        jump = await _sleep(math.inf)
        log("clock jumped", Severity.WARNING, seconds=round(jump.total_seconds()))
