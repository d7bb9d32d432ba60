"""Roles that read the views and nothing else, on a real PostgreSQL."""

import uuid

import asyncpg
import pytest

from telemetry_server.store.migrate import migrate
from telemetry_server.store.reports import readers
from telemetry_server.store.reports.readers import (
    MayNotMakeReaders,
    NotAReader,
    ReadsMore,
    drop_reader,
    make_reader,
)

pytestmark = [
    pytest.mark.every_postgres,
    pytest.mark.one_machine(reason="Citus reads the shards behind a view as the role that asks"),
]

VIEWS = set(readers.VIEWS)


@pytest.fixture
async def name(cluster, connection):
    """Of a role that is nobody's yet, and gone afterwards."""
    name = f"r_{uuid.uuid4().hex[:12]}"
    yield name
    if await connection.fetchval("SELECT true FROM pg_roles WHERE rolname = $1", name):
        await connection.execute(f"DROP OWNED BY {name}; DROP ROLE {name}")


@pytest.fixture
def connect_as(database):
    async def connect(role):
        return await asyncpg.connect(database.replace("postgres@", f"{role}@"))

    return connect


async def relations(connection):
    rows = await connection.fetch(
        "SELECT oid::regclass::text AS name FROM pg_class WHERE relkind IN ('r', 'p', 'v', 'm', 'f') AND relnamespace = 'public'::regnamespace"
    )
    return {row["name"] for row in rows}


async def password_of(connection, name):
    return await connection.fetchval("SELECT rolpassword FROM pg_authid WHERE rolname = $1", name)


async def test_the_views_of_a_reader_are_those_of_the_schema(connection):
    there = await connection.fetch("SELECT viewname FROM pg_views WHERE schemaname = 'public'")
    assert {row["viewname"] for row in there} == VIEWS


async def test_a_reader_reads_each_view_and_nothing_else(connection, name, connect_as):
    made = await make_reader(connection, name)
    assert set(made.views) == VIEWS
    there = await relations(connection)
    assert there > VIEWS | {"licenses", "tokens", "keyring_check", "states"}
    reader = await connect_as(name)
    for relation in sorted(there):
        if relation in VIEWS:
            await reader.fetch(f"SELECT * FROM {relation}")
        else:
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await reader.fetch(f"SELECT 1 FROM {relation}")
    await reader.execute("SET default_transaction_read_only = off")
    for statement in (
        "DELETE FROM products",
        "INSERT INTO v_fleet_days DEFAULT VALUES",
        "CREATE TABLE mine ()",
        "CREATE ROLE another",
        "SELECT rolpassword FROM pg_authid",
        "COPY (SELECT 1) TO PROGRAM 'true'",
    ):
        with pytest.raises((asyncpg.InsufficientPrivilegeError, asyncpg.ObjectNotInPrerequisiteStateError)):
            await reader.execute(statement)
    await reader.close()


async def test_a_reader_cannot_hold_the_server_up(connection, name, connect_as):
    await make_reader(connection, name)
    reader = await connect_as(name)
    shown = [
        await reader.fetchval(f"SHOW {setting}")
        for setting in ("default_transaction_read_only", "statement_timeout", "timezone", "search_path")
    ]
    assert shown == ["on", "1min", "UTC", "pg_catalog, public"]
    await reader.close()
    limits = "SELECT rolconnlimit, rolsuper, rolcreaterole, rolcreatedb, rolbypassrls FROM pg_roles WHERE rolname = $1"
    assert tuple(await connection.fetchrow(limits, name)) == (10, False, False, False, False)


async def test_a_reader_that_is_there_keeps_its_password_and_gets_the_new_views(connection, name, connect_as):
    first = await make_reader(connection, name)
    kept = await password_of(connection, name)
    assert first.password
    assert first.password not in kept
    await connection.execute(f"REVOKE SELECT ON v_pings FROM {name}")  # as if it were new
    await connection.execute("CREATE VIEW v_mine AS TABLE licenses")
    await connection.execute(f"GRANT SELECT ON products TO {name}")  # by somebody in a hurry
    again = await make_reader(connection, name)
    assert (again.password, await password_of(connection, name)) == (None, kept)
    assert set(again.views) == VIEWS
    reader = await connect_as(name)
    for more in ("v_mine", "products"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await reader.fetch(f"TABLE {more}")
    await reader.close()


async def test_a_reader_gets_a_new_password_where_it_is_wanted(connection, name):
    first = await make_reader(connection, name)
    kept = await password_of(connection, name)
    second = await make_reader(connection, name, new_password=True)
    assert second.password not in {None, first.password}
    assert await password_of(connection, name) != kept


@pytest.mark.parametrize(
    "bad", ["Grafana", "pg_reader", "public", "none", "a b", 'a"; DROP TABLE pings', "", "ü", "a" * 64]
)
async def test_a_bad_name_is_told(connection, bad):
    with pytest.raises(NotAReader, match="no good name: take small letters"):
        await make_reader(connection, bad)


async def test_a_role_of_somebody_elses_is_left_alone(connection, name):
    await connection.execute(f"CREATE ROLE {name} LOGIN CREATEDB")
    for taken in (name, "postgres"):
        with pytest.raises(NotAReader, match="Choose another name"):
            await make_reader(connection, taken, new_password=True)
        with pytest.raises(NotAReader, match="Choose another name"):
            await drop_reader(connection, taken)
    assert await password_of(connection, name) is None


async def test_where_everybody_makes_things_in_public_no_reader_is_made(connection, name):
    await connection.execute("GRANT CREATE ON SCHEMA public TO PUBLIC")  # as before PostgreSQL 15
    with pytest.raises(ReadsMore, match=r"could read or write schema public, by a right .*REVOKE"):
        await make_reader(connection, name)
    await connection.execute("REVOKE CREATE ON SCHEMA public FROM PUBLIC")
    await make_reader(connection, name)


async def test_where_everybody_reads_a_table_no_reader_is_made(connection, name):
    await connection.execute("GRANT SELECT ON licenses TO PUBLIC")
    await connection.execute("GRANT UPDATE (label) ON tokens TO PUBLIC")
    with pytest.raises(ReadsMore, match=r"could read or write licenses, tokens, by a right .*REVOKE"):
        await make_reader(connection, name)
    assert await connection.fetchval("SELECT count(*) FROM pg_roles WHERE rolname = $1", name) == 0


@pytest.fixture
async def owner(cluster, connection):
    """Makes databases that belong to a role with the attributes asked for, and have our schema."""
    role, database = f"o_{uuid.uuid4().hex[:12]}", f"owned_{uuid.uuid4().hex[:12]}"
    opened = []

    async def make(attributes):
        await connection.execute(f"CREATE ROLE {role} LOGIN {attributes}")
        await connection.execute(f"CREATE DATABASE {database} OWNER {role}")
        dsn = cluster.dsn(database)
        own, superuser = (
            await asyncpg.connect(dsn.replace("postgres@", f"{role}@")),
            await asyncpg.connect(dsn),
        )
        opened.extend((own, superuser))
        await migrate(own)
        return own, superuser

    yield make
    for each in opened:
        await each.close()
    await connection.execute(f"DROP DATABASE IF EXISTS {database} WITH (FORCE)")
    await connection.execute(f"DROP ROLE IF EXISTS {role}")


async def test_an_account_that_may_make_roles_is_enough(owner, connection, name):
    own, _ = await owner("CREATEROLE")
    assert set((await make_reader(own, name)).views) == VIEWS
    assert set((await make_reader(own, name, new_password=True)).views) == VIEWS
    await drop_reader(own, name)
    assert await connection.fetchval("SELECT count(*) FROM pg_roles WHERE rolname = $1", name) == 0
    with pytest.raises(NotAReader, match=f"There is no role {name}"):
        await drop_reader(own, name)


async def test_an_account_that_may_not_make_roles_is_told_the_sql_to_run(owner, connection, name):
    own, superuser = await owner("")
    with pytest.raises(MayNotMakeReaders, match="permission denied to create role") as told:
        await make_reader(own, name)
    said, _, lines = told.value.detail.partition("\n\n")
    statements, _, last = lines.rpartition("\n")
    assert last == rf"\password {name}"
    assert "PASSWORD" not in statements
    assert "Run this in psql on this database, as a role that may" in said
    await superuser.execute(statements)
    made = await make_reader(own, name)  # from now on it may say what the role reads
    assert (made.password, set(made.views)) == (None, VIEWS)
    with pytest.raises(MayNotMakeReaders, match=rf"(?s)ALTER ROLE {name} LOGIN;.*\\password {name}"):
        await make_reader(own, name, new_password=True)
    with pytest.raises(MayNotMakeReaders, match=f"DROP ROLE {name};"):
        await drop_reader(own, name)
    await drop_reader(superuser, name)


async def test_a_reader_goes_with_what_it_made_and_with_what_it_runs(cluster, owner, connection, name):
    own, _ = await owner("CREATEROLE")
    await make_reader(own, name)
    database = await own.fetchval("SELECT current_database()")
    reader = await asyncpg.connect(cluster.dsn(database).replace("postgres@", f"{name}@"))
    await reader.execute("SET default_transaction_read_only = off")
    await reader.execute("SELECT lo_create(0); CREATE TEMPORARY TABLE mine ()")
    await drop_reader(own, name)
    assert await connection.fetchval("SELECT count(*) FROM pg_roles WHERE rolname = $1", name) == 0
    with pytest.raises((asyncpg.PostgresConnectionError, asyncpg.AdminShutdownError, asyncpg.InterfaceError)):
        await reader.fetch("TABLE v_fleet_days")


async def test_a_reader_that_something_keeps_reads_nothing_any_more(owner, connection, name):
    own, superuser = await owner("CREATEROLE")
    await make_reader(own, name)
    await connection.execute(f"CREATE TABLE kept (); ALTER TABLE kept OWNER TO {name}")  # in another database
    with pytest.raises(MayNotMakeReaders, match=rf"(?s)cannot be dropped.*DROP OWNED BY {name};"):
        await drop_reader(own, name)
    role = "SELECT rolcanlogin, has_table_privilege(rolname, 'v_fleet_days', 'SELECT') FROM pg_roles WHERE rolname = $1"
    assert tuple(await superuser.fetchrow(role, name)) == (False, False)
