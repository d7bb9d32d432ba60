"""Connections to PostgreSQL, with the settings that all others rely on."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager, suppress
from typing import Any, TypeAlias, TypeVar

import asyncpg

from telemetry_server.errors import OperatorError, OutOfFiles, Unavailable
from telemetry_server.store.queries import load

SQL = load(__name__)

Connection: TypeAlias = asyncpg.Connection
Pool: TypeAlias = asyncpg.Pool
Connect: TypeAlias = Callable[[], Awaitable[Connection]]
Setup: TypeAlias = Callable[[Connection], Awaitable[None]]
Acquire: TypeAlias = Callable[[], AbstractAsyncContextManager[Connection]]

Found = TypeVar("Found")

OLDEST_MAJOR = 15
AWAY = (
    OSError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # the driver's error when a connection is lost while a transaction ends
    asyncpg.CannotConnectNowError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.ReadOnlySQLTransactionError,
    TimeoutError,
)

CUT_SECONDS = 10

POOL_SIZE = 4
"""Connections shared by pages, enrolments, the shop and the chores of a process."""

_SESSION = {
    "application_name": "telemetry-server",
    "timezone": "UTC",
    "jit": "off",
    "synchronous_commit": "on",  # an acknowledged ping is on disk, also where the server's default is off
}


class DatabaseUnreachable(OperatorError):
    """PostgreSQL cannot be reached."""

    exit_code = 4


async def connect(dsn: str, *, patience: float = 30, **settings: str) -> asyncpg.Connection:
    """One connection; the default timeout of a statement is `patience` seconds.

    Raises the errors of asyncpg; those in AWAY mean that PostgreSQL is away.
    """
    connection = await asyncpg.connect(
        dsn, timeout=5, command_timeout=patience, server_settings=_SESSION | settings
    )
    with ExitStack() as on_failure:
        on_failure.callback(connection.terminate)
        await _settle(connection)
        on_failure.pop_all()
    return connection


async def _settle(connection: asyncpg.Connection) -> None:
    await connection.execute(SQL["on_citus"])


async def connect_writer(dsn: str) -> asyncpg.Connection:
    """A connection for the group writer: on one machine it has one plan for groups of any size.

    It finds every row by its key; a plan made while the tables were small must not scan them later.
    PostgreSQL times out before the writer does, so that no abandoned attempt continues.
    """
    return await connect(
        dsn,
        plan_cache_mode="force_generic_plan",
        enable_seqscan="off",
        lock_timeout="3s",
        statement_timeout="9s",
    )


@asynccontextmanager
async def operator_connection(dsn: str, *, patience: float = 600) -> AsyncIterator[asyncpg.Connection]:
    """A connection for a command, which waits for a slow disk. Raises DatabaseUnreachable with advice."""
    try:
        connection = await connect(dsn, patience=patience)
    except (*AWAY, asyncpg.PostgresError, ValueError) as error:
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise DatabaseUnreachable(
            f"PostgreSQL cannot be reached ({reason}). {_advice_on_connecting(error)}"
        ) from error
    try:
        yield connection
    finally:
        with suppress(*AWAY):  # the driver cuts it then; an error raised before is the one that matters
            await connection.close(timeout=2)


def _advice_on_connecting(error: Exception) -> str:
    match error:
        case asyncpg.InvalidCatalogNameError():
            return "Correct its name, or run: CREATE DATABASE … OWNER … ENCODING 'UTF8' TEMPLATE template0;"
        case asyncpg.InvalidAuthorizationSpecificationError():  # includes a wrong password
            return "Check user and password in TELEMETRY_DATABASE_URL, and who may connect (pg_hba.conf)."
        case asyncpg.InsufficientPrivilegeError():
            return "Run as the owner of the database: GRANT CONNECT ON DATABASE … TO …;"
        case asyncpg.TooManyConnectionsError():
            return "Other programs hold its connections: end some, or raise max_connections."
    return "Check TELEMETRY_DATABASE_URL and that the server runs."


def make_pool(
    dsn: str, *, size: int = POOL_SIZE, patience: float = 30, setup: Setup | None = None
) -> asyncpg.Pool:
    """A pool of connections; an async context manager. Jobs hold theirs long and have another pool.

    `setup` is called with each connection before it is given out; what it sets is reset afterwards.

    Opens a connection when one is needed; the default timeout of a statement is `patience` seconds. Call it
    where the event loop runs.
    """
    return asyncpg.create_pool(
        dsn,
        min_size=0,
        max_size=size,
        timeout=5,
        command_timeout=patience,
        init=_settle,
        setup=setup,
        server_settings=_SESSION | {"idle_in_transaction_session_timeout": "30s"},
    )


async def lock_in_order(connection: Connection) -> None:
    """Until the transaction ends, rows are locked in the order of the list that a statement joins.

    That is the order of the writer: no deadlocks. Citus writes to shards at once, and ends deadlocks.
    """
    await connection.execute(SQL["find_one_by_one"])


@asynccontextmanager
async def cut_when_leaving(*pools: asyncpg.Pool) -> AsyncIterator[None]:
    """Cuts the connections of these pools CUT_SECONDS after the block.

    The driver waits for PostgreSQL even to cancel a query: a hung one must not delay the shutdown.
    """
    yield
    for pool in pools:
        asyncio.get_running_loop().call_later(CUT_SECONDS, pool.terminate)


@asynccontextmanager
async def cut_after(connection: asyncpg.Connection, seconds: float) -> AsyncIterator[None]:
    """Cuts the connection if the block takes longer; a query in it then raises one of AWAY at once."""
    cut = asyncio.get_running_loop().call_later(seconds, connection.terminate)
    try:
        yield
    finally:
        cut.cancel()


async def answered(query: Coroutine[Any, Any, Found], seconds: float) -> Found:
    """The result of the query. Raises Unavailable if there is none after `seconds`.

    `asyncio.timeout` would wait for the cancellation, for which the driver waits for PostgreSQL.
    """
    task = asyncio.create_task(query)
    try:
        await asyncio.wait({task}, timeout=seconds)
        if task.done():
            return task.result()
        raise Unavailable("PostgreSQL does not answer; try again in a moment.")
    finally:
        task.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
        task.cancel()


@asynccontextmanager
async def translated() -> AsyncIterator[None]:
    """Turns the errors that mean PostgreSQL is away into Unavailable, or OutOfFiles."""
    try:
        yield
    except AWAY as error:
        if OutOfFiles.means(error):
            raise OutOfFiles from error
        raise Unavailable("PostgreSQL is away; try again in a moment.") from error
