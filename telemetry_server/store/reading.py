"""Queries for people: each has a time limit, and errors that say what to do."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg

from telemetry_server.errors import Unavailable
from telemetry_server.store.database import Connection, Pool, cut_after, translated

SECONDS = 5.0


class TooSlow(Unavailable):
    """This question takes longer than the server allows; narrow it down and ask again."""

    code = "too_slow"


@asynccontextmanager
async def reading(pool: Pool, seconds: float = SECONDS) -> AsyncIterator[Connection]:
    """A read-only transaction with a limit of `seconds` for each statement, and of three times that in all.

    Raises TooSlow, or Unavailable if PostgreSQL is away or hangs.
    """
    async with translated():
        try:
            async with (
                pool.acquire(timeout=seconds) as connection,
                cut_after(connection, 3 * seconds),
                connection.transaction(readonly=True),
            ):
                await connection.execute(
                    # Filters that are not asked for are NULL: only a custom plan leaves their conditions out.
                    "SELECT set_config('plan_cache_mode', 'force_custom_plan', true),"
                    " set_config('statement_timeout', $1, true)",
                    f"{seconds * 1000:.0f}ms",
                )
                yield connection
        except asyncpg.QueryCanceledError as error:
            raise TooSlow from error


async def read_rows(pool: Pool, statement: str, *arguments: Any) -> list[dict[str, Any]]:
    """The rows of one statement as dictionaries. Raises TooSlow or Unavailable."""
    async with reading(pool) as connection:
        return [dict(row) for row in await connection.fetch(statement, *arguments)]
