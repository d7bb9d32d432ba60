"""Making a fleet: repeatable, whole or not at all, and never over a real product."""

import asyncio
import re
from dataclasses import replace

import asyncpg
import pytest
from orders import END, ORDER, hashes
from patience import until
from places import ROOT

from telemetry_server.job_names import JobName
from telemetry_server.simulate import making
from telemetry_server.simulate.fleet import TooFewPings
from telemetry_server.simulate.making import AlreadyThere
from telemetry_server.simulate.store import _REMOVED, FleetBeingMade, NotSimulated, remove_fleet
from telemetry_server.store.job_log import lock_number
from telemetry_server.store.registry.products import add_product, product_by_slug

SMALL = replace(ORDER, installations=120, pings=1_500)


async def test_the_same_order_makes_the_same_rows(connection, make):
    await make(connection, SMALL)
    once = await hashes(connection)
    await make(connection, replace(SMALL, replace=True))
    assert await hashes(connection) == once
    await make(connection, replace(SMALL, seed=8, replace=True))
    other = await hashes(connection)
    assert {table for table in once if once[table] == other[table] is not None} <= {
        "products",
        "editions",
        "releases",
        "schema_migrations",
        "jobs",
    }


def test_every_table_with_rows_of_installations_is_emptied_when_a_fleet_is_replaced():
    tables = re.findall(
        r"^CREATE TABLE (\w+) \((.*?)^\)", (ROOT / "schema.sql").read_text(), re.DOTALL | re.MULTILINE
    )
    growing = {
        name for name, columns in tables if re.search(r"^ +installation_id +uuid", columns, re.MULTILINE)
    }
    assert growing - {"installation_facts"} - set(_REMOVED) == set()
    assert "facts" in _REMOVED
    assert len(growing) > 10


async def test_two_products_of_one_seed_have_nothing_in_common(connection, make):
    await make(connection, SMALL)
    await make(connection, replace(SMALL, name="Another Suite"))
    [[installations, licenses, customers]] = await connection.fetch(
        "SELECT (SELECT count(*) FROM installations), (SELECT count(DISTINCT key_hash) FROM licenses), (SELECT count(*) FROM customers)"
    )
    assert installations == 240
    assert licenses == await connection.fetchval("SELECT count(*) FROM licenses")
    assert customers > 0


async def test_replacing_a_fleet_leaves_all_others_as_they_were(connection, make):
    await add_product(connection, "Billing", now=END)
    await make(connection, replace(SMALL, name="Another Suite"))
    before = await hashes(connection)
    await make(connection, SMALL)
    await make(connection, replace(SMALL, seed=3, replace=True))
    product = await product_by_slug(connection, "demo-suite")
    await remove_fleet(connection, product.id)
    await connection.execute("DELETE FROM products WHERE product_id = $1", product.id)
    assert await hashes(connection) == before


async def test_a_real_product_is_never_touched(connection, make):
    await add_product(connection, "Demo Suite", now=END)
    before = await hashes(connection)
    for order in (SMALL, replace(SMALL, replace=True)):
        with pytest.raises(NotSimulated, match="real one"):
            await make(connection, order)
    assert await hashes(connection) == before


async def test_a_fleet_is_made_over_only_if_that_is_said(connection, make):
    await make(connection, SMALL)
    before = await hashes(connection)
    with pytest.raises(AlreadyThere, match="--replace"):
        await make(connection, replace(SMALL, seed=9))
    assert await hashes(connection) == before


async def test_a_fleet_is_there_whole_or_not_at_all(connection, make, monkeypatch):
    before = await hashes(connection)

    async def fail(*_):
        raise OSError("the power went")

    monkeypatch.setattr(making.store, "finish", fail)
    with pytest.raises(OSError, match="power"):
        await make(connection, SMALL)
    assert await hashes(connection) == before
    assert await connection.fetchval("SELECT count(*) FROM pg_class WHERE relname = 'stretches'") == 0


async def test_two_fleets_are_not_made_at_once(connection, database, make):
    other = await asyncpg.connect(database)
    async with other.transaction():
        await other.fetchval("SELECT pg_try_advisory_xact_lock(7265430000003)")
        with pytest.raises(FleetBeingMade):
            await make(connection, SMALL)
    await other.close()
    await make(connection, SMALL)


async def test_so_few_pings_that_they_show_nothing_are_refused(connection, make):
    with pytest.raises(TooFewPings, match="at least 10"):
        await make(connection, replace(SMALL, pings=1_000))
    with pytest.raises(TooFewPings):
        await make(connection, replace(SMALL, pings=120 * 90 * 1441))


async def test_roll_ups_look_back_and_other_jobs_do_not(connection, make):
    await connection.executemany(
        "INSERT INTO rollup_marks VALUES ($1, $2)", [("roll up pings", END), ("watch deadlines", END)]
    )
    made = await make(connection, SMALL)
    marks = dict(await connection.fetch("SELECT name, reached_at FROM rollup_marks"))
    assert marks == {"roll up pings": made.begins_at, "watch deadlines": END}


async def test_progress_is_told_to_the_end(connection, make):
    told = {}

    def progress(step, done, whole):
        told.setdefault(step, []).append((done, whole))

    made = await make(connection, SMALL, progress)
    for step, whole in (("installations", 120), ("pings", made.pings)):
        assert sum(done for done, _ in told[step]) == whole == told[step][0][1]


async def test_a_fleet_waits_for_the_roll_up_that_is_at_it(connection, database, make):
    """Whoever is half way through the pings would move the mark on, beyond those of the fleet."""
    rolling_up = await asyncpg.connect(database)
    await rolling_up.fetchval("SELECT pg_advisory_lock($1)", lock_number(JobName.ROLL_UP_PINGS))
    making = asyncio.ensure_future(make(connection, SMALL))
    waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
    await until(lambda: rolling_up.fetchval(waiting))
    assert not making.done()
    await rolling_up.execute("INSERT INTO rollup_marks VALUES ($1, $2)", JobName.ROLL_UP_PINGS, END)
    await rolling_up.close()
    made = await making
    assert await connection.fetchval("SELECT reached_at FROM rollup_marks") == made.begins_at
