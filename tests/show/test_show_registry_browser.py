"""The pages of the registry in a real browser: they fit, keep the policy, and work without scripts."""

from datetime import UTC, datetime, timedelta

import pytest
from test_show_browser import CHROMIUM, assert_that_it_fits, opened

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # Playwright's own pipes
]


@pytest.fixture
async def settled(server, fleet, tmp_path):
    """A server with a fleet, and the licenses of a file of which one has hostile words."""
    server.slug = await server.fetchval("SELECT slug FROM products")
    file = tmp_path / "licenses.csv"
    evil = '"<script>alert(1)</script><img src=x onerror=alert(2)>' + "W" * 64 + '"'
    file.write_text(
        "key,seats,customer_company,customer_email,order_reference,expires_at\n"
        f"KEY-ONE-0001,2,{evil},ada@example.com,{evil},2027-01-31\nKEY-TWO-0002,,Bob,bob@example.com,A-1,\n"
    )
    server.command("license", "import", str(file), "--product", server.slug)
    await server.fetch(
        "UPDATE licenses SET seats_used = 1, expires_at = now() + interval '9 days'"
        " WHERE key_hint = '0002' RETURNING license_id"
    )
    server.command("run", "list what to clear up")
    return server


async def paths(server, page):
    """Every page here, with the first of each list."""
    found = ["/licenses", "/licenses/new", "/licenses/import", "/customers", "/customers/new", "/to-clear-up"]
    found += ["/releases", "/features", "/settings", "/licenses?show=unknown"]
    for path in ("/licenses", "/customers"):
        await page.goto(server.url + path)
        one = await page.locator("tbody tr[data-row] th a").first.get_attribute("href")
        found += [one, f"{one}/edit"]
    return found


async def test_no_page_breaks_its_own_rules_or_grows_wider_than_its_window(settled):
    async with opened(settled) as (page, wrong):
        for path in await paths(settled, page):
            await page.goto(settled.url + path)
            for scheme in ("light", "dark"):
                await page.emulate_media(color_scheme=scheme)
                await assert_that_it_fits(page, (1440, 768, 380, 320))
            assert await page.locator("main img, main script").count() == 0, path
        assert wrong == []


async def test_a_license_is_imported_changed_and_explained_without_scripts(settled, tmp_path):
    file = tmp_path / "more.csv"
    file.write_text("key,seats\nKEY-ONE-0001,7\nKEY-NEW-0003,1\n")
    async with opened(settled, java_script_enabled=False) as (page, wrong):
        await page.goto(f"{settled.url}/licenses/import")
        await page.locator("input[type=file]").set_input_files(file)
        await page.get_by_role("button", name="Check the file").click()
        assert "Nothing is saved yet" in await page.inner_text("#outcome")
        await page.get_by_role("button", name="Import 2 licenses").click()
        assert "Imported" in await page.inner_text("#outcome")
        await page.goto(f"{settled.url}/licenses?filter=hint%3D0001")
        await page.locator("tbody tr[data-row] th a").first.click()
        await page.get_by_role("button", name="Revoke").click()
        await page.get_by_label("Reason, for the history").fill("chargeback")
        await page.get_by_role("button", name="Save").click()
        assert "chargeback" in await page.inner_text("#history")
        rows = await settled.fetch("SELECT key_hint, seats, status FROM licenses ORDER BY key_hint")
        assert [tuple(row) for row in rows] == [
            ("0001", 7, "revoked"),
            ("0002", None, "active"),
            ("0003", 1, "active"),
        ]
        await page.goto(f"{settled.url}/to-clear-up")
        before = await page.locator("tbody tr[data-row]").count()
        assert before > 0
        await page.locator("tbody input[type=checkbox]").first.check()
        await page.get_by_label("Chosen rows").select_option("explained")
        await page.locator("input[name=until]").fill(
            (datetime.now(UTC) + timedelta(days=30)).date().isoformat()
        )
        await page.get_by_role("button", name="Apply").click()
        assert "1 row changed." in await page.inner_text(".undo")
        await page.get_by_role("button", name="Undo").click()
        await page.locator("tbody tr[data-row]").nth(before - 1).wait_for()
        assert await page.locator("tbody tr[data-row]").count() == before
        assert wrong == []
