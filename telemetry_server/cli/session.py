"""The database of a command: an external one, or the embedded one, shared with other processes."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, nullcontext, suppress
from datetime import UTC, datetime, timedelta
from typing import TypeVar
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from telemetry_server.cli.output import say
from telemetry_server.cli.recorded_commands import command_entry
from telemetry_server.errors import MigrationError
from telemetry_server.job_names import JobName
from telemetry_server.jobs.upkeep import make_partitions
from telemetry_server.settings import Settings
from telemetry_server.store.access import audit, audit_owner
from telemetry_server.store.connection_budget import connections_wanted
from telemetry_server.store.database import Connection, operator_connection
from telemetry_server.store.distribution import distribute, has_citus, is_distributed
from telemetry_server.store.embedded.attachment import START_TIMEOUT_SECONDS, attached
from telemetry_server.store.job_log import run_locked
from telemetry_server.store.migrate import (
    Migration,
    migrate,
    pending_migrations,
    released_migrations,
    still_pending,
)

Answer = TypeVar("Answer")
Say = Callable[[str], None]

SUPERUSER = "postgres"
_CREDENTIALS = {"user", "password", "passfile"}


@asynccontextmanager
async def database(
    settings: Settings,
    *,
    say: Say = say,
    keep_alive: bool = False,
    start_timeout: float = START_TIMEOUT_SECONDS,
) -> AsyncIterator[str]:
    """The URL of the database, valid within the block; starts the embedded PostgreSQL if necessary.

    With `keep_alive`, the embedded one is restarted when it dies. Raises EmbeddedError, also if the start
    takes more than `start_timeout` seconds.
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
    """A connection to a database of this version; a new embedded one is migrated.

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
            await bring_up(opened, superuser=superuser_of(settings, dsn))
        yield opened


def ask(settings: Settings, work: Callable[[Connection], Awaitable[Answer]]) -> Answer:
    """The result of `work`, called with a connection. Raises as `connection`.

    If the audit log records the command, the entry and a change are one transaction; a view comes after it.
    """

    async def opened() -> Answer:
        async with connection(settings) as open_connection:
            entry = command_entry()
            if entry is not None and entry.is_view:
                await audit.record(open_connection, entry)
            if entry is None or entry.is_view:
                return await work(open_connection)
            async with open_connection.transaction():
                await audit.record(open_connection, entry)
                return await work(open_connection)

    return asyncio.run(opened())


async def bring_up(
    connection: Connection, say: Say = lambda _: None, *, superuser: str | None
) -> list[Migration]:
    """Migrates the database and creates its partitions; returns the migrations that ran. Safe in parallel.

    In a cluster, the tables that the migrations created are distributed as well.
    `superuser`: the URL for the superuser of the embedded PostgreSQL, see `superuser_of`.
    """
    if superuser and await pending_migrations(connection):
        await audit_owner.give_back(superuser)
    ran = await migrate(connection, say=say)
    if ran and await has_citus(connection) and await is_distributed(connection):
        await distribute(connection, say=say)
    if superuser:
        await audit_owner.protect(superuser)
    await run_locked(
        lambda: nullcontext(connection),
        JobName.MAKE_PARTITIONS,
        make_partitions,
        now=datetime.now(UTC),
        due_after=timedelta(0),
    )
    return ran


def superuser_of(settings: Settings, dsn: str) -> str | None:
    """The URL of the database for the superuser of the embedded PostgreSQL; None for an external one."""
    return None if settings.database_url else as_user(dsn, SUPERUSER)


def as_user(dsn: str, name: str) -> str:
    """The URL of the same database for another role, without a password."""
    parts = urlsplit(dsn)
    query = [(key, value) for key, value in parse_qsl(parts.query) if key not in _CREDENTIALS]
    netloc = f"{quote(name)}@{parts.netloc.rpartition('@')[2]}"
    return parts._replace(netloc=netloc, query=urlencode(query, safe="/")).geturl()
