"""How people's questions are read: a bounded time for each, and errors they can act on."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import ClassVar

import asyncpg

from telemetry_server.errors import Unavailable
from telemetry_server.store.database import Connection, Pool, translated

SECONDS = 5.0


class TooSlow(Unavailable):
    """This question takes longer than the server allows; narrow it down and ask again."""

    code: ClassVar[str] = "too_slow"


@asynccontextmanager
async def reading(pool: Pool, seconds: float = SECONDS) -> AsyncIterator[Connection]:
    """A read-only transaction, each statement of which may take `seconds`.

    Raises TooSlow, or Unavailable when PostgreSQL is away.
    """
    async with translated():
        try:
            async with pool.acquire(timeout=seconds) as connection, connection.transaction(readonly=True):
                await connection.execute(
                    # The filters a question leaves out are NULL: only a plan made for these very values
                    # knows which conditions are none.
                    "SELECT set_config('plan_cache_mode', 'force_custom_plan', true),"
                    " set_config('statement_timeout', $1, true)",
                    f"{seconds * 1000:.0f}ms",
                )
                yield connection
        except asyncpg.QueryCanceledError as error:
            raise TooSlow from error
