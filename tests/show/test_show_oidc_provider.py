"""Sign-in by the certified provider of npm, oidc-provider, in a real browser."""

import asyncio
import fcntl
import json
import shutil
import subprocess
from contextlib import asynccontextmanager

import pytest
from patience import patient
from places import ROOT
from playwright.async_api import async_playwright
from test_show_accounts import PASSWORD
from test_show_browser import CHROMIUM

CACHE = ROOT / ".cache" / "node"
SCRIPT = ROOT / "tests" / "show" / "oidc_provider.mjs"
PACKAGE = "oidc-provider@9.13.3"
CLIENT, SECRET = "license-telemetry", "a secret of provider and server"

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # Playwright's own pipes
    pytest.mark.timeout(300),  # the first run installs the provider
]


@pytest.fixture(scope="session")
def installed():
    """The directory with the provider, from npm, installed once."""
    if not shutil.which("npm") or not shutil.which("node"):
        pytest.skip("no npm on this machine")
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        there = CACHE / "node_modules" / "oidc-provider" / "package.json"
        if not there.exists() or json.loads(there.read_text())["version"] != PACKAGE.partition("@")[2]:
            command = ["npm", "install", "--no-save", "--no-audit", "--no-fund", "--prefix", CACHE, PACKAGE]
            made = subprocess.run(command, capture_output=True, text=True, check=False, timeout=patient(200))
            if made.returncode:
                pytest.skip(f"npm could not install {PACKAGE}: {made.stderr.strip().splitlines()[-1:]}")
        shutil.copy(SCRIPT, CACHE / SCRIPT.name)  # Node looks for packages beside the script
    return CACHE


class Provider:
    """A provider process."""

    def __init__(self, port):
        self.port, self.issuer = port, f"http://127.0.0.1:{port}"

    @asynccontextmanager
    async def running(self, directory, redirect_uri):
        command = ["node", SCRIPT.name, str(self.port), redirect_uri, CLIENT, SECRET]
        process = await asyncio.create_subprocess_exec(
            *command, cwd=directory, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        try:
            said = await asyncio.wait_for(process.stdout.readuntil(b"listening\n"), patient(30))
            assert said
            yield
        finally:
            process.kill()
            await process.wait()


@pytest.fixture
async def company(installed, make_server, unused_tcp_port_factory, tmp_path):
    """A server that signs in by a provider process; both on localhost, each at its own origin."""
    ports = unused_tcp_port_factory(), unused_tcp_port_factory()
    provider, url = Provider(ports[0]), f"http://localhost:{ports[1]}"
    (tmp_path / "secret").write_text(SECRET)
    (tmp_path / "secret").chmod(0o600)
    (tmp_path / "providers.toml").write_text(
        f'[company]\ntitle = "Company account"\nissuer = "{provider.issuer}"\nclient_id = "{CLIENT}"\n'
        f'client_secret_file = "{tmp_path / "secret"}"\nnew_people = true\n'
        '[[company.roles]]\ngroup = "leads"\nrole = "admin"\n[[company.roles]]\ngroup = "staff"\nrole = "analyst"\n'
    )
    async with provider.running(installed, f"{url}/sign-in/with/company/back"):
        yield make_server(
            listen=f"127.0.0.1:{ports[1]}",
            public_url=url,
            sign_in_providers=tmp_path / "providers.toml",
        )


@asynccontextmanager
async def browsing(server):
    """A page of a browser, and what went wrong in pages of the server."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        context, wrong = await browser.new_context(), []

        def opened(page):
            page.on(
                "console",
                lambda said: (
                    wrong.append(said.text)
                    if said.type in {"error", "warning"}
                    and said.page.url.startswith(server.settings["public_url"])
                    else None
                ),
            )

        context.on("page", opened)
        yield await context.new_page(), wrong
        await browser.close()


async def sign_in_there(page, name):
    """Goes through the pages of the provider, which asks for consent once."""
    await page.locator("[name=login]").fill(name)
    await page.locator("[name=password]").fill("any")
    await page.locator("[type=submit]").click()
    await page.wait_for_load_state()
    if await page.locator("[name=login]").count() == 0 and "/interaction/" in page.url:
        await page.locator("[type=submit]").click()


async def reasons(server):
    rows = await server.fetch(
        "SELECT details ->> 'reason' FROM audit_entries WHERE action = 'person.refused' ORDER BY recorded_at"
    )
    return [row[0] for row in rows]


async def test_a_stranger_signs_in_and_gives_credentials_again(company):
    url = company.settings["public_url"]
    async with browsing(company) as (page, wrong):
        await page.goto(f"{url}/people")
        await page.get_by_role("link", name="Sign in with Company account").click()
        await sign_in_there(page, "boss")
        await page.wait_for_url(f"{url}/people")
        assert await page.get_by_text("boss@example.com").count() >= 1
        await company.fetch("UPDATE sessions SET authenticated_at = now() - interval '11 minutes'")
        await page.get_by_label("E-mail address").fill("bo@example.com")
        await page.get_by_role("button", name="Invite").click()
        await page.get_by_role("link", name="Go on with Company account").click()
        await sign_in_there(page, "boss")
        await page.wait_for_url(f"{url}/people")
        await page.get_by_label("E-mail address").fill("bo@example.com")
        await page.get_by_role("button", name="Invite").click()
        await page.get_by_role("heading", name="The link for bo@example.com").wait_for()
        assert wrong == []


async def test_trying_and_linking_in_a_browser(company):
    url = company.settings["public_url"]
    async with browsing(company) as (page, wrong):
        await page.goto(company.command("user", "invite", "ann@example.com", "--role", "admin")["link"])
        await page.get_by_label("Password").fill(PASSWORD)
        await page.get_by_role("button", name="Set the password").click()
        await page.get_by_label("E-mail address").fill("ann@example.com")
        await page.get_by_label("Password").fill(PASSWORD)
        await page.get_by_role("button", name="Sign in").first.click()
        await page.wait_for_url(f"{url}/")
        await page.goto(f"{url}/people/sign-in")
        await page.get_by_role("link", name="Try it").click()
        await sign_in_there(page, "ann")
        await page.get_by_role("heading", name="Company account, tried").wait_for()
        assert "analyst" in await page.locator("#result").inner_text()
        assert "auth_time" in await page.locator("#claims").inner_text()
        await page.goto(f"{url}/account")
        await page.get_by_role("button", name="Link an account of Company account").click()
        await page.wait_for_url(f"{url}/account#providers")  # signed in there already
        assert await page.locator("#providers tbody tr").count() == 1
        await page.get_by_role("button", name="Sign out").click()
        await page.get_by_role("link", name="Sign in with Company account").click()
        await page.wait_for_url(f"{url}/")
        assert wrong == []
    assert await company.fetchval("SELECT role FROM people") == "analyst"


async def test_who_is_in_no_group_is_refused_on_a_plain_page(company):
    async with browsing(company) as (page, _):
        await page.goto(f"{company.settings['public_url']}/sign-in")
        await page.get_by_role("link", name="Sign in with Company account").click()
        await sign_in_there(page, "stranger")
        await page.get_by_text("None of your groups has a role here").wait_for()
    assert await reasons(company) == ["no_role"]
