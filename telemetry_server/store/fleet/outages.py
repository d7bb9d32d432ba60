"""Outages, in which no copy could report, as far as the pings show."""

from datetime import datetime

from telemetry_server.enrich.lifecycle import Outage
from telemetry_server.store.database import Connection, lock_in_order
from telemetry_server.store.fleet.installations import ANCIENT
from telemetry_server.store.queries import load

SQL = load(__name__)


async def outages(connection: Connection) -> list[Outage]:
    """All recorded outages, by their beginning; they may overlap."""
    return [(row["began_at"], row["ended_at"]) for row in await connection.fetch(SQL["outages"])]


async def note_outage(connection: Connection, outage: Outage) -> None:
    """Records the outage; one that began at the same moment is extended."""
    await connection.execute(SQL["note_outage"], *outage)


async def last_ping(connection: Connection, until: datetime, after: datetime = ANCIENT) -> datetime | None:
    """When the newest ping was received, of those after `after` and up to `until`."""
    received_at: datetime | None = await connection.fetchval(SQL["last_ping"], after, until)
    return received_at


async def next_ping(connection: Connection, after: datetime, until: datetime) -> datetime | None:
    """When the oldest of these was received."""
    received_at: datetime | None = await connection.fetchval(SQL["next_ping"], after, until)
    return received_at


async def awaited(connection: Connection, since: datetime, until: datetime, most: int) -> int:
    """Number of copies, up to `most`, that were due to report between the two moments and have not since."""
    return int(await connection.fetchval(SQL["awaited"], since, until, most))


async def look_again(connection: Connection, since: datetime, now: datetime) -> None:
    """Makes the installations due now whose lifecycle became late or lost since then."""
    async with connection.transaction():
        await lock_in_order(connection)
        await connection.execute(SQL["look_again"], since, now)
