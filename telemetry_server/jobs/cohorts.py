"""The job "roll up cohorts": by week, how many installations of each cohort are still active."""

from datetime import date, datetime, timedelta

from telemetry_server.check.fields import Registry
from telemetry_server.job_names import JobName
from telemetry_server.jobs.kept_days import open_days
from telemetry_server.store.counts import rollups
from telemetry_server.store.database import Connection
from telemetry_server.store.job_log import Run


def roll_up_cohorts(registry: Registry) -> Run:
    async def run(connection: Connection, now: datetime) -> str:
        days = await open_days(connection, registry, now.date())
        count = await roll_up_due_weeks(connection, days.pings_from, now.date())
        return f"counted {count} weeks again"

    return run


async def roll_up_due_weeks(connection: Connection, first_day: date, today: date) -> int:
    """Counts the due weeks that have all their days; returns their number."""
    first = first_day + timedelta(days=-first_day.weekday() % 7)  # the first Monday from then on
    weeks = await rollups.due_weeks(connection, today, first)
    for week in weeks:
        async with rollups.counting(connection, JobName.ROLL_UP_COHORTS):
            await rollups.roll_up_week(connection, week, first)
    return len(weeks)
