"""The database of a command: the operator's own, or the embedded one beside whoever else uses it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, nullcontext, suppress
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from telemetry_server.cli.output import say
from telemetry_server.errors import MigrationError
from telemetry_server.job_names import JobName
from telemetry_server.jobs.upkeep import make_partitions
from telemetry_server.settings import Settings
from telemetry_server.store.connection_budget import connections_wanted
from telemetry_server.store.database import Connection, operator_connection
from telemetry_server.store.embedded.attachment import START_TIMEOUT_SECONDS, attached
from telemetry_server.store.job_log import run_locked
from telemetry_server.store.migrate import Migration, migrate, released_migrations, still_pending

Answer = TypeVar("Answer")
Say = Callable[[str], None]


@asynccontextmanager
async def database(
    settings: Settings,
    *,
    say: Say = say,
    keep_alive: bool = False,
    start_timeout: float = START_TIMEOUT_SECONDS,
) -> AsyncIterator[str]:
    """The database's address, good while the block lasts; starts the embedded PostgreSQL if need be.

    With `keep_alive`, the embedded one is started again whenever it dies. Raises EmbeddedError, one of them
    after `start_timeout` seconds.
    """
    if settings.database_url:
        yield settings.database_url
        return
    async with attached(
        settings.data,
        major=settings.postgres_major,
        database_user=settings.database_user,
        start_timeout=start_timeout,
        connections=connections_wanted(settings.workers, settings.writer_lanes),
        say=say,
    ) as postgres:
        keeper = asyncio.create_task(postgres.keep_alive()) if keep_alive else None
        try:
            yield postgres.dsn
        finally:
            if keeper is not None:
                keeper.cancel()
                with suppress(asyncio.CancelledError):
                    await keeper


@asynccontextmanager
async def connection(settings: Settings) -> AsyncIterator[Connection]:
    """A connection to a database of this version; a new embedded one becomes so.

    Raises DatabaseUnreachable, EmbeddedError or MigrationError.
    """
    async with database(settings) as dsn, operator_connection(dsn) as opened:
        pending = await still_pending(opened, say)
        if pending and (settings.database_url or len(pending) < len(released_migrations())):
            raise MigrationError(
                f"The database lacks {len(pending)} of this version's migrations. "
                "Run: telemetry-server migrate"
            )
        if pending:
            await bring_up(opened)
        yield opened


def ask(settings: Settings, work: Callable[[Connection], Awaitable[Answer]]) -> Answer:
    """What `work` gives when it is called with a connection; raises as `connection`."""

    async def opened() -> Answer:
        async with connection(settings) as open_connection:
            return await work(open_connection)

    return asyncio.run(opened())


async def bring_up(connection: Connection, say: Say = lambda _: None) -> list[Migration]:
    """Migrates the database and makes its partitions; gives what ran. Safe for several at once."""
    ran = await migrate(connection, say=say)
    await run_locked(
        lambda: nullcontext(connection),
        JobName.MAKE_PARTITIONS,
        make_partitions,
        now=datetime.now(UTC),
        due_after=timedelta(0),
    )
    return ran
