"""The job "count the fleet": what a large fleet is now, for those who look at it as a whole."""

from datetime import datetime

from telemetry_server.check.ranges import LONGEST_FIRST
from telemetry_server.job_names import JobName
from telemetry_server.jobs.days import LARGE_WAITS, SMALL
from telemetry_server.jobs.runner import Run
from telemetry_server.store.counts import fleet_now, rollups
from telemetry_server.store.database import Connection


def count_the_fleet(small: int = SMALL) -> Run:
    async def run(connection: Connection, now: datetime) -> str:
        if not await fleet_now.is_large(connection, small):
            async with rollups.counting(connection, JobName.COUNT_THE_FLEET):
                await fleet_now.forget(connection)
            return "the fleet is small and counted when somebody asks"
        counted_at = await fleet_now.counted_at(connection)
        if counted_at is not None and now - LARGE_WAITS < counted_at <= now:
            return f"counted at {counted_at:%H:%M} UTC"
        async with rollups.counting(connection, JobName.COUNT_THE_FLEET):
            begins = [over.since(now) for over in LONGEST_FIRST]
            await fleet_now.count(connection, begins, begins[-1], now)
        return "counted the fleet anew"

    return run
