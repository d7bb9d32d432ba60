"""The commands on an operator's own PostgreSQL, and on a data directory that is new."""

import asyncio
import json
import shutil
import subprocess
import sys
import threading
from uuid import uuid4

import asyncpg
import pytest
from patience import patient

from telemetry_server.cli.session import as_user
from telemetry_server.store.migrate import migrate, released_migrations

EVERY_MIGRATION = [f"{each.version:04}_{each.name}" for each in released_migrations()]


def finish(processes):
    """The exit codes of several commands at once, with what they said."""
    said = [process.communicate(timeout=patient(90))[1] for process in processes]
    return [process.returncode for process in processes], said


def test_an_empty_database_is_left_alone_until_migrate_runs(empty_operator):
    assert "Run: telemetry-server migrate" in empty_operator.error("product", "list", exit_code=3)
    assert empty_operator.json("migrate", "--dry-run") == {"pending": EVERY_MIGRATION}
    assert "would run 0001 initial" in empty_operator("migrate", "--dry-run").stdout
    assert empty_operator.json("migrate") == {"applied": EVERY_MIGRATION}
    assert empty_operator("migrate").stdout == "The database is of this version.\n"
    assert empty_operator.json("product", "list") == {"products": []}
    partitions = next(
        each for each in empty_operator.json("doctor", exit_code=1)["checks"] if each["check"] == "partitions"
    )
    assert partitions["outcome"] == "ok"


def test_two_migrates_at_once_wait_for_each_other(empty_operator):
    both = [
        empty_operator.start("migrate", stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) for _ in range(2)
    ]
    exit_codes, said = finish(both)
    assert exit_codes == [0, 0], said
    assert "".join(said).count("migration 0001") == 1


def test_commands_work_on_an_operators_database(operator):
    key = operator.json("product", "add", "Billing")["product_key"]
    assert key in operator("product", "list").stdout
    assert operator.json("token", "create", "--role", "viewer")["token"].startswith("tlm_")
    assert operator("export", "installations").stdout == ""
    assert operator("db", "psql", "--", "-Atc", "SELECT slug FROM products").stdout == "billing\n"


def test_no_enrolment_is_made_with_a_keyring_the_server_does_not_have(operator, tmp_path):
    operator("product", "add", "Billing")
    said = operator.error("enroll", "billing", "--output", tmp_path / "copy.json")
    assert "TELEMETRY_KEYRING_FILE" in said
    assert not (tmp_path / "copy.json").exists()
    assert not (tmp_path / "keyring.json").exists()


def test_no_keyring_is_made_by_looking_at_it(operator, tmp_path):
    for command in ("show", "rotate"):
        assert '"telemetry-server serve" creates it' in operator.error("keyring", command)
    assert not (tmp_path / "keyring.json").exists()


def test_secrets_are_left_out_of_the_settings(operator):
    url = "postgresql://telemetry:hunter2@db.example/telemetry"
    shown = operator("config", "show", TELEMETRY_DATABASE_URL=url).stdout
    shown += operator("config", "show", "--json", TELEMETRY_DATABASE_URL=url).stdout
    assert "hunter2" not in shown
    assert "telemetry-server db psql" in shown


FOR_EVER = {"TELEMETRY_RETENTION_DAYS": "fact=500,usage=forever"}


def test_how_long_what_is_kept_is_shown(operator):
    shown = operator.json("config", "show", **FOR_EVER)
    assert shown["retention"] == {"ping": 400, "fact": 500, "usage": None}
    [setting] = [each for each in shown["settings"] if each["name"] == "TELEMETRY_RETENTION_DAYS"]
    assert setting["value"] == "fact=500,usage=forever"
    assert (
        "retention: ping 400 days, fact 500 days, usage for ever"
        in operator("config", "show", **FOR_EVER).stdout
    )
    found = details(operator.json("doctor", exit_code=1, **FOR_EVER), "retention")
    assert found == ["ping 400 days, fact 500 days, usage for ever"]


def test_what_cannot_be_kept_is_told_by_any_command(operator):
    for wrong, said in (("ping=x", "write it like ping=400"), ("pings=3", "there are ping, fact, usage")):
        assert said in operator.error("product", "list", exit_code=2, TELEMETRY_RETENTION_DAYS=wrong)


async def test_doctor_tells_how_far_the_roll_ups_are_behind(operator, connection):
    assert details(operator.json("doctor", exit_code=1), "roll-ups") == ["no ping came yet"]
    await connection.execute("INSERT INTO rollup_marks VALUES ('roll up pings', '2026-11-01T10:00:00Z')")
    report = operator.json("doctor", exit_code=1)
    [found] = [each for each in report["checks"] if each["check"] == "roll-ups"]
    assert found["outcome"] == "warning"
    assert found["detail"] == "pings received until 2026-11-01 10:00 UTC are counted."
    assert "telemetry-server run roll up pings" in found["advice"]
    await connection.execute("UPDATE rollup_marks SET reached_at = now() WHERE name = 'roll up pings'")
    await connection.execute(
        "INSERT INTO days_due (product_id, day, due_since) VALUES ($1, '2026-11-01', '2026-11-01T11:00:00Z')",
        uuid4(),
    )
    report = operator.json("doctor", exit_code=1)
    [found] = [each for each in report["checks"] if each["check"] == "roll-ups"]
    assert found["detail"].endswith("days wait since 2026-11-01 11:00 UTC.")
    assert "telemetry-server run roll up days" in found["advice"]


def test_there_is_nothing_to_rebuild_before_something_was_counted(operator):
    rebuild = "rollup", "rebuild", "--from", "2026-11-01"
    assert "Nothing is counted yet" in operator.error(*rebuild, "--to", "2026-11-02")
    assert "--to is before --from" in operator.error(*rebuild, "--to", "2026-10-31", exit_code=2)
    assert "does not match the format" in operator.error(*rebuild, "--to", "soon", exit_code=2)


def details(report, check):
    return [each["detail"] for each in report["checks"] if each["check"] == check]


def test_a_dump_goes_from_one_database_to_another(operator, empty_operator, tmp_path):
    operator("product", "add", "Billing")
    operator("db", "export", tmp_path / "all.dump")
    empty_operator("db", "import", tmp_path / "all.dump")
    assert [each["product"] for each in empty_operator.json("product", "list")["products"]] == ["billing"]


def test_a_file_that_is_no_dump_changes_nothing(empty_operator, tmp_path):
    (tmp_path / "no.dump").write_text("hello")
    assert "nothing was changed" in empty_operator.error("db", "import", tmp_path / "no.dump", exit_code=1)
    assert empty_operator.json("migrate", "--dry-run") == {"pending": EVERY_MIGRATION}


async def test_a_command_waits_for_migrations_that_are_running(empty_operator):
    """It may come between two of them: what the other has yet to run is not missing."""
    between, go_on = threading.Event(), threading.Event()

    def stop_before_the_last(said):
        if EVERY_MIGRATION[-1][:4] in said:
            between.set()
            go_on.wait(30)

    async def migrating():
        connection = await asyncpg.connect(empty_operator.environment["TELEMETRY_DATABASE_URL"])
        await migrate(connection, say=stop_before_the_last)
        await connection.close()

    other = asyncio.create_task(asyncio.to_thread(asyncio.run, migrating()))
    assert await asyncio.to_thread(between.wait, 30)
    command = empty_operator.start("product", "list", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert (await asyncio.to_thread(command.stderr.readline)).startswith("Another process migrates")
    assert command.poll() is None, command.communicate()
    go_on.set()
    await other
    [exit_code], [said] = await asyncio.to_thread(finish, [command])
    assert (exit_code, said[:14]) == (0, "No product yet")


def test_an_operators_database_is_not_ours_to_upgrade(operator):
    assert "upgrade that with its own tools" in operator.error("db", "upgrade")


def test_doctor_goes_on_where_the_database_is_away(operator, tmp_path):
    nowhere = "postgresql://nobody@127.0.0.1:1/nothing"
    report = operator.json("doctor", exit_code=1, TELEMETRY_DATABASE_URL=nowhere)
    outcomes = {each["check"]: each["outcome"] for each in report["checks"]}
    assert outcomes["PostgreSQL"] == "failed"
    assert outcomes["disk space"] in {"ok", "warning"}


async def test_doctor_sees_a_database_of_another_version(operator, connection):
    await connection.execute("UPDATE schema_migrations SET checksum = 'changed' WHERE version = 1")
    report = operator.json("doctor", exit_code=1)
    [found] = [each for each in report["checks"] if each["check"] == "migrations"]
    assert "is not the one that ran" in found["detail"]
    assert "is not the one that ran" in operator.error("product", "list", exit_code=3)


def test_doctor_makes_nothing(fresh):
    report = json.loads(fresh("doctor", "--json", exit_code=1).stdout)
    assert "There is no database yet." in [each["detail"] for each in report["checks"]]
    assert not fresh.data.exists()


def test_two_commands_at_once_make_a_new_data_directory_and_stop_what_they_started(fresh):
    both = [
        fresh.start("product", "add", name, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        for name in ("One", "Two")
    ]
    exit_codes, said = finish(both)
    assert exit_codes == [0, 0], said
    assert {each["product"] for each in fresh.json("product", "list")["products"]} == {"one", "two"}
    assert not (fresh.data / "postgres" / "postmaster.pid").exists()
    assert "is for PostgreSQL 18" in fresh("db", "upgrade").stdout


@pytest.mark.skipif(shutil.which("chmod") is None, reason="needs chmod")
def test_a_data_directory_that_postgresql_cannot_enter_is_told(fresh):
    long = fresh.data / ("x" * 120)
    assert "too long" in fresh.error("product", "list", "--data", long, exit_code=4)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (
            "postgresql://a:p%40ss@db.example:5433/t?sslmode=require",
            "postgresql://r@db.example:5433/t?sslmode=require",
        ),
        ("postgresql:///t?host=/run/pg&user=a&password=b", "postgresql://r@/t?host=/run/pg"),
        (
            "postgres://a@one:1,two:2/t?target_session_attrs=any",
            "postgres://r@one:1,two:2/t?target_session_attrs=any",
        ),
    ],
)
def test_a_reader_connects_as_itself_to_the_same_database(url, shown):
    assert as_user(url, "r") == shown


@pytest.mark.parametrize(
    ("most", "outcome", "detail"), [(600, "warning", "344 connections"), (2_000, "ok", "1744 connections")]
)
def test_doctor_tells_how_much_a_process_takes_on(operator, most, outcome, detail):
    """The limit that counts is the hard one, to which "serve" raises the soft one."""
    done = subprocess.run(
        ["prlimit", f"--nofile=200:{most}", sys.executable, "-m", "telemetry_server", "doctor", "--json"],
        env=operator.environment,
        capture_output=True,
        check=False,
    )
    [check] = [each for each in json.loads(done.stdout)["checks"] if each["check"] == "capacity"]
    assert check["outcome"] == outcome
    assert detail in check["detail"]
    assert ("LimitNOFILE" in check["advice"]) == (outcome == "warning")
