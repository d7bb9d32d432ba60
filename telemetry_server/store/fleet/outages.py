"""When nobody could report, as far as the pings tell."""

from datetime import datetime

from telemetry_server.enrich.lifecycle import Outage
from telemetry_server.store.database import Connection
from telemetry_server.store.fleet.installations import ANCIENT
from telemetry_server.store.queries import load

SQL = load(__name__)


async def outages(connection: Connection) -> list[Outage]:
    """All that were noted, by their beginning; they may overlap."""
    return [(row["began_at"], row["ended_at"]) for row in await connection.fetch(SQL["outages"])]


async def note_outage(connection: Connection, outage: Outage) -> None:
    """Keeps the outage, or how long it is by now."""
    await connection.execute(SQL["note_outage"], *outage)


async def last_ping(connection: Connection, until: datetime, after: datetime = ANCIENT) -> datetime | None:
    """When the newest ping of anybody came, of those after one moment and up to another."""
    received_at: datetime | None = await connection.fetchval(SQL["last_ping"], after, until)
    return received_at


async def next_ping(connection: Connection, after: datetime, until: datetime) -> datetime | None:
    """When the oldest of them came."""
    received_at: datetime | None = await connection.fetchval(SQL["next_ping"], after, until)
    return received_at


async def awaited(connection: Connection, since: datetime, until: datetime, most: int) -> int:
    """How many copies should have called between the two, and have not since; counts to `most`."""
    count: int = await connection.fetchval(SQL["awaited"], since, until, most)
    return count


async def look_again(connection: Connection, since: datetime, now: datetime) -> None:
    """Whoever was found late or lost since then is due for a look now."""
    await connection.execute(SQL["look_again"], since, now)
