"""News of installations: what they are now, and what changed, follows from the pings that are committed.

The writer notes news right after the group that brought them was committed, before it answers. If it dies
in between, nothing is lost: the job "catch up" notes them from the same rows.
"""

from collections.abc import Collection
from uuid import UUID

import asyncpg

from telemetry_server.store.queries import load

SQL = load("news")

BATCH = 1_000


async def note_news(connection: asyncpg.Connection, installations: Collection[UUID]) -> None:
    """Brings the present facts and the timeline of these installations up to their newest ping."""
    await connection.execute(SQL["note_news"], list(installations))


async def catch_up(connection: asyncpg.Connection) -> int:
    """Notes what was not noted; gives of how many installations."""
    noted: set[UUID] = set()
    while behind := {row[0] for row in await connection.fetch(SQL["fallen_behind"], BATCH)} - noted:
        await note_news(connection, sorted(behind))
        noted |= behind
    return len(noted)
