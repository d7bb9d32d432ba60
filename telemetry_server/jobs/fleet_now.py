"""The job "count the fleet": the present counts of a large fleet, for the overview."""

from datetime import datetime, timedelta

from telemetry_server.check.ranges import LONGEST_FIRST
from telemetry_server.job_names import JobName
from telemetry_server.jobs.days import LARGE_WAITS
from telemetry_server.store.counts import fleet_now, rollups
from telemetry_server.store.counts.fleet_now import SMALL
from telemetry_server.store.database import Connection
from telemetry_server.store.job_log import Run
from telemetry_server.store.watermarks import reached


def count_the_fleet(small: int = SMALL, large_waits: timedelta = LARGE_WAITS) -> Run:
    async def run(connection: Connection, now: datetime) -> str:
        if not await fleet_now.is_large(connection, small):
            async with rollups.counting(connection, JobName.COUNT_THE_FLEET):
                await fleet_now.forget(connection)
            return "the fleet is small and counted for each question"
        counted_at = await reached(connection, JobName.COUNT_THE_FLEET)
        if counted_at is not None and now - large_waits < counted_at <= now:
            return f"counted at {counted_at:%H:%M} UTC"
        async with rollups.counting(connection, JobName.COUNT_THE_FLEET):
            begins = [over.since(now) for over in LONGEST_FIRST]
            hours_since = LONGEST_FIRST[-1].first_step(now)
            await fleet_now.count(connection, begins, hours_since, now)
        return "counted the fleet again"

    return run
