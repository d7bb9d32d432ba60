"""Habits of people who work with the pages all day: palette, panel, columns, keys; with a browser and without."""

import re
from html import unescape

import pytest
from registry_pages import words
from test_show_accounts import colleague, submit
from test_show_browser import CHROMIUM, opened

from telemetry_server.model import Role

browser = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")  # Playwright's own pipes


@pytest.mark.browser
@browser
async def test_the_palette_leads_anywhere_by_the_keyboard(counted):
    async with opened(counted, viewport={"width": 1440, "height": 900}) as (page, wrong):
        await page.keyboard.press("Control+k")
        assert await page.get_by_role("option").count() > 8
        for _ in range(4):
            await page.keyboard.press("Tab")
            assert await page.evaluate(
                "document.activeElement === document.body || !!document.activeElement.closest('#palette')"
            )
        await page.keyboard.press("Escape")
        assert not await page.locator("#palette").is_visible()
        await page.keyboard.press("Control+k")
        await page.keyboard.type("rel")
        await page.keyboard.press("Enter")
        await page.wait_for_url("**/releases")
        await page.keyboard.press("Control+k")
        await page.keyboard.type(counted.ids["{id}"])
        await page.get_by_role("option", name="installation").wait_for()
        await page.keyboard.press("Enter")
        await page.wait_for_url(f"**/installations/{counted.ids['{id}']}")
        await page.keyboard.press("Control+k")
        await page.keyboard.type("Ada GmbH")
        await page.get_by_role("option", name="customer").wait_for()
        await page.keyboard.press("Enter")
        await page.wait_for_url(f"**/customers/{counted.ids['{customer}']}")
        assert wrong == []


@pytest.mark.browser
@browser
async def test_the_summary_of_an_installation_stands_beside_the_list(counted):
    async with opened(counted, viewport={"width": 1440, "height": 900}) as (page, wrong):
        await page.goto(f"{counted.url}/installations?sort=last")
        ids = [
            href.rpartition("/")[2]
            for href in await page.locator("tbody th a").evaluate_all("all => all.map(a => a.href)")
        ]
        for key in ("j", "j", "Enter"):
            await page.keyboard.press(key)
        await page.wait_for_url(f"**/installations?sort=last&installation_id={ids[1]}")
        panel = page.locator("#panel")
        assert ids[1][:13] in await panel.inner_text()
        await page.keyboard.press("j")
        await page.wait_for_url(f"**installation_id={ids[2]}")
        assert ids[2][:13] in await panel.inner_text()
        assert (
            await page.locator("tr[aria-current] a").first.get_attribute("href") == f"/installations/{ids[2]}"
        )
        await page.reload()
        assert ids[2][:13] in await panel.inner_text()
        await page.keyboard.press("Escape")
        await page.wait_for_url(f"{counted.url}/installations?sort=last")
        assert await panel.count() == 0
        await page.locator("tbody tr").nth(3).locator("td").last.click()
        await page.wait_for_url(f"**installation_id={ids[3]}")
        await page.locator("tbody th a").nth(3).focus()
        await page.keyboard.press("Enter")
        await page.wait_for_url(f"**/installations/{ids[3]}")
        assert wrong == []


@pytest.mark.browser
@browser
async def test_keys_of_one_letter_are_switched_off_in_this_browser(counted):
    async with opened(counted, viewport={"width": 1440, "height": 900}) as (page, wrong):
        await page.keyboard.press("?")
        await page.get_by_label("Keys of one letter").uncheck()
        await page.keyboard.press("Escape")
        await page.goto(f"{counted.url}/installations")
        for key in ("g", "o", "f", "?"):
            await page.keyboard.press(key)
        assert page.url == f"{counted.url}/installations"
        assert await page.locator(".menu[open], dialog[open]").count() == 0
        await page.get_by_role("button", name="Keyboard shortcuts").click()
        await page.get_by_label("Keys of one letter").check()
        await page.keyboard.press("Escape")
        await page.keyboard.press("f")
        assert await page.locator(".menu[open] .facets").is_visible()
        assert wrong == []


# ── without scripts ─────────────────────────────────────────────────────────────────────────


async def test_the_search_field_finds_pages_and_products(site, fleet):
    viewer = await site.person()
    page = (await viewer.get("/search?q=relea")).text
    assert re.search(r'<a href="/releases"><bdi>Releases</bdi></a></th><td[^>]*>page<', page)
    page = (await viewer.get("/search?q=billing")).text
    assert re.search(
        r'<a href="/\?product=billing-suite"><bdi>Billing Suite</bdi></a></th><td[^>]*>product<', page
    )


async def test_the_summary_is_there_without_scripts(site, fleet):
    viewer, other = await site.person(), "019ab6ef-f2a0-7c44-8d53-1b6a0f4e7c90"
    page = (await viewer.get(f"/installations?installation_id={fleet[0]}")).text
    panel = page.partition('<aside class="panel')[2]
    assert f'href="/installations/{fleet[0]}?tab=evidence"' in panel
    assert "Operating system" in panel
    page = await viewer.get(f"/installations?installation_id={other}")
    assert page.status == 200
    assert "No installation has this id." in page.text


def heads(html):
    return re.findall(r'<th scope="col"[^>]*>(?:<a[^>]*>)?([^<]+)', html.partition("<tbody>")[0])


async def test_columns_are_chosen_in_the_address_and_remembered_in_the_profile(site, fleet):
    person = await colleague(site, role=Role.INVESTIGATOR)
    usual = (await person.get("/installations")).text
    assert heads(usual)[:3] == ["Verdict", "License", "Version"]
    [more] = [unescape(href) for href in re.findall(r'<a href="([^"]+)">Product</a>', usual)]
    assert heads((await person.get(more)).text)[:3] == ["Verdict", "Product", "License"]
    few = await person.get("/installations?columns=last,place,arch")
    assert [head.strip() for head in heads(few.text)] == ["Verdict", "Architecture", "Place", "Last ping"]
    back = await submit(
        person,
        "/account/columns",
        of="/installations?columns=last,place",
        columns="place,last",
        next="/installations",
    )
    assert back.headers["Location"] == "/installations"
    assert heads((await person.get("/installations")).text) == ["Verdict", "Place", "Last ping"]
    assert (await person.get("/installations?columns=colour")).status == 400
    assert (await submit(person, "/account/columns", columns="")).status == 303
    assert heads((await person.get("/installations")).text) == heads(usual)


# ── filters on the overview ─────────────────────────────────────────────────────────────────


async def test_filters_narrow_the_overview_and_the_map(site, fleet):
    viewer = await site.person()
    wanted = "filter=country%3DDE"
    known = (await site.execute("SELECT count(*) FROM installation_facts WHERE country = 'DE'"))[0]["count"]
    overview = words((await viewer.get(f"/?{wanted}")).text)
    assert f"of {known} known" in overview
    assert "Of all copies: what is to clear up" in overview
    links = [unescape(href) for href in re.findall(r'href="([^"]+)"', (await viewer.get(f"/?{wanted}")).text)]
    assert f"/map?{wanted}" in links
    assert "/" in links  # without the filter
    rows = [href for href in links if href.startswith("/installations?") and "version=" in href]
    assert rows
    assert all("country%3DDE" in href for href in rows)
    shown = words((await viewer.get(f"/map?show=active&{wanted}")).text)
    assert "Germany" in shown
    assert "France" not in shown
    assert (await viewer.get("/?filter=contry%3DDE")).status == 400


async def test_all_that_narrows_a_list_travels_to_the_overview(site, fleet):
    viewer = await site.person()
    page = (await viewer.get("/installations?country=DE&product=billing-suite")).text
    assert "/?product=billing-suite&filter=country%3DDE" in map(unescape, re.findall(r'href="([^"]+)"', page))


# ── what only some may see ──────────────────────────────────────────────────────────────────


async def test_facts_of_a_license_are_for_those_who_may_see_licenses(site, fleet, product):
    [row] = await site.execute(
        "INSERT INTO licenses (license_id, product_id, key_hash, key_hint, seats, seats_used, created_at, updated_at)"
        " VALUES (gen_random_uuid(), $1, sha256('x'), 'HINT', 987654, 321, now(), now()) RETURNING license_id",
        product.id,
    )
    await site.execute(
        "UPDATE installation_facts SET license_id = $1, verdict = 'valid', judge_again = false", *row
    )
    investigator, support = [await site.person(role) for role in (Role.INVESTIGATOR, Role.SUPPORT)]
    for tab in ("summary", "evidence"):
        path = f"/installations/{fleet[0]}?tab={tab}"
        assert "987,654" in (await investigator.get(path)).text
        page = (await support.get(path)).text
        assert not re.search(r"987,654|HINT|/licenses/", page)
    panel = (await support.get(f"/installations?installation_id={fleet[0]}")).text
    assert not re.search(r"987,654|HINT|/licenses/", panel)
