"""The job "roll up days": the days of the fleet and of features, counted from those of installations.

A changed day is counted as a whole, and replaced, in one transaction. The present day changes all the time:
that of a small fleet is counted at each run of the job, that of a large one after LARGE_WAITS.
"""

from datetime import datetime, timedelta

from telemetry_server.check.fields import Registry
from telemetry_server.job_names import JobName
from telemetry_server.jobs.kept_days import open_days
from telemetry_server.store.clock import believable
from telemetry_server.store.counts import rollups
from telemetry_server.store.counts.fleet_now import SMALL
from telemetry_server.store.counts.rollups import Open
from telemetry_server.store.database import Connection
from telemetry_server.store.job_log import Run

LARGE_WAITS = timedelta(minutes=5)


def roll_up_days(registry: Registry, large_waits: timedelta = LARGE_WAITS) -> Run:
    async def run(connection: Connection, now: datetime) -> str:
        today = (await believable(connection, now)).date()  # by a clock far ahead, no day would be open
        days = await open_days(connection, registry, today)
        count = await roll_up_due(connection, days, now - large_waits)
        return f"counted {count} days of products again"

    return run


async def roll_up_due(connection: Connection, days: Open, due_before: datetime) -> int:
    """Counts the due days, large ones if due since `due_before`; returns their number."""
    count = 0
    for day, products in await rollups.due_days(connection, due_before, SMALL):
        async with rollups.counting(connection, JobName.ROLL_UP_DAYS):
            await rollups.roll_up_day(connection, day, products, days)
        count += len(products)
    return count
