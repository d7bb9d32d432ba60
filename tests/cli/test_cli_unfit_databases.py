"""A database that this software cannot use is refused before anything is written to it, with what to do."""

import uuid

import asyncpg
import pytest

SERVE = ("serve", "--listen", "127.0.0.1:0")


class Operator:
    """Makes databases and roles, and calls the command on them."""

    def __init__(self, cluster, command_line, folder):
        self.cluster, self.command_line, self.folder = cluster, command_line, folder
        self.name = f"unfit_{uuid.uuid4().hex[:12]}"
        self.role = f"{self.name}_role"

    async def execute(self, *statements, database="postgres"):
        connection = await asyncpg.connect(self.cluster.dsn(database))
        for statement in statements:
            await connection.execute(statement)
        await connection.close()

    async def make(self, *statements, options=""):
        """A database of that kind, with what the statements make in it; the command on it."""
        await self.execute(f"CREATE ROLE {self.role} LOGIN", f"CREATE DATABASE {self.name} {options}")
        await self.execute(*statements, database=self.name)
        return self.command()

    def command(self, role=None, database=None):
        dsn = self.cluster.dsn(database or self.name)
        if role:
            dsn = dsn.replace("postgres@", f"{role}@")
        return self.command_line(self.folder, database_url=dsn)

    async def tables(self):
        connection = await asyncpg.connect(self.cluster.dsn(self.name))
        rows = await connection.fetch(
            "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace"
        )
        await connection.close()
        return {row["relname"] for row in rows}

    async def remove(self):
        await self.execute(
            f"DROP DATABASE IF EXISTS {self.name} WITH (FORCE)", f"DROP ROLE IF EXISTS {self.role}"
        )


@pytest.fixture
async def operator(cluster, command_line, tmp_path):
    operator = Operator(cluster, command_line, tmp_path)
    yield operator
    await operator.remove()


def refused(command, *words, exit_code=3):
    for arguments in (("migrate",), SERVE):
        done = command(*arguments, exit_code=exit_code)
        assert done.stdout == ""
        for word in words:
            assert word in done.stderr, done.stderr
    findings = command.json("doctor", exit_code=1)["checks"]
    found = [each["detail"] + each["advice"] for each in findings if each["outcome"] == "failed"]
    assert any(all(word in text for word in words) for text in found), findings


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
async def test_an_encoding_that_cannot_hold_all_names_is_refused(operator, encoding):
    options = f"ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"
    command = await operator.make(options=options)
    refused(command, encoding, "ENCODING 'UTF8' TEMPLATE template0")
    assert await operator.tables() == set()


async def test_a_database_of_that_encoding_that_is_in_use_goes_on_and_doctor_says_how_to_leave_it(operator):
    command = await operator.make(
        options="ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"
    )
    from telemetry_server.store.migrate import released_migrations

    first = released_migrations()[0]
    await operator.execute(
        first.sql,
        f"INSERT INTO schema_migrations (version, name, checksum) VALUES (1, 'initial', '{first.checksum}')",
        database=operator.name,
    )
    command("migrate")
    findings = {each["check"]: each for each in command.json("doctor", exit_code=1)["checks"]}
    assert findings["database"]["outcome"] == "failed"
    assert '"db export" and "db import"' in findings["database"]["detail"]
    assert findings["migrations"]["outcome"] == "ok"


@pytest.mark.parametrize(
    "tables",
    [
        ["CREATE TABLE products (id int)", "CREATE TABLE users (id int)"],
        ["CREATE TABLE users (id int)", "CREATE TABLE schema_migrations (version varchar PRIMARY KEY)"],
        ["CREATE TABLE users (id int)"],
    ],
)
async def test_a_database_of_another_software_is_refused_and_left_as_it_is(operator, tables):
    command = await operator.make(*tables)
    before = await operator.tables()
    refused(command, "has tables of another software", "users", "CREATE DATABASE telemetry OWNER")
    assert "another software" in command.error("product", "list", exit_code=3)
    assert await operator.tables() == before


async def test_tables_of_an_extension_are_no_other_software(operator):
    command = await operator.make("CREATE TABLE known (id int)", "ALTER EXTENSION plpgsql ADD TABLE known")
    assert command.json("migrate")["applied"]


async def test_a_role_that_may_make_no_tables_is_told_the_statement(operator):
    await operator.make("REVOKE CREATE ON SCHEMA public FROM public")
    command = operator.command(operator.role)
    refused(command, f'GRANT USAGE, CREATE ON SCHEMA "public" TO "{operator.role}"')
    await operator.execute(
        f'GRANT USAGE, CREATE ON SCHEMA "public" TO "{operator.role}"', database=operator.name
    )
    assert command.json("migrate")["applied"]


async def test_a_role_that_does_not_own_the_tables_is_told_who_does(operator):
    (await operator.make())("migrate")
    refused(operator.command(operator.role), "The tables belong to the role 'postgres'", "as their owner")


async def test_a_read_only_database_is_told_the_statement_and_can_be_read(operator):
    command = await operator.make()
    command("migrate")
    await operator.execute(f"ALTER DATABASE {operator.name} SET default_transaction_read_only = on")
    refused(command, f'ALTER DATABASE "{operator.name}" RESET default_transaction_read_only')
    assert "No product yet" in command("product", "list").stderr


async def test_a_standby_is_told_to_name_the_primary_and_can_be_read(cluster, operator):
    (await operator.make())("migrate")
    home, place = cluster.home, cluster.home / f"standby-{operator.name}"
    cluster.run(
        "pg_basebackup", "-h", home, "-U", "postgres", "-D", place, "-R", "-X", "stream", "-c", "fast"
    )
    options = f"-c port=5439 -c listen_addresses='' -c unix_socket_directories={home} -c hot_standby=on"
    cluster.run("pg_ctl", "-D", place, "-l", home / "standby.log", "-o", options, "-w", "start")
    try:
        command = operator.command_line(
            operator.folder, database_url=f"{cluster.dsn(operator.name)}&port=5439"
        )
        refused(command, "is a standby", "target_session_attrs=read-write")
        assert "No product yet" in command("product", "list").stderr
    finally:
        cluster.run("pg_ctl", "-D", place, "-m", "immediate", "-w", "stop")


async def test_who_cannot_connect_is_told_why_and_what_to_do(operator):
    await operator.make()
    await operator.execute(f"REVOKE CONNECT ON DATABASE {operator.name} FROM public")
    refused(operator.command(operator.role), "GRANT CONNECT ON DATABASE", exit_code=4)
    refused(operator.command("ghost"), 'role "ghost" does not exist', "Check user and password", exit_code=4)
    refused(operator.command(database="no_such"), "does not exist", "CREATE DATABASE", exit_code=4)
