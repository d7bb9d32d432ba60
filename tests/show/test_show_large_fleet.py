"""A large fleet is counted by a job: what people see is what they see of a small one."""

from datetime import UTC, datetime, timedelta

import pytest

from telemetry_server.check.filters.filter_fields import INSTALLATIONS
from telemetry_server.check.filters.terms import Filter, term
from telemetry_server.check.ranges import RANGES
from telemetry_server.jobs.fleet_now import count_the_fleet
from telemetry_server.store.counts import counting, fleet_now
from telemetry_server.store.counts import overview as store
from telemetry_server.store.database import make_pool
from telemetry_server.store.registry.products import add_product

PRODUCTS = (None, "billing-suite", "nothing")
NOW = datetime.now(UTC)


@pytest.fixture
async def pool(database):
    async with make_pool(database) as pool:
        yield pool


async def run(site, small=0, now=NOW):
    return await site.with_database(lambda connection: count_the_fleet(small)(connection, now))


async def on_the_overview(pool):
    """All numbers of the overview that are of the fleet as it is now."""
    found = {}
    for product in PRODUCTS:
        fleet = await store.fleet(pool, product, NOW)
        for over in RANGES.values():
            found[product, over.name] = (
                await store.totals(pool, fleet, over),
                await store.pings_by_hour(pool, fleet, RANGES["24h"].first_step(NOW)),
            )
    return found


async def counted_at(pool):
    """When the job counted the fleet."""
    counted = (await store.fleet(pool, None, NOW)).counted
    return counted.at if counted.by_job else None


async def by_dimension(pool):
    """The present fleet by all that it is counted by, as a whole and by product."""
    wanted = [
        Filter(),
        term(INSTALLATIONS["product"], "=", "billing-suite"),
        term(INSTALLATIONS["simulated"], "=", "true"),
    ]
    return {
        (by, str(asked)): (await counting.present(pool, counting.Question(by, asked, NOW, values=5))).rows
        for by in counting.DIMENSIONS
        for asked in wanted
    }


async def test_what_was_counted_is_what_would_be_counted_now(site, fleet, pool):
    await site.execute("UPDATE installations SET lost = 3 WHERE installation_id = $1", fleet[0])
    seen, counted = await on_the_overview(pool), await by_dimension(pool)
    assert await run(site) == "counted the fleet again"
    assert await counted_at(pool) == NOW
    assert await on_the_overview(pool) == seen
    assert await by_dimension(pool) == counted
    totals, pings = seen[None, "90d"]
    assert min(totals["seen"], totals["missing"], totals["lost"], len(pings)) > 0


async def test_the_overview_says_when_a_large_fleet_was_counted(site, fleet):
    person = await site.person()
    before = await person.get("/?range=90d")
    await run(site, now=datetime.now(UTC) - timedelta(minutes=3))
    after = await person.get("/?range=90d")
    assert (before.status, after.status) == (200, 200)
    assert ", counted " not in before.text
    assert ", counted " in after.text
    assert ">3 min ago<" in after.text


async def test_a_large_fleet_is_counted_again_when_it_has_waited(site, fleet, pool):
    await run(site)
    assert "counted at" in await run(site, now=NOW + timedelta(minutes=4))
    assert await counted_at(pool) == NOW
    for table in ("installation_facts", "installations"):
        await site.execute(f"DELETE FROM {table} WHERE installation_id <> $1", fleet[0])
    assert await run(site, now=NOW + timedelta(minutes=6)) == "counted the fleet again"
    assert (await store.totals(pool, await store.fleet(pool, None, NOW), RANGES["90d"]))["known"] == 1


async def test_a_fleet_that_is_small_again_is_counted_when_somebody_asks(site, fleet, pool):
    await run(site)
    assert "small" in await run(site, fleet_now.SMALL)
    assert await counted_at(pool) is None
    assert await site.execute("TABLE fleet_now") == []


async def test_made_up_values_become_other(site, fleet, pool, monkeypatch):
    before = await counting.present(pool, counting.Question("country", Filter(), NOW, values=2))
    monkeypatch.setattr(fleet_now, "MOST_VALUES", 2)
    await run(site)
    after = await counting.present(pool, counting.Question("country", Filter(), NOW, values=9))
    assert {row["value"] or "other": row["installations"] for row in before.rows} == {
        row["value"]: row["installations"] for row in after.rows
    }


async def test_every_number_is_that_of_the_rows_from_exactly_so_long_ago(site, fleet, pool):
    """Of a copy last seen just within, and of one just before, each range."""
    for over in RANGES.values():
        within, before = over.since(NOW) + timedelta(seconds=1), over.since(NOW) - timedelta(seconds=1)
        for moment, one in zip((within, before), fleet[:2], strict=True):
            for table in ("installations", "installation_facts"):
                await site.execute(
                    f"UPDATE {table} SET first_received_at = $2 WHERE installation_id = $1", one, moment
                )
            await site.execute(
                "UPDATE installations SET last_received_at = $2 WHERE installation_id = $1", one, moment
            )
        [expected] = await site.execute(
            "SELECT count(*) AS known, count(*) FILTER (WHERE last_received_at >= $1) AS seen,"
            " count(*) FILTER (WHERE first_received_at >= $1) AS new FROM installations",
            over.since(NOW),
        )
        for count_first in (False, True):
            if count_first:
                await site.execute("DELETE FROM rollup_marks")
                await run(site)
            asked = await store.fleet(pool, None, NOW)
            assert asked.counted.by_job is count_first
            assert dict(expected).items() <= (await store.totals(pool, asked, over)).items()
        await run(site, fleet_now.SMALL)


@pytest.fixture
async def uncounted(site, fleet):
    """A product that was new after the large fleet was counted."""
    await run(site, now=datetime.now(UTC) - timedelta(minutes=3))
    product, _ = await site.with_database(add_product, "Panel", now=datetime.now(UTC))
    for table in ("installations", "installation_facts"):
        await site.execute(
            f"UPDATE {table} SET product_id = $2 WHERE installation_id = $1", fleet[0], product.id
        )
    return product


@pytest.mark.parametrize("name", RANGES)
async def test_a_product_that_is_not_counted_yet_has_no_numbers(site, uncounted, name):
    person = await site.person()
    text = (await person.get(f"/?product=panel&range={name}")).text
    assert text.count("Not counted yet") + text.count("not counted yet") > 5
    assert "Missing and lost pings: not counted yet." in text
    assert "of 0 known" not in text
    assert "none missing" not in text
    assert "No forks, no gaps" not in text
    assert "counted within a few minutes" in text
    assert "within a few minutes" not in (await person.get(f"/?range={name}")).text


async def test_the_api_has_null_for_what_is_not_counted_yet(site, uncounted):
    program = await site.program()
    for path in ("product=panel", "by=country&filter=product%3Dpanel"):
        document = (await program.get(f"/api/v1/fleet?{path}")).json
        assert (document["items"], document["counted_until"]) == (None, None)
    everything = (await program.get("/api/v1/fleet?by=product")).json
    assert [item["value"] for item in everything["items"]] == ["billing-suite"]
    narrowed = (await program.get("/api/v1/fleet?product=panel&filter=id!%3D00000000")).json
    assert [item["installations"] for item in narrowed["items"]] == [1]
    await run(site, now=datetime.now(UTC) + timedelta(minutes=6))
    document = (await program.get("/api/v1/fleet?product=panel")).json
    assert [item["installations"] for item in document["items"]] == [1]


async def test_a_product_that_no_one_runs_has_none(site, fleet, pool):
    await site.with_database(add_product, "Panel", now=NOW)
    await run(site)
    asked = await store.fleet(pool, "panel", NOW)
    assert (await store.totals(pool, asked, RANGES["90d"]))["known"] == 0


async def test_a_fleet_that_grew_at_once_is_not_counted_for_the_question(site, fleet, pool, monkeypatch):
    monkeypatch.setattr(fleet_now, "MOST_AT_ONCE", 3)
    assert await store.fleet(pool, None, NOW) is None
    assert (await counting.present(pool, counting.Question("country", Filter(), NOW, values=5))).rows is None
