"""What operators do in a hurry must not cost pings, nor lock anybody out."""

import asyncio
import shutil
import subprocess
import sys
from datetime import UTC, datetime

import asyncpg
import pytest
from installation import Installation, make_ping
from patience import patient
from places import ROOT

from telemetry_server.check.ranges import RANGES
from telemetry_server.keyring import KeyringError, open_keyring, rotate
from telemetry_server.store.access.keyring_check import open_keyring_of
from telemetry_server.store.counts import overview
from telemetry_server.store.database import make_pool
from telemetry_server.store.partitions import drop_partitions, make_partitions
from telemetry_server.store.upkeep.retention import forget_unused_states

pytestmark = pytest.mark.every_postgres


async def test_a_server_whose_log_cannot_be_written_goes_on_taking_pings(make_server):
    server = make_server(log_to="/dev/full")
    installation, innocent = await Installation.enrolled(server), await Installation.enrolled(server)
    assert (await installation.send()).statuses == ["accepted"]
    assert (await installation.send(make_ping(1))).statuses == ["forked"]  # this is logged
    assert (await innocent.send()).statuses == ["accepted"]


def serve(data, listen, database):
    return subprocess.run(
        [sys.executable, "-m", "telemetry_server", "serve", "--data", data, "--listen", listen],
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", "TELEMETRY_DATABASE_URL": database},
        capture_output=True,
        text=True,
        timeout=patient(60),
        check=False,
    )


async def test_a_second_server_on_the_same_port_is_refused(server, tmp_path):
    done = await asyncio.to_thread(serve, tmp_path / "other", server.listen, server.database)
    assert done.returncode == 1
    assert "Cannot listen" in done.stderr


async def test_a_server_does_not_invent_a_keyring_for_a_database_that_has_one(server):
    assert server.terminate() == 0
    (server.data / "keyring.json").rename(server.data / "elsewhere.json")
    done = await asyncio.to_thread(serve, server.data, server.listen, server.database)
    assert done.returncode == 1
    assert "Restore it from a backup" in done.stderr
    assert not (server.data / "keyring.json").exists()


async def test_the_keyring_of_another_database_is_refused(connection, tmp_path):
    await open_keyring_of(connection, tmp_path / "one.json")
    open_keyring(tmp_path / "two.json")
    with pytest.raises(KeyringError, match="not the keyring"):
        await open_keyring_of(connection, tmp_path / "two.json")
    rotate(tmp_path / "one.json")
    assert (await open_keyring_of(connection, tmp_path / "one.json")).current == "k2"


def test_a_rotation_through_a_link_changes_the_file_it_points_at(tmp_path):
    real, link = tmp_path / "mounted" / "keyring.json", tmp_path / "keyring.json"
    open_keyring(real)
    link.symlink_to(real)
    rotate(link)
    assert link.is_symlink()
    assert open_keyring(real).current == "k2"


async def test_dropping_an_old_month_gives_way_to_a_long_export(database, connection):
    from datetime import date

    await make_partitions(connection, date(2024, 1, 10))
    reader = await asyncpg.connect(database)
    async with reader.transaction():
        await reader.fetch("SELECT count(*) FROM pings")
        with pytest.raises(asyncpg.LockNotAvailableError):
            await drop_partitions(connection, date(2026, 11, 23), 400)
    await reader.close()
    assert len(await drop_partitions(connection, date(2026, 11, 23), 400)) >= 1


async def test_a_state_that_a_ping_takes_up_again_is_not_forgotten(database, connection, server):
    """The race is made sure of: the job has chosen its states, then a ping comes back to one of them."""
    installation = await Installation.enrolled(server)
    elsewhere = {"os": {"name": "alpine"}}
    await installation.send()
    await installation.send(installation.ping(**elsewhere))
    await connection.execute("DELETE FROM pings WHERE sequence = 1")
    await connection.execute("UPDATE states SET first_received_at = now() - interval '500 days'")
    holder = await asyncpg.connect(database)
    transaction = holder.transaction()
    await transaction.start()
    await holder.execute("SELECT FROM installations FOR UPDATE")
    job = asyncio.create_task(
        forget_unused_states(connection, await holder.fetchval("SELECT now() - interval '1 day'"))
    )
    await asyncio.sleep(0.5)  # it waits for the row
    returning = asyncio.create_task(installation.send())
    await asyncio.sleep(0.3)
    await transaction.rollback()
    await holder.close()
    assert (await returning).statuses == ["accepted"]
    await job
    orphans = (
        "SELECT count(*) FROM pings p LEFT JOIN states s USING (installation_id, state) WHERE s.state IS NULL"
    )
    assert await server.fetchval(orphans) == 0
    assert await server.fetchval("SELECT count(*) FROM v_installations") == 1


async def test_of_one_installation_a_thousand_forks_are_evidence_enough(server):
    installation = await Installation.enrolled(server)
    await installation.send(*(installation.ping() for _ in range(400)))
    for _ in range(4):
        answer = await installation.send(*(make_ping(n) for n in range(1, 401)))
        assert set(answer.statuses) == {"forked"}
    assert server.errors().count('"forks seen"') == 1  # anyone who enrols can cause them
    assert 1000 <= await server.fetchval("SELECT count(*) FROM forks") <= 1400


def test_data_is_for_its_owner_alone(server):
    made = server.data / "made" / "keyring.json"
    open_keyring(made)
    assert made.parent.stat().st_mode & 0o077 == 0
    assert made.stat().st_mode & 0o777 == 0o600
    shutil.rmtree(made.parent)


async def test_one_copy_that_claims_enormous_numbers_does_not_break_the_overview(server):
    for _ in range(3):
        assert (await (await Installation.enrolled(server)).send(make_ping(2**53 - 1))).statuses == [
            "accepted"
        ]
    async with make_pool(server.database) as pool:
        fleet = await overview.fleet(pool, None, datetime.now(UTC))
        assert (await overview.totals(pool, fleet, RANGES["24h"]))["missing"] == 3_000_000
