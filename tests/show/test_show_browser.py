"""The pages in a real browser, from a real server process."""

import shutil
from contextlib import asynccontextmanager

import pyotp
import pytest
from installation import Installation
from playwright.async_api import async_playwright

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # Playwright's own pipes
]


@asynccontextmanager
async def opened(server, **options):
    """A page of a browser that is signed in, and what went wrong in it."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = await (await browser.new_context(**options)).new_page()
        wrong = []
        page.on(
            "console",
            lambda message: wrong.append(message.text) if message.type in {"error", "warning"} else None,
        )
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("dialog", lambda dialog: wrong.append(f"dialog: {dialog.message}"))
        page.on(
            "request",
            lambda request: None if request.url.startswith(server.url) else wrong.append(request.url),
        )
        link = server.command("sign-in", "--listen", server.listen)["url"]
        await page.goto(link)
        await page.get_by_role("button", name="Sign in").click()
        await page.wait_for_url(f"{server.url}/")
        yield page, wrong
        await browser.close()


@pytest.fixture
def settled(server, fleet):
    """A server with a fleet to look at."""
    server.fleet = fleet
    return server


async def test_no_page_breaks_its_own_rules_or_grows_wider_than_its_window(settled):
    paths = ["/", "/?range=24h", "/installations", f"/installations/{settled.fleet[0]}", "/intake", "/map"]
    paths += ["/people", "/tokens", "/account", "/sign-in", "/audit"]
    paths += [f"/installations/{settled.fleet[0]}?tab={tab}" for tab in ("timeline", "pings", "features")]
    async with opened(settled) as (page, wrong):
        for path in paths:
            await page.goto(settled.url + path)
            for scheme in ("light", "dark"):
                await page.emulate_media(color_scheme=scheme)
                ground = await page.evaluate("getComputedStyle(document.body).backgroundColor")
                assert (int(ground[4:].split(",")[0]) < 60) == (scheme == "dark")
                await assert_that_it_fits(page, (1280, 768, 400, 320))
        assert wrong == []


async def assert_that_it_fits(page, widths):
    """Nothing of the page is wider than its window."""
    for width in widths:
        await page.set_viewport_size({"width": width, "height": 800})
        assert await page.evaluate("document.documentElement.scrollWidth") <= width, (page.url, width)


async def test_the_keyboard_reaches_everything(settled):
    async with opened(settled) as (page, wrong):
        await page.keyboard.press("g")
        await page.keyboard.press("i")
        await page.wait_for_url("**/installations")
        await page.keyboard.press("/")
        await page.keyboard.type(str(settled.fleet[3])[:13])
        await page.keyboard.press("Enter")
        await page.wait_for_url("**/installations?q=*")
        assert await page.locator("tbody tr").count() == 1
        await page.get_by_role("link", name="Clear all").click()
        await page.wait_for_url(f"{settled.url}/installations")
        for key in ("j", "j", "j", "k"):
            await page.keyboard.press(key)
        second = await page.locator("tbody tr a").nth(1).get_attribute("href")
        assert await page.evaluate("document.activeElement.getAttribute('href')") == second
        await page.keyboard.press("Enter")
        await page.wait_for_url(f"**{second}")
        await page.keyboard.press("?")
        assert await page.get_by_role("dialog").is_visible()
        await page.keyboard.press("Escape")
        assert not await page.locator("#help").is_visible()
        await page.keyboard.press("g")
        await page.keyboard.press("o")
        await page.wait_for_url(f"{settled.url}/")
        assert wrong == []


async def test_the_chosen_colours_stay(settled):
    async with opened(settled, color_scheme="light") as (page, wrong):
        before = await page.evaluate("getComputedStyle(document.body).backgroundColor")
        await page.get_by_role("button", name="Light or dark").click()
        chosen = await page.evaluate("getComputedStyle(document.body).backgroundColor")
        await page.goto(f"{settled.url}/installations")
        assert await page.evaluate("getComputedStyle(document.body).backgroundColor") == chosen != before
        assert wrong == []


async def test_everything_works_without_scripts(settled):
    async with opened(settled, java_script_enabled=False) as (page, wrong):
        assert await page.get_by_role("heading", name="Overview").is_visible()
        await page.get_by_title("Time range").click()
        await page.get_by_role("link", name="7 days").click()
        await page.wait_for_url("**/?range=7d")
        await page.get_by_role("link", name="Claimed status").click()
        await page.wait_for_url("**/?range=7d&license=status")
        await page.get_by_role("link", name="licensed", exact=True).click()
        await page.wait_for_url("**/installations?range=7d&filter=life%21%3Dlost&license_status=licensed")
        await page.get_by_text("+ Filter").click()
        await page.get_by_role("link", name="direct").click()
        await page.wait_for_url("**&license_status=licensed&license_source=direct")
        assert await page.locator("tbody tr").count() > 3
        await page.locator("tbody tr a").first.click()
        await page.get_by_role("button", name="Sign out").click()
        await page.wait_for_url("**/sign-in")
        await page.goto(settled.url)
        assert await page.get_by_role("heading", name="Please sign in").is_visible()
        assert wrong == []


async def test_hostile_words_do_nothing_in_a_browser(server):
    evil = "</script><script>alert(1)</script><img src=x onerror=alert(2)>"
    copy = await Installation.enrolled(server)
    answer = await copy.send(
        copy.ping(
            os={"type": "linux", "name": evil, "version": "\"'><svg onload=alert(3)>"},
            service={"version": evil},
        ),
        copy.ping(license={"status": "trial", "source_detail": evil * 4, "edition": "{{7*7}}"}),
    )
    assert answer.statuses == ["accepted", "accepted"]
    async with opened(server) as (page, wrong):
        for path in (
            "/",
            "/installations",
            f"/installations/{copy.id}",
            f"/installations/{copy.id}?tab=pings",
        ):
            await page.goto(server.url + path)
            assert await page.locator("main img, main script").count() == 0
        assert wrong == []


async def test_a_person_is_invited_signs_in_and_sets_up_a_second_factor(settled):
    password = "seven wet otters sing"
    async with opened(settled, viewport={"width": 400, "height": 800}) as (page, wrong):
        await page.goto(f"{settled.url}/people")
        await page.get_by_label("E-mail address").fill("ann@example.com")
        await page.get_by_role("button", name="Invite").click()
        link = await page.locator("#once code").inner_text()
        assert await page.evaluate("document.documentElement.scrollWidth") <= 400
        await page.goto(link.replace(link.partition("/invitation")[0], settled.url))
        await page.get_by_label("Your name").fill("Ann")
        await page.get_by_label("Password").fill(password)
        await page.get_by_role("button", name="Set the password").click()
        await page.get_by_label("E-mail address").fill("ann@example.com")
        await page.get_by_label("Password").fill(password)
        await page.get_by_role("button", name="Sign in").first.click()
        await page.wait_for_url(f"{settled.url}/")
        await page.get_by_role("link", name="Menu").click()
        await page.get_by_role("link", name="Ann").click()
        await page.get_by_role("button", name="Set up an authenticator app").click()
        image = page.get_by_alt_text("QR code of the key below")
        assert await image.evaluate("image => image.complete && image.naturalWidth") > 100
        app = pyotp.TOTP(await page.locator("main code").inner_text())
        await page.get_by_label("Code", exact=True).fill(app.now())
        await page.get_by_role("button", name="Confirm").click()
        codes = await page.locator("#once code").all_inner_texts()
        assert len(set(codes)) == 10
        assert await page.evaluate("document.documentElement.scrollWidth") <= 400
        await page.get_by_role("link", name="Menu").click()
        await page.get_by_role("button", name="Sign out").click()
        await page.get_by_label("E-mail address").fill("ann@example.com")
        await page.get_by_label("Password").fill(password)
        await page.get_by_role("button", name="Sign in").first.click()
        await page.get_by_label("Code").fill(codes[0])
        await page.get_by_role("button", name="Sign in").click()
        await page.wait_for_url(f"{settled.url}/")
        assert wrong == []
