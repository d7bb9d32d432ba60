"""What the DNS says of addresses, for as long as the addresses are kept in full."""

from collections.abc import Mapping
from datetime import datetime
from uuid import UUID

from telemetry_server.store.database import Connection
from telemetry_server.store.json_rows import as_json
from telemetry_server.store.queries import load

SQL = load(__name__)


async def unknown_hostnames(
    connection: Connection, nameless_before: datetime, named_before: datetime, limit: int
) -> dict[str, UUID]:
    """At most `limit` addresses to look up, each with an installation that has it, the newest first.

    An address that had no name is asked for again when that was before one moment, one that had a name
    when that was before the other.
    """
    rows = await connection.fetch(SQL["unknown_hostnames"], nameless_before, named_before, limit)
    found: dict[str, UUID] = {}
    for row in rows:
        found.setdefault(row["address"], row["installation_id"])
    return found


async def keep_hostnames(
    connection: Connection,
    names: Mapping[str, str | None],
    asked_for: Mapping[str, UUID],
    now: datetime,
) -> None:
    """Keeps the names by address; None: it has none."""
    rows = [
        {"installation_id": asked_for[address], "address": address, "hostname": name}
        for address, name in names.items()
    ]
    await connection.execute(SQL["keep_hostnames"], as_json(rows), now)


async def forget_hostnames(connection: Connection) -> int:
    """Removes the names of addresses that no installation has in full any more; gives how many."""
    count: int = await connection.fetchval(SQL["forget_hostnames"], timeout=3600)
    return count
