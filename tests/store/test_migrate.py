"""Migrations: forward only, one at a time, never edited."""

import asyncio
import re
import subprocess
from dataclasses import replace

import asyncpg
import pytest
from patience import until
from places import ROOT, TODAY, as_database_user

from telemetry_server.errors import MigrationError
from telemetry_server.store import migrate as module
from telemetry_server.store.migrate import Migration, migrate, pending_migrations, released_migrations
from telemetry_server.store.partitions import make_partitions

pytestmark = [
    pytest.mark.every_postgres,
    pytest.mark.one_machine(reason="a database is of the newest version before it is distributed"),
]


@pytest.fixture
async def empty(cluster):
    await cluster.drop("migrating")
    await cluster.make("migrating")
    yield cluster.dsn("migrating")
    await cluster.drop("migrating")


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
    await cluster.drop("migrating")
    await cluster.make("migrating")
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


def beside_writes(sql):
    return [*released_migrations(), Migration(9998, "beside", f"-- outside a transaction\n{sql};\n")]


async def test_an_index_is_built_while_others_write(empty):
    migrating, writer, late = [await asyncpg.connect(empty) for _ in range(3)]
    await migrate(migrating)
    add = (
        "INSERT INTO products (product_id, slug, name, created_at) VALUES (gen_random_uuid(), $1, $1, now())"
    )
    async with writer.transaction():
        await writer.execute(add, "open")
        index = "CREATE INDEX CONCURRENTLY IF NOT EXISTS by_name ON products (name)"
        migration = asyncio.create_task(migrate(migrating, beside_writes(index)))
        await waiting_for_locks(late, 1)
        await late.execute(add, "meanwhile")
        assert not migration.done()
    assert [ran.version for ran in await migration] == [9998]
    for connection in (migrating, writer, late):
        await connection.close()


async def test_an_index_whose_building_was_interrupted_is_built_again(empty):
    connection = await asyncpg.connect(empty)
    migrations = released_migrations()
    await migrate(connection, [each for each in migrations if not each.statements])
    await connection.execute("CREATE INDEX licenses_by_hint ON licenses (key_hint)")
    await connection.execute(
        "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'licenses_by_hint'::regclass"
    )
    ran = await migrate(connection, migrations)
    assert [each.version for each in ran] == [each.version for each in migrations if each.statements] != []
    assert await connection.fetchval("SELECT count(*) FROM pg_index WHERE NOT indisvalid") == 0
    await connection.close()


@pytest.fixture
async def before_columns(empty):
    """Connections to a database as it was before migration 0003."""
    connections = [await asyncpg.connect(empty) for _ in range(3)]
    await migrate(connections[0], released_migrations()[:2])
    yield connections
    for connection in connections:
        await connection.close()


async def waiting_for_locks(connection, count):
    waits = "SELECT count(*) >= $1 FROM pg_locks WHERE NOT granted"
    await until(lambda: connection.fetchval(waits, count))


async def test_a_migration_that_waits_for_a_table_lets_others_pass(before_columns, monkeypatch):
    monkeypatch.setattr(module, "_TURN_MILLISECONDS", 100)
    monkeypatch.setattr(module, "_PAUSE_SECONDS", 0.2)
    monkeypatch.setattr(module, "_PATIENCE_SECONDS", 60)
    migrating, reader, writer = before_columns
    said = []
    async with reader.transaction():
        await reader.fetch("SELECT FROM v_pings")
        migration = asyncio.create_task(migrate(migrating, say=said.append))
        await waiting_for_locks(writer, 1)
        await writer.execute(
            "INSERT INTO states VALUES (gen_random_uuid(), substr(sha256('x'), 1, 16), now(), 'licensed', NULL, NULL, '{}', '{}')"
        )
        assert not migration.done()
    assert [ran.version for ran in await migration] == [ran.version for ran in released_migrations()[2:]]
    assert sum("trying again" in line for line in said) == 1


async def test_who_reads_a_view_while_its_table_is_migrated_is_answered(before_columns):
    migrating, reader, late = before_columns
    async with reader.transaction():
        await reader.fetch("SELECT FROM v_pings")
        migration = asyncio.create_task(migrate(migrating))
        await waiting_for_locks(reader, 1)
        answer = asyncio.create_task(late.fetch("SELECT * FROM v_pings"))
        await waiting_for_locks(reader, 2)
    assert await answer == []
    assert len(await migration) == len(released_migrations()) - 2


async def test_a_migration_gives_up_where_nobody_lets_it(before_columns, monkeypatch):
    monkeypatch.setattr(module, "_TURN_MILLISECONDS", 50)
    monkeypatch.setattr(module, "_PAUSE_SECONDS", 0)
    monkeypatch.setattr(module, "_PATIENCE_SECONDS", 0.2)
    migrating, reader, _ = before_columns
    async with reader.transaction():
        await reader.fetch("SELECT FROM v_pings")
        with pytest.raises(MigrationError, match="0003 facts_as_columns could not lock its tables"):
            await migrate(migrating)
    assert len(await migrate(migrating)) == len(released_migrations()) - 2


async def test_partitions_are_made_ahead_and_again_makes_nothing(connection):
    assert await make_partitions(connection, TODAY) == []
    later = TODAY.replace(year=TODAY.year + 1, month=12, day=31)
    assert [str(month) for month in await make_partitions(connection, later)] == [
        f"{later.year}-12-01",
        f"{later.year + 1}-01-01",
        f"{later.year + 1}-02-01",
        f"{later.year + 1}-03-01",
    ]


async def test_names_of_operating_systems_that_came_in_capitals_are_lowered(connection):
    await connection.execute("""
        INSERT INTO states (installation_id, state, first_received_at, license_status, facts, place)
        SELECT gen_random_uuid(), substr(sha256('x'), 1, 16), now(), 'licensed', facts::jsonb, '{}'
        FROM unnest(ARRAY['{"os": {"name": "Debian", "version": "12"}}', '{"os": {"name": "alpine"}}', '{}']) AS facts
    """)
    [migration] = [m for m in released_migrations() if m.name == "os_names_in_lower_case"]
    await connection.execute(migration.sql)
    rows = await connection.fetch("SELECT os_name, os_version FROM states ORDER BY os_name")
    assert [tuple(row) for row in rows] == [("alpine", None), ("debian", "12"), (None, None)]


async def test_pings_of_before_they_were_narrow_read_as_they_did(empty):
    connection = await asyncpg.connect(empty)
    await migrate(connection, [m for m in released_migrations() if m.version < 17])
    await connection.execute("""
        INSERT INTO products (product_id, slug, name, created_at) VALUES (gen_random_uuid(), 'billing', 'Billing', now());
        INSERT INTO installations (installation_id, product_id, received, received_before, first_received_at,
                                   last_received_at, last_sequence, last_occurred_at, state)
        SELECT gen_random_uuid(), product_id, '{[1,4)}', '{}', now(), now(), 3, now(), substr(sha256('x'), 1, 16) FROM products;
        INSERT INTO pings SELECT now(), installation_id, n, gen_random_uuid(), now(), false, '192.0.2.7', state,
            details::jsonb, features::jsonb, verdict, verdict = 'expired', false
        FROM installations, (VALUES
            (1, '{"reason": "start", "usage": {"since": "2026-01-01T01:00:00+01:00"}}', '{"a": 1, "b": 9007199254740991}', 'expired'),
            (2, '{}', '{}', NULL), (3, '{"reason": "license"}', NULL, 'valid')) AS g (n, details, features, verdict);
        INSERT INTO installation_days SELECT current_date, installation_id, product_id, state, 'valid', false, false, 3, '{"a": 1}'
        FROM installations;
    """)
    reads = "SELECT * FROM v_pings ORDER BY sequence", "SELECT * FROM v_installation_days"
    before = [await connection.fetch(read) for read in reads]
    await migrate(connection)
    assert [await connection.fetch(read) for read in reads] == before
    assert [row["reason"] for row in before[0]] == ["start", None, "license"]
    await connection.close()
