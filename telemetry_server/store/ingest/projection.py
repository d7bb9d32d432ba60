"""News of installations: what they are now, and what changed, follows from the pings that are committed.

The writer notes news right after the group that brought them was committed, before it answers. If it dies
in between, nothing is lost: the job "catch up" notes them from the same rows.
"""

from collections.abc import Sequence
from uuid import UUID

import asyncpg

from telemetry_server.logs import Severity, log
from telemetry_server.store.queries import load
from telemetry_server.uuid7 import LOWEST

SQL = load(__name__)

BATCH = 1_000


async def note_news(connection: asyncpg.Connection, installations: Sequence[UUID]) -> None:
    """Brings the present facts and the timeline of these installations up to their newest ping."""
    await connection.execute(SQL["note_news"], installations)


async def catch_up(connection: asyncpg.Connection) -> int:
    """Notes what was not noted; gives of how many installations."""
    noted, last = 0, LOWEST
    while behind := [row[0] for row in await connection.fetch(SQL["fallen_behind"], last, BATCH)]:
        noted += await _note_what_can_be(connection, behind)
        last = behind[-1]
    return noted


async def _note_what_can_be(connection: asyncpg.Connection, installations: Sequence[UUID]) -> int:
    """Halves until the one that cannot be noted stands alone: it must not hold up the others."""
    try:
        await note_news(connection, installations)
    except asyncpg.PostgresError as error:
        if len(installations) == 1:
            log("news not noted", Severity.ERROR, installation=str(installations[0]), error=str(error)[:500])
            return 0
        half = len(installations) // 2
        first = await _note_what_can_be(connection, installations[:half])
        return first + await _note_what_can_be(connection, installations[half:])
    return len(installations)
