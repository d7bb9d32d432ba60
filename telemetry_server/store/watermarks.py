"""Watermarks: up to which moment, by the server's clock, a job has processed its input."""

from datetime import datetime

from telemetry_server.store.database import Connection
from telemetry_server.store.queries import load

SQL = load(__name__)


async def reached(connection: Connection, name: str) -> datetime | None:
    """The watermark of a job; None before its first run."""
    reached_at: datetime | None = await connection.fetchval(SQL["reached"], name)
    return reached_at


async def reach(connection: Connection, name: str, reached_at: datetime) -> None:
    """Sets the watermark of a job."""
    await connection.execute(SQL["reach"], name, reached_at)
