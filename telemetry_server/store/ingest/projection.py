"""The projection of committed pings: the present state of installations, and their timeline.

The writer projects after it has committed a group, before it answers. If it is killed in between, nothing is
lost: the job "catch up" projects the same rows.
"""

from collections.abc import Sequence
from functools import partial
from uuid import UUID

from telemetry_server.logs import Severity, log
from telemetry_server.store.database import Connection
from telemetry_server.store.dimensions import ADDED, PROJECTED
from telemetry_server.store.halving import halving
from telemetry_server.store.ingest.shard_cache import ShardCache
from telemetry_server.store.queries import fill, load
from telemetry_server.uuid7 import LOWEST

SQL = load(__name__)
_PROJECT = fill(
    SQL["project"],
    values=", ".join(f"{value} AS {column}" for column, value in PROJECTED.items()),
    columns=", ".join(PROJECTED),
    new=", ".join(f"n.{column}" for column in PROJECTED),
    excluded=", ".join(f"excluded.{column}" for column in PROJECTED),
)
_FILL_ADDED = fill(
    SQL["fill_added"],
    lacking=" OR ".join(f"f.{one.column} IS NULL" for one in ADDED) or "FALSE",
    columns=", ".join(one.column for one in ADDED) or "license_status",
    filled=", ".join(one.state or "" for one in ADDED) or "f.license_status",
)

BATCH = 1_000


async def project(
    connection: Connection, installations: Sequence[UUID], shards: ShardCache | None = None
) -> None:
    """Updates the present facts and the timeline of these installations to their newest ping.

    `shards`: those of a cluster, if one node has all of these installations.
    """
    if shards is None or not await shards.find(connection, installations):
        await connection.execute(_PROJECT, installations)
        return
    await shards.run(
        connection,
        _PROJECT,
        installations,
        lambda part: ["{" + ",".join(map(str, part)) + "}"],
        has_rows=False,
    )


async def fill_added(connection: Connection) -> int:
    """Fills the columns that later migrations added; returns the number of installations filled."""
    filled, last = 0, LOWEST
    while found := [row["installation_id"] for row in await connection.fetch(_FILL_ADDED, last, BATCH)]:
        filled, last = filled + len(found), max(found)
    return filled


async def catch_up(connection: Connection) -> int:
    """Projects what the writer could not; returns the number of installations. Failures are logged."""
    projected, last = 0, LOWEST
    while rows := await connection.fetch(SQL["fallen_behind"], last, BATCH):
        behind = [row["installation_id"] for row in rows]
        for part, error in await halving(behind, partial(project, connection), blames=lambda _: True):
            if error is None:
                projected += len(part)
            else:
                log("ping not projected", Severity.ERROR, installation=str(part[0]), error=str(error)[:500])
        last = behind[-1]
    return projected
