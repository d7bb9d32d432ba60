"""Live, saved views, share links and notes in a real browser, from two server processes.

With SCREENSHOTS=folder each page is kept there as an image.
"""

from datetime import UTC, datetime, timedelta

import pytest
from demo_fleet import DemoFleet
from installation import Installation
from test_show_browser import CHROMIUM, opened
from test_show_looks import AXE, keep

from telemetry_server.check.fields import load_registry
from telemetry_server.jobs.days import roll_up_days
from telemetry_server.jobs.pings import roll_up_pings
from telemetry_server.store.partitions import make_partitions

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # Playwright's own pipes
]
EVIL = "<script>alert(1)</script><img src=x onerror=alert(2)>" + "W" * 64


@pytest.fixture
async def counted(make_server, connection):
    """Two processes on one port, with a fleet that is counted."""
    server = make_server(workers=2)
    for days in (60, 30):
        await make_partitions(connection, (datetime.now(UTC) - timedelta(days=days)).date())
    [row] = await server.fetch("SELECT slug, product_id FROM products")
    products = {row["slug"]: row["product_id"]}
    await DemoFleet(server.database, products, installations=60, days=35).settle()
    for job in (roll_up_pings, roll_up_days):
        await job(load_registry())(connection, datetime.now(UTC))
    return server


async def test_live_follows_pauses_and_reads_without_scripts(counted):
    copy = await Installation.enrolled(counted)
    await copy.send(copy.ping(service={"version": EVIL[:60]}))
    async with opened(counted, viewport={"width": 1440, "height": 900}) as (page, wrong):
        await page.keyboard.press("g")
        await page.keyboard.press("v")
        await page.wait_for_url("**/live")
        await page.get_by_text("Pings as they arrive").wait_for()
        rows = page.locator(f"tbody tr:has(a[href='/installations/{copy.id}'])")
        assert await rows.count() == 1
        await copy.send()
        await rows.nth(1).wait_for()
        assert "#2" in await rows.first.inner_text()
        await page.get_by_role("button", name="Pause").click()
        await page.get_by_text("Paused.").wait_for()
        await copy.send()
        await page.get_by_role("button", name="Continue").click()
        await rows.nth(2).wait_for()  # what came meanwhile is not lost
        await page.goto(f"{counted.url}/installations/{copy.id}")
        await page.get_by_role("link", name="Follow").click()
        await page.get_by_text("Pings as they arrive").wait_for()
        sent, sequence = page.locator(".sent"), 3
        while not await sent.count():  # each process learns within two seconds whom someone follows
            sequence += 1
            await copy.send(copy.ping(plans=EVIL))
            await page.locator("tbody tr", has_text=f"#{sequence} ").wait_for()
        await sent.first.wait_for()
        assert "plans" in await sent.first.inner_text()
        assert await page.locator("main img, main script:not([src])").count() == 0
        assert wrong == []
    async with opened(counted, java_script_enabled=False) as (page, wrong):
        await page.goto(f"{counted.url}/live")
        before = await page.locator("tbody tr").count()
        await copy.send()
        await page.get_by_role("link", name="Refresh").click()
        assert await page.locator("tbody tr").count() == min(before + 1, 50)
        assert wrong == []


async def test_views_links_and_notes_are_made_in_the_browser_and_are_for_everyone(counted):
    copy = await Installation.enrolled(counted)
    await copy.send()
    async with opened(counted, viewport={"width": 1440, "height": 900}, bypass_csp=True) as (page, wrong):
        await page.goto(f"{counted.url}/?range=7d")
        await page.get_by_title("Save this view").click()
        await page.get_by_label("Name").fill(EVIL[:80])
        await page.get_by_role("button", name="Save this view").click()
        await page.wait_for_url("**/?range=7d")
        view = page.get_by_role("navigation", name="Pages").get_by_role("link", name=EVIL[:40])
        assert await view.get_attribute("aria-current") == "page"
        await page.get_by_text("+ Note").click()
        await page.get_by_label("Note", exact=True).fill(EVIL[:120])
        await page.get_by_role("button", name="Add the note").click()
        await page.locator(".note-mark").first.wait_for()
        await page.get_by_title("Save this view").click()
        await page.get_by_role("link", name="Share without an account…").click()
        await page.get_by_label("Whom it is for").fill("Sales")
        await page.get_by_role("button", name="Make the link").click()
        made = await page.locator("#once code").inner_text()
        shared = made.replace(made.partition("/shared")[0], counted.url)
        assert shared.endswith("?range=7d")
        paths = {
            "notes": "/?range=7d",
            "views": "/views",
            "links": "/links",
            "live": "/live",
            "following": f"/live?installation_id={copy.id}",
            "shared": shared.removeprefix(counted.url),
            "shared-map": shared.removeprefix(counted.url).replace("?", "/map?"),
        }
        found, wide = {}, []
        for name, path in paths.items():
            await page.goto(counted.url + path)
            for scheme in ("light", "dark"):
                await page.emulate_media(color_scheme=scheme)
                for width in (1440, 380, 320):
                    await page.set_viewport_size({"width": width, "height": 900})
                    if await page.evaluate("document.documentElement.scrollWidth") > width:
                        wide.append((name, width))
                    await keep(page, f"{name}-{width}-{scheme}")
                await page.set_viewport_size({"width": 1440, "height": 900})
                await page.evaluate(AXE)
                answer = await page.evaluate("axe.run({ resultTypes: ['violations'] })")
                for rule in answer["violations"]:
                    found.setdefault(rule["id"], []).append((name, scheme, rule["nodes"][0]["html"][:160]))
            assert await page.locator("main img, main script:not([src])").count() == 0
        assert (found, wide, wrong) == ({}, [], [])


async def test_going_back_restores_the_page_and_the_place_in_it(counted):
    async with opened(counted, viewport={"width": 1440, "height": 700}) as (page, wrong):
        await page.goto(f"{counted.url}/")
        await page.evaluate("scrollTo(0, 500)")
        await page.get_by_role("link", name="Edition").click()
        await page.wait_for_url("**/?software=edition")
        await page.go_back()
        await page.wait_for_url(f"{counted.url}/")
        await page.wait_for_function("scrollY === 500")
        await page.locator(".rail a", has_text="Installations").click()
        await page.wait_for_url("**/installations")
        await page.go_back()
        await page.wait_for_function("scrollY === 500")
        assert wrong == []
