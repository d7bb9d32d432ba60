"""The names of addresses by DNS, kept as long as the full addresses are."""

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

    An address without a name is due again if looked up before `nameless_before`, one with a name if looked
    up before `named_before`.
    """
    rows = await connection.fetch(SQL["unknown_hostnames"], nameless_before, named_before, limit)
    found: dict[str, UUID] = {}
    for row in rows:
        found.setdefault(row["address"], row["installation_id"])
    return found


async def keep_hostnames(
    connection: Connection, names: Mapping[str, str | None], asked_for: Mapping[str, UUID], now: datetime
) -> None:
    """Stores the names by address; None: it has no name."""
    rows = [
        {"installation_id": asked_for[address], "address": address, "hostname": name}
        for address, name in names.items()
    ]
    await connection.execute(SQL["keep_hostnames"], as_json(rows), now)


async def forget_hostnames(connection: Connection) -> int:
    """Deletes the names of addresses that no installation has in full; returns their number."""
    return int(await connection.fetchval(SQL["forget_hostnames"], timeout=3600))
