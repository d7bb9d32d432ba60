"""How far a job has come, by the server's clock: what it saw need not be seen again."""

from datetime import datetime

from telemetry_server.store.database import Connection
from telemetry_server.store.queries import load

SQL = load(__name__)


async def reached(connection: Connection, name: str) -> datetime | None:
    """Up to when the job has seen what there was; None before its first run."""
    reached_at: datetime | None = await connection.fetchval(SQL["reached"], name)
    return reached_at


async def reach(connection: Connection, name: str, reached_at: datetime) -> None:
    """From now on, it has seen that up to then."""
    await connection.execute(SQL["reach"], name, reached_at)
