"""The jobs that make partitions, and project what the writer could not."""

from datetime import datetime

from telemetry_server.store import partitions
from telemetry_server.store.database import Connection
from telemetry_server.store.ingest import projection


async def make_partitions(connection: Connection, now: datetime) -> str:
    made = await partitions.make_partitions(connection, now.date())
    return f"made {', '.join(f'{month:%Y-%m}' for month in made)}" if made else "all partitions are there"


async def catch_up(connection: Connection, _: datetime) -> str:
    projected, filled = await projection.catch_up(connection), await projection.fill_added(connection)
    return f"projected {projected} installations" + (f", filled columns of {filled}" if filled else "")
