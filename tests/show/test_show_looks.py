"""How the pages look and behave in a real browser: for everyone, in both schemes, at every width.

With SCREENSHOTS=folder each page is kept there as an image.
"""

import os
from pathlib import Path

import axe_playwright_python
import pytest
from test_show_browser import CHROMIUM, opened

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # Playwright's own pipes
]
AXE = (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text()
SHIFTS = """() => new Promise((done) => {
  let sum = 0;
  new PerformanceObserver((list) => {
    for (const one of list.getEntries()) if (!one.hadRecentInput) sum += one.value;
  }).observe({ type: "layout-shift", buffered: true });
  setTimeout(() => done(sum), 100);
})"""
COLOURS = {"runOnly": {"type": "rule", "values": ["color-contrast", "link-in-text-block"]}}
"""The rules that another scheme can break."""
WIDTHS = (1440, 768, 380)
PAGES = {
    "overview": "/",
    "overview-24h": "/?range=24h",
    "overview-filtered": "/?filter=country%3DDE",
    "to-clear-up": "/to-clear-up",
    "installations": "/installations",
    "filtered": "/installations?filter=verdict%3Dunknown_key+life!%3Dlost&sort=-last",
    "panel": "/installations?installation_id={id}",
    "wrong-filter": "/installations?filter=contry%3DDE",
    "summary": "/installations/{id}",
    "timeline": "/installations/{id}?tab=timeline",
    "pings": "/installations/{id}?tab=pings",
    "features-of-one": "/installations/{id}?tab=features",
    "evidence": "/installations/{id}?tab=evidence",
    "licenses": "/licenses",
    "license": "/licenses/{license}",
    "license-form": "/licenses/new",
    "license-import": "/licenses/import",
    "customers": "/customers",
    "customer": "/customers/{customer}",
    "features": "/features",
    "releases": "/releases",
    "changes": "/changes?field=life",
    "map": "/map",
    "search": "/search?q=7.2.*",
    "intake": "/intake",
    "settings": "/settings",
    "people": "/people",
    "tokens": "/tokens",
    "audit": "/audit",
    "privacy": "/privacy",
    "privacy-office": "/privacy/office",
    "account": "/account",
    "nowhere": "/nowhere",
}


def address(server, path):
    for name, value in server.ids.items():
        path = path.replace(name, value)
    return server.url + path


@pytest.mark.timeout(400)
@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_every_page_is_for_everyone_and_stays_where_it_is(counted, scheme):
    """axe-core finds nothing, nothing moves while it loads, and nothing is wider than a small phone.

    What does not depend on the scheme is looked at in the light one: each page is loaded there at each width.
    """
    found, moved, wide = {}, {}, {}
    rules = {"resultTypes": ["violations"]} | (COLOURS if scheme == "dark" else {})
    async with opened(counted, color_scheme=scheme, bypass_csp=True) as (page, wrong):
        await page.context.add_init_script(AXE)
        for name, path in PAGES.items():
            for width in WIDTHS:
                await page.set_viewport_size({"width": width, "height": 900})
                if scheme == "light" or width == WIDTHS[0]:
                    await page.goto(address(counted, path))
                    if (shifted := await page.evaluate(SHIFTS)) >= 0.05:
                        moved[name, width] = shifted
                await keep(page, f"{name}-{width}-{scheme}")
                if width != 768:
                    answer = await page.evaluate("(rules) => axe.run(rules)", rules)
                    for rule in answer["violations"]:
                        found.setdefault(rule["id"], []).append((name, rule["nodes"][0]["html"][:120]))
            await page.set_viewport_size({"width": 320, "height": 800})
            if (wider := await page.evaluate("document.documentElement.scrollWidth")) > 320:
                wide[name] = wider
        assert (found, moved, wide) == ({}, {}, {})
        assert [text for text in wrong if "status of 40" not in text] == []


async def keep(page, name):
    """Keeps the page as an image."""
    if folder := os.environ.get("SCREENSHOTS"):
        await page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)


async def test_eighteen_rows_stand_above_the_fold(counted):
    async with opened(counted, viewport={"width": 1440, "height": 900}) as (page, _):
        await page.goto(f"{counted.url}/installations")
        heights = await page.evaluate(
            "[...document.querySelectorAll('tbody tr')].map((row) => row.getBoundingClientRect())"
            ".filter((box) => box.bottom <= innerHeight).map((box) => box.height)"
        )
        assert len(heights) >= 18
        assert max(heights) <= 38


async def test_the_scope_travels_and_the_page_swaps_in_place(counted):
    async with opened(counted, viewport={"width": 1440, "height": 900}) as (page, wrong):
        await page.evaluate("document.body.dataset.stayed = 'yes'")
        await page.keyboard.press("w")
        await page.wait_for_url("**/?range=7d")
        await page.get_by_role("link", name="Edition").click()
        await page.wait_for_url("**/?range=7d&software=edition")
        assert await page.evaluate("document.body.dataset.stayed") == "yes"
        await page.go_back()
        await page.wait_for_url("**/?range=7d")
        await page.locator("[aria-current=true]", has_text="Version").wait_for()
        await page.keyboard.press("g")
        await page.keyboard.press("i")
        await page.wait_for_url("**/installations?range=7d")
        await page.keyboard.press("g")
        await page.keyboard.press("o")
        await page.wait_for_url("**/?range=7d")
        assert wrong == []


async def test_a_chart_answers_the_pointer_and_the_keyboard_and_zooms(counted):
    async with opened(counted, viewport={"width": 1440, "height": 900}) as (page, wrong):
        field = page.locator(".chart .field").first
        await field.scroll_into_view_if_needed()
        box = await field.bounding_box()
        across = lambda share: (box["x"] + box["width"] * share, box["y"] + box["height"] / 2)  # noqa: E731
        await page.mouse.move(*across(0.5))
        assert await page.locator(".tip").is_visible()
        assert await page.locator(".tip").inner_text() != ""
        await page.mouse.down()
        await page.mouse.move(*across(0.7))
        await page.mouse.up()
        await page.wait_for_url("**from=*&to=*")
        await page.locator(".chart .field").first.focus()
        await page.keyboard.press("ArrowLeft")
        assert await page.locator(".tip").is_visible()
        assert wrong == []


async def test_an_address_that_is_not_there_has_a_search_box(counted):
    async with opened(counted) as (page, _):
        answer = await page.goto(f"{counted.url}/licences")
        assert answer.status == 404
        assert await page.get_by_role("heading", name="Nothing here").is_visible()
        assert await page.get_by_role("searchbox").is_visible()


async def test_pages_are_small_on_the_wire(counted):
    """The first page with all it needs takes 90 kB, later ones 15 kB, as the server sends them."""
    sizes = []
    async with opened(counted) as (page, _):

        async def note(response):
            sizes.append(int((await response.all_headers()).get("content-length", 0)))

        await page.context.clear_cookies(name="none")
        page.on("response", note)
        client = await page.context.new_cdp_session(page)
        await client.send("Network.setCacheDisabled", {"cacheDisabled": True})
        await page.goto(counted.url, wait_until="networkidle")
        assert 5_000 < sum(sizes) <= 90_000
        await client.send("Network.setCacheDisabled", {"cacheDisabled": False})
        sizes.clear()
        await page.goto(f"{counted.url}/installations", wait_until="networkidle")
        assert 0 < sizes[0] <= 15_000
