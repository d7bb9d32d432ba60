"""A large fleet is counted by a job: what people see is what they see of a small one."""

from datetime import UTC, datetime, timedelta

import pytest

from telemetry_server.check.filters.filter_fields import INSTALLATIONS
from telemetry_server.check.filters.terms import Filter, term
from telemetry_server.check.ranges import RANGES
from telemetry_server.jobs.days import SMALL
from telemetry_server.jobs.fleet_now import count_the_fleet
from telemetry_server.store.counts import counting, fleet_now
from telemetry_server.store.counts import overview as store
from telemetry_server.store.database import make_pool

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
    return {
        (product, over.name): (
            await store.totals(pool, product, over, NOW),
            await store.facets(pool, product, over, NOW),
            await store.new_over_time(pool, product, over, NOW),
            await store.pings_by_hour(pool, product, RANGES["24h"].since(NOW)),
        )
        for product in PRODUCTS
        for over in RANGES.values()
    }


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
    assert await run(site) == "counted the fleet anew"
    assert await store.counted_at(pool) == NOW
    assert await on_the_overview(pool) == seen
    assert await by_dimension(pool) == counted
    totals, facets, newcomers, pings = seen[None, "90d"]
    assert min(totals["seen"], totals["missing"], totals["lost"], len(facets), len(newcomers), len(pings)) > 0


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
    assert await store.counted_at(pool) == NOW
    await site.execute("DELETE FROM installation_facts")
    assert await run(site, now=NOW + timedelta(minutes=6)) == "counted the fleet anew"
    assert (await store.totals(pool, None, RANGES["90d"], NOW))["known"] == 0


async def test_a_fleet_that_is_small_again_is_counted_when_somebody_asks(site, fleet, pool):
    await run(site)
    assert "small" in await run(site, SMALL)
    assert await store.counted_at(pool) is None
    assert await site.execute("TABLE fleet_now") == []


async def test_made_up_values_become_other(site, fleet, pool, monkeypatch):
    monkeypatch.setattr(fleet_now, "MOST_VALUES", 2)
    before = await counting.present(pool, counting.Question("country", Filter(), NOW, values=2))
    await run(site)
    after = await counting.present(pool, counting.Question("country", Filter(), NOW, values=9))
    assert {row["value"] or "other": row["installations"] for row in before.rows} == {
        row["value"]: row["installations"] for row in after.rows
    }
