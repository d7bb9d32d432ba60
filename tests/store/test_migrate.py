"""Migrations: forward only, one at a time, never edited."""

import asyncio
import re
import subprocess
from dataclasses import replace

import asyncpg
import pytest
from places import ROOT, TODAY, as_database_user

from telemetry_server.errors import MigrationError
from telemetry_server.store.migrate import Migration, migrate, pending_migrations, released_migrations
from telemetry_server.store.partitions import make_partitions


@pytest.fixture
async def empty(cluster):
    await cluster.execute("DROP DATABASE IF EXISTS migrating WITH (FORCE)")
    await cluster.execute("CREATE DATABASE migrating")
    yield cluster.dsn("migrating")
    await cluster.execute("DROP DATABASE migrating WITH (FORCE)")


def dump(cluster, dsn):
    """The schema as pg_dump tells it, without what differs from run to run."""
    done = subprocess.run(
        [cluster.programs / "pg_dump", "--schema-only", "--no-owner", dsn],
        check=True,
        capture_output=True,
        text=True,
        cwd=cluster.home,
        **as_database_user(),
    )
    return re.sub(r"^(\\(un)?restrict .*|--.*)$", "", done.stdout, flags=re.MULTILINE)


async def test_schema_sql_is_what_all_migrations_make(cluster, empty):
    connection = await asyncpg.connect(empty)
    await connection.execute((ROOT / "schema.sql").read_text())
    shown = dump(cluster, empty)
    await connection.close()
    await cluster.execute("DROP DATABASE migrating WITH (FORCE)")
    await cluster.execute("CREATE DATABASE migrating")
    connection = await asyncpg.connect(empty)
    await migrate(connection)
    await connection.close()
    assert dump(cluster, empty) == shown
    assert "CREATE TABLE public.pings" in shown


async def test_migrating_twice_does_nothing_more(empty):
    connection = await asyncpg.connect(empty)
    assert [m.version for m in await migrate(connection)] == [m.version for m in released_migrations()]
    assert await migrate(connection) == []
    await connection.close()


async def test_servers_that_start_at_once_migrate_once(empty):
    connections = [await asyncpg.connect(empty) for _ in range(5)]
    ran = await asyncio.gather(*(migrate(connection) for connection in connections))
    assert sorted(map(len, ran)) == [0, 0, 0, 0, len(released_migrations())]
    for connection in connections:
        await connection.close()


async def test_a_migration_that_changed_after_it_ran_is_refused(connection):
    changed = [replace(m, sql=m.sql + "\n-- a word more") for m in released_migrations()]
    with pytest.raises(MigrationError, match="is not the one that ran"):
        await migrate(connection, changed)


async def test_a_database_from_a_newer_version_is_refused(connection):
    await connection.execute("INSERT INTO schema_migrations VALUES (9999, 'from_the_future', 'x')")
    with pytest.raises(MigrationError, match="newer than this software"):
        await pending_migrations(connection)


async def test_a_migration_that_fails_leaves_nothing_behind(connection):
    bad = [*released_migrations(), Migration(9998, "bad", "CREATE TABLE half (); SELECT 1/0")]
    with pytest.raises(asyncpg.DivisionByZeroError):
        await migrate(connection, bad)
    assert await connection.fetchval("SELECT to_regclass('half')") is None
    assert await connection.fetchval("SELECT count(*) FROM schema_migrations WHERE version = 9998") == 0


async def test_partitions_are_made_ahead_and_again_makes_nothing(connection):
    assert await make_partitions(connection, TODAY) == []
    later = TODAY.replace(year=TODAY.year + 1, month=12, day=31)
    assert [str(month) for month in await make_partitions(connection, later)] == [
        f"{later.year}-12-01",
        f"{later.year + 1}-01-01",
        f"{later.year + 1}-02-01",
        f"{later.year + 1}-03-01",
    ]
