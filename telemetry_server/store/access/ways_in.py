"""The ways in which a person signs in, of which the last one is not removed."""

from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from uuid import UUID

from telemetry_server.errors import BadRequest
from telemetry_server.store.access import trail
from telemetry_server.store.database import Connection, Pool
from telemetry_server.store.queries import load

SQL = load(__name__)


class OnlyWayIn(BadRequest):
    """This is your only way to sign in. Add another one first."""

    code = "only_way_in"


@asynccontextmanager
async def keeping_one(
    database: Connection | Pool, person_id: UUID, issuers: Collection[str]
) -> AsyncIterator[Connection]:
    """A transaction that removes a way in. Raises OnlyWayIn, and removes nothing, if no other one is left.

    `issuers`: the configured providers. Of two removals at once, the second one sees what the first one left.
    """
    async with trail.transaction(database) as connection:
        await connection.execute(SQL["lock"], person_id)
        yield connection
        if not await connection.fetchval(SQL["has_one"], person_id, list(issuers)):
            raise OnlyWayIn
