"""The job that ends expired grants. Their keys are files, which each server destroys by itself."""

from datetime import datetime

from telemetry_server.store.database import Connection
from telemetry_server.support import store


async def forget_support_grants(connection: Connection, now: datetime) -> str:
    emptied, removed = await store.forget_expired(connection, now)
    return f"erased the content of {emptied} expired grants, removed {removed} old ones"
