"""The job "list what to clear up": doubts about licenses, keys and identities become items for people."""

from datetime import datetime

from telemetry_server.job_names import JobName
from telemetry_server.store.database import Connection
from telemetry_server.store.fleet.clear_up import list_doubts
from telemetry_server.store.watermarks import reach


async def list_what_to_clear_up(connection: Connection, now: datetime) -> str:
    """Opens items for new facts, and closes those whose facts are gone."""
    counts = await list_doubts(connection, now)
    await reach(connection, JobName.LIST_WHAT_TO_CLEAR_UP, now)
    return f"opened {counts['opened']}, updated {counts['updated']} and closed {counts['closed']} items"
