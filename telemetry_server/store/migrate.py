"""Migrations: forward only, one transaction each, under an advisory lock, with checksums.

The files `migrations/NNNN_name.sql` lead to what `schema.sql` shows whole. Servers that start at the same
time wait for each other. A file that changed after it ran and a database of a newer version are refused.

A file that begins with the line "-- outside a transaction" runs statement by statement, so that it can build
indexes beside writes (CREATE INDEX CONCURRENTLY IF NOT EXISTS). Each of its statements may be repeated: where
it was interrupted, the next start builds what is missing.
"""

import asyncio
import hashlib
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib import resources

import asyncpg

from telemetry_server.errors import MigrationError
from telemetry_server.store import visible
from telemetry_server.store.database import OLDEST_MAJOR, Connection
from telemetry_server.store.fitness import refuse_unfit

_LOCK = 7_265_430_001  # the same in all versions of this software
_PATIENCE_SECONDS = 3_600
_TURN_MILLISECONDS, _PAUSE_SECONDS = 2_000, 3
_POLL_SECONDS = 0.5
_FILE = re.compile(r"^(\d{4})_(\w+)\.sql$")
_OUTSIDE = "-- outside a transaction\n"
_INDEX = re.compile(r"CREATE INDEX CONCURRENTLY IF NOT EXISTS (\w+)")


@dataclass(frozen=True, slots=True)
class Migration:
    """One file of migrations/."""

    version: int
    name: str
    sql: str

    @property
    def checksum(self) -> str:
        return hashlib.sha256(self.sql.encode()).hexdigest()

    @property
    def statements(self) -> list[str]:
        """The statements of a file that runs outside a transaction; none of another."""
        if not self.sql.startswith(_OUTSIDE):
            return []
        return [part for part in re.split(r";\n", self.sql) if part.strip()]


def released_migrations() -> list[Migration]:
    """The migrations of this version, in order."""
    folder = resources.files("telemetry_server.store").joinpath("migrations")
    found = [(match, entry) for entry in folder.iterdir() if (match := _FILE.match(entry.name))]
    migrations = [Migration(int(match[1]), match[2], entry.read_text("utf-8")) for match, entry in found]
    return sorted(migrations, key=lambda migration: migration.version)


async def migrate(
    connection: Connection,
    migrations: list[Migration] | None = None,
    *,
    say: Callable[[str], None] = lambda _: None,
) -> list[Migration]:
    """Migrates the database to this version; returns the migrations that ran. Raises MigrationError."""
    if (major := connection.get_server_version().major) < OLDEST_MAJOR:
        raise MigrationError(f"PostgreSQL {major} is too old; this software needs {OLDEST_MAJOR} or newer.")
    await refuse_unfit(connection)
    async with _alone(connection, say):
        pending = await pending_migrations(connection, migrations)
        views_wanted = await visible.views_are_wanted(connection)
        if pending and views_wanted:
            await visible.remove_views(connection)
        try:
            for migration in pending:
                say(f"migration {migration.version:04} {migration.name}")
                await _apply_in_turn(connection, migration, say)
        finally:  # also of a migration that fails: without views, no one but the privacy officer is answered
            if views_wanted and not connection.is_closed():
                await visible.renew_views(connection)
    return pending


async def still_pending(
    connection: Connection, say: Callable[[str], None] = lambda _: None
) -> list[Migration]:
    """The pending migrations, after waiting for a process that migrates. Raises MigrationError."""
    await refuse_unfit(connection, to_write=False)
    if not await pending_migrations(connection):
        return []
    async with _alone(connection, say):
        return await pending_migrations(connection)


@asynccontextmanager
async def _alone(connection: Connection, say: Callable[[str], None]) -> AsyncIterator[None]:
    """Polls for the lock: an index built beside writes would wait for a statement that waits for it."""
    for attempt in range(max(1, int(_PATIENCE_SECONDS / _POLL_SECONDS))):
        if await connection.fetchval("SELECT pg_try_advisory_lock($1)", _LOCK):
            break
        if attempt == 0:
            say("Another process migrates this database; waiting for it to end.")
        await asyncio.sleep(_POLL_SECONDS)
    else:
        raise MigrationError(
            "Another process has been migrating this database for an hour. When it has ended, try again."
        )
    try:
        yield
    finally:
        await connection.execute("SELECT pg_advisory_unlock($1)", _LOCK)


async def pending_migrations(
    connection: Connection, migrations: list[Migration] | None = None
) -> list[Migration]:
    """What has not run yet. Raises MigrationError where what ran is not what this version has."""
    known = {migration.version: migration for migration in migrations or released_migrations()}
    applied: dict[int, str] = {}
    if await connection.fetchval("SELECT to_regclass('schema_migrations')") is not None:
        statement = "SELECT version, checksum FROM schema_migrations ORDER BY version"
        applied = dict(await connection.fetch(statement))
    for version, checksum in applied.items():
        if version not in known:
            raise MigrationError(
                f"The database is newer than this software: it has migration {version:04}. "
                "Install the version that made it, or a newer one."
            )
        if known[version].checksum != checksum:
            raise MigrationError(
                f"Migration {version:04} {known[version].name} is not the one that ran on this database. "
                "Install the software from an unchanged release; migrations are never edited."
            )
    return [migration for version, migration in known.items() if version not in applied]


async def _apply_in_turn(connection: Connection, migration: Migration, say: Callable[[str], None]) -> None:
    """Applies it with short lock timeouts: while it waits for a table, everyone after it waits too."""
    for attempt in range(int(_PATIENCE_SECONDS // (_TURN_MILLISECONDS / 1_000 + _PAUSE_SECONDS))):
        try:
            for statement in migration.statements:
                await _apply_alone(connection, statement)
            async with connection.transaction():
                if not migration.statements:
                    await _apply_locking(connection, migration.sql)
                await connection.execute(
                    "INSERT INTO schema_migrations (version, name, checksum) VALUES ($1, $2, $3)",
                    *(migration.version, migration.name, migration.checksum),
                )
        except (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError):
            if attempt == 0:
                say("A report, an export or a dump reads what this changes; trying again until it has ended.")
            await asyncio.sleep(_PAUSE_SECONDS)
        else:
            return
    raise MigrationError(
        f"Migration {migration.version:04} {migration.name} could not lock its tables for an hour: they are "
        "being read, or a transaction was left open. End that (pg_stat_activity shows it), and try again."
    )


async def _apply_locking(connection: Connection, sql: str) -> None:
    """Within a transaction."""
    await connection.execute(f"SET LOCAL lock_timeout = {_TURN_MILLISECONDS}")
    await connection.execute(sql, timeout=_PATIENCE_SECONDS)


async def _apply_alone(connection: Connection, statement: str) -> None:
    """An index that was interrupted is invalid, and built again; it waits for older transactions."""
    if (index := _INDEX.search(statement)) is None:
        async with connection.transaction():
            await _apply_locking(connection, statement)
        return
    valid = "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass($1)"
    if await connection.fetchval(valid, index[1]) is False:
        await connection.execute(f"DROP INDEX CONCURRENTLY {index[1]}", timeout=_PATIENCE_SECONDS)
    await connection.execute(statement, timeout=_PATIENCE_SECONDS)
