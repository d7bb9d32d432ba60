"""Every view of the numbers of a simulated fleet says so."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from telemetry_server.jobs.clear_up import list_what_to_clear_up
from telemetry_server.keyring import open_keyring
from telemetry_server.model import Role
from telemetry_server.routing import Access
from telemetry_server.show.routes import ROUTES
from telemetry_server.simulate.making import Order, make_fleet
from telemetry_server.store.registry.products import add_product

OF_NO_FLEET = {"/audit", "/tokens", "/settings", "/views", "/links", "/bundles"}
"""Pages of people and of the server, beside those of accounts, of signing in and forms."""
PAGES = [
    route
    for route in ROUTES
    if (route.page, route.access, route.method) == (True, Access.PERSON, "GET")
    and not route.path.startswith(("/account", "/people", "/sign-in"))
    and not route.path.endswith(("/new", "/edit", "/import"))
    and route.path not in OF_NO_FLEET
]
BADGE = 'class="badge simulated"'


@pytest.fixture
async def simulated(site, tmp_path):
    """A site with a simulated product and its fleet."""
    order = Order(
        "Demo Suite", installations=60, pings=720, days=30, seed=1, end=datetime.now(UTC) - timedelta(hours=1)
    )

    async def make(connection):
        await make_fleet(connection, open_keyring(tmp_path / "keyring.json"), order, lambda *_: None)

    await site.with_database(make)
    return site


IDS = {
    "installation_id": "SELECT installation_id FROM installations ORDER BY installation_id LIMIT 1",
    "license_id": "SELECT license_id FROM licenses ORDER BY license_id LIMIT 1",
    "customer_id": "SELECT customer_id FROM licenses WHERE customer_id IS NOT NULL ORDER BY license_id LIMIT 1",
    "clear_up_id": "SELECT clear_up_id FROM clear_up_items ORDER BY clear_up_id LIMIT 1",
}


async def path_of(site, route):
    """The page's path, with one that is there in it, or with one that is not where there is none."""
    name = route.path.partition("{")[2].partition("}")[0]
    if not name:
        return route.path
    rows = await site.execute(IDS[name])
    return route.path.replace(f"{{{name}}}", str(rows[0][0] if rows else UUID(int=0)))


@pytest.mark.parametrize("route", PAGES, ids=lambda route: route.path)
async def test_every_page_says_that_what_it_shows_is_simulated(simulated, route):
    await simulated.with_database(list_what_to_clear_up, datetime.now(UTC))
    person = await simulated.person(Role.INVESTIGATOR)
    answer = await person.get(await path_of(simulated, route))
    assert answer.status == 200
    assert BADGE in answer.text


@pytest.mark.parametrize("route", PAGES, ids=lambda route: route.path)
async def test_no_page_says_so_of_real_numbers(site, fleet, route):
    answer = await (await site.person(Role.INVESTIGATOR)).get(await path_of(site, route))
    assert BADGE not in answer.text


@pytest.mark.parametrize("path", ["/", "/installations", "/intake"])
async def test_among_several_products_the_simulated_ones_are_named(simulated, path):
    await simulated.with_database(add_product, "Billing", now=datetime.now(UTC))
    person = await simulated.person()
    everything = (await person.get(path)).text
    assert "Simulated products among these: Demo Suite." in everything
    assert f"Demo Suite <span {BADGE}>simulated</span>" in everything
    assert "Simulated data." in (await person.get(f"{path}?product=demo-suite")).text
    real = (await person.get(f"{path}?product=billing")).text
    assert BADGE not in real.partition("<main")[2].split("<table")[0]


async def test_the_api_says_which_products_are_simulated(simulated):
    await simulated.with_database(add_product, "Billing", now=datetime.now(UTC))
    items = (await (await simulated.program()).get("/api/v1/products")).json["items"]
    assert {item["slug"]: item["simulated"] for item in items} == {"billing": False, "demo-suite": True}


@pytest.mark.parametrize("what", ["installations", "pings", "changes"])
async def test_every_item_says_whether_it_is_simulated(simulated, fleet, what):
    items = (await (await simulated.program()).get(f"/api/v1/{what}?limit=500")).json["items"]
    said = {(item["product"], item["simulated"]) for item in items}
    assert said == {("demo-suite", True), ("billing-suite", False)}


async def test_every_license_says_whether_it_is_simulated(simulated, fleet):
    """The fleet has no license: the first one made is of a real product."""
    program = await simulated.program(Role.ADMIN)
    made = await program.request(
        "POST", "/api/v1/licenses", json={"product": "billing-suite", "key": "A-KEY-OF-OURS"}
    )
    assert (made.status, made.json["simulated"]) == (201, False)
    items = (await program.get("/api/v1/licenses?limit=500")).json["items"]
    assert {(item["product"], item["simulated"]) for item in items} == {
        ("demo-suite", True),
        ("billing-suite", False),
    }


@pytest.mark.parametrize(
    ("asked", "made_up"),
    [
        ("fleet?by=country", ["demo-suite"]),
        ("fleet?step=day", ["demo-suite"]),
        ("fleet?step=day&filter=country%3DDE", ["demo-suite"]),
        ("fleet?product=demo-suite", ["demo-suite"]),
        ("fleet?product=billing", []),
        ("fleet?filter=product!%3Ddemo-suite", []),
        ("fleet?filter=simulated%3Dfalse", []),
        ("fleet?filter=simulated!%3Dfalse+product%3Dbilling,demo-suite", ["demo-suite"]),
        ("features", ["demo-suite"]),
        ("features?product=billing", []),
        ("cohorts", ["demo-suite"]),
        ("cohorts?product=billing", []),
    ],
)
async def test_counts_say_which_products_in_them_are_simulated(simulated, asked, made_up):
    await simulated.with_database(add_product, "Billing", now=datetime.now(UTC))
    document = (await (await simulated.program()).get(f"/api/v1/{asked}")).json
    assert document["simulated"] == made_up
