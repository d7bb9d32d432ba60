"""Passkeys: with an authenticator in software, which can lie, and in Chromium with its virtual one."""

import asyncio
import html
import json
import re

import pytest
from authenticator import UP, UV, Authenticator
from playwright.async_api import async_playwright
from test_show_accounts import PASSWORD, colleague, make_old, next_code, person_id, sign_in, submit, with_app
from test_show_browser import CHROMIUM
from test_show_oidc import refusals

from telemetry_server.model import Role
from telemetry_server.settings import Settings
from telemetry_server.show.access import passkey_checks

HERE = "http://localhost:8080"


@pytest.fixture
async def site(open_site):
    async with open_site(public_url=HERE) as site:
        yield site


def options_in(page):
    assert page.status == 200, page.text
    return json.loads(html.unescape(re.search(r'data-options="([^"]+)"', page.text)[1]))


async def with_passkey(browser, name="My phone", key=None):
    """The authenticator with a new passkey of the person, and the page afterwards."""
    key = key or Authenticator(HERE)
    options = options_in(await browser.get("/account/passkeys/new"))
    return key, await submit(browser, "/account/passkeys", credential=key.register(options), name=name)


async def use(browser, key, options=None):
    options = options or options_in(await browser.get("/sign-in/passkey"))
    return await browser.post("/sign-in/passkey", credential=key.answer(options))


async def is_signed_in(browser):
    return (await browser.get("/account")).status == 200


# ── the page "My account" ───────────────────────────────────────────────────────────────────


async def test_a_passkey_is_added_named_and_removed(site):
    browser = await colleague(site)
    _, page = await with_passkey(browser)
    codes = re.findall(r"\b[a-z2-7]{4}(?:-[a-z2-7]{4}){5}\b", page.text)
    assert (page.status, len(codes)) == (200, 10)  # a first second factor has recovery codes
    page = (await browser.get("/account")).text
    assert all(word in page for word in ("My phone", "all your devices", "10 recovery codes"))
    [key] = re.findall(r'name="passkey" value="(\w+)"', page)[:1]
    assert (await submit(browser, "/account/passkeys/rename", passkey=key, name="My laptop")).status == 303
    assert "My laptop" in (await browser.get("/account")).text
    _, page = await with_passkey(browser, "Another")
    assert page.headers["Location"] == "/account#passkeys"  # the codes stay
    assert (await submit(browser, "/account/passkeys/remove", passkey=key)).status == 303
    page = (await browser.get("/account")).text
    assert ("My laptop" in page, "Another" in page) == (False, True)
    [key] = re.findall(r'name="passkey" value="(\w+)"', page)[:1]
    await submit(browser, "/account/passkeys/remove", passkey=key)
    assert await site.execute("SELECT * FROM recovery_codes") == []
    actions = [row["action"] for row in await site.execute("SELECT action FROM audit_entries")]
    assert (actions.count("person.passkey"), actions.count("person.remove_passkey")) == (2, 2)


async def test_a_passkey_is_not_added_twice_and_not_by_another_persons_page(site):
    ann, bob = await colleague(site), await colleague(site, "bob@example.com")
    key, _ = await with_passkey(ann)
    _, page = await with_passkey(ann, key=key)
    assert page.status == 400
    options = options_in(await ann.get("/account/passkeys/new"))
    form = {"credential": Authenticator(HERE).register(options), "name": "x"}
    assert (await submit(bob, "/account/passkeys", **form)).status == 403
    passkey = (await site.execute("SELECT credential_id FROM passkeys"))[0][0].hex()
    for path, more in (("rename", {"name": "x"}), ("remove", {})):
        assert (await submit(bob, f"/account/passkeys/{path}", passkey=passkey, **more)).status == 404


async def test_the_only_way_in_is_not_removed(site):
    browser = await colleague(site)
    await with_passkey(browser)
    await site.execute("UPDATE people SET password_hash = NULL")
    [(key,)] = await site.execute("SELECT encode(credential_id, 'hex') FROM passkeys")
    answer = await submit(browser, "/account/passkeys/remove", passkey=key)
    assert (answer.status, "only way to sign in" in answer.text) == (400, True)


async def test_of_two_removals_at_once_one_leaves_a_way_in(site):
    browser = await colleague(site)
    for name in ("One", "Two"):
        await with_passkey(browser, name)
    await site.execute("UPDATE people SET password_hash = NULL")
    rows = await site.execute("SELECT encode(credential_id, 'hex') AS id FROM passkeys")
    answers = await asyncio.gather(
        *(submit(browser, "/account/passkeys/remove", passkey=row["id"]) for row in rows)
    )
    assert sorted(answer.status for answer in answers) == [303, 400]
    assert len(await site.execute("SELECT * FROM passkeys")) == 1


async def test_an_account_at_a_provider_that_is_gone_is_no_way_in(site):
    browser = await colleague(site)
    await with_passkey(browser)
    await site.execute("UPDATE people SET password_hash = NULL")
    await site.execute(
        "INSERT INTO person_identities SELECT 'https://gone.example.com', 'x', person_id, '', now() FROM people"
    )
    [(key,)] = await site.execute("SELECT encode(credential_id, 'hex') FROM passkeys")
    assert (await submit(browser, "/account/passkeys/remove", passkey=key)).status == 400


async def test_adding_a_passkey_needs_recent_credentials(site):
    browser = await colleague(site)
    await make_old(site)
    answer = await browser.get("/account/passkeys/new")
    assert answer.headers["Location"] == "/sign-in/again?next=/account/passkeys/new"


@pytest.mark.parametrize("name", ["", "  ", "x" * 101, "a\x07b"])
async def test_a_passkey_needs_a_name(site, name):
    _, page = await with_passkey(await colleague(site), name)
    assert page.status == 400


# ── signing in ──────────────────────────────────────────────────────────────────────────────


async def test_a_passkey_signs_in_alone_and_needs_no_address(site):
    key, _ = await with_passkey(await colleague(site))
    browser = site.client()
    assert "Sign in with a passkey" in (await browser.get("/sign-in")).text
    page = await browser.get("/sign-in/passkey?next=/installations")
    options = options_in(page)
    assert (options["rpId"], options["userVerification"]) == ("localhost", "required")
    assert options["allowCredentials"] == []
    answer = await use(browser, key, options)
    assert (answer.status, answer.headers["Location"]) == (303, "/installations")
    assert await is_signed_in(browser)
    [row] = await site.execute("SELECT sign_count, last_used_at FROM passkeys")
    assert (row["sign_count"], row["last_used_at"] is not None) == (1, True)


async def test_a_passkey_is_a_second_factor_after_the_password(site):
    key, page = await with_passkey(await colleague(site))
    [code, *_] = re.findall(r"\b[a-z2-7]{4}(?:-[a-z2-7]{4}){5}\b", page.text)
    browser = site.client()
    assert (await sign_in(browser)).headers["Location"] == "/sign-in/code?next=/"
    assert "Use your passkey" in (await browser.get("/sign-in/code")).text
    assert not await is_signed_in(browser)
    key.flags = UP  # after a password, presence is enough
    options = options_in(await browser.get("/sign-in/passkey"))
    assert [each["id"] for each in options["allowCredentials"]] == [json.loads(key.answer(options))["id"]]
    assert (await use(browser, key, options)).status == 303
    assert "password and passkey" in (await browser.get("/account")).text
    other = site.client()
    await sign_in(other)
    assert (await other.post("/sign-in/code", code=code)).status == 303  # where the passkey is lost


async def test_the_passkey_of_another_person_is_no_second_factor(site):
    await with_passkey(await colleague(site))
    key, _ = await with_passkey(await colleague(site, "bob@example.com"))
    browser = site.client()
    await sign_in(browser)
    assert (await use(browser, key)).status == 403
    assert await refusals(site) == ["another_person"]
    assert not await is_signed_in(browser)


async def test_a_passkey_is_enough_where_credentials_have_to_be_recent(site):
    browser = await colleague(site, role=Role.ADMIN)
    key, _ = await with_passkey(browser)
    await make_old(site)
    answer = await submit(browser, "/people/invite", of="/people", email="bo@example.com", role="viewer")
    assert "Go on with a passkey" in (await browser.get(answer.headers["Location"])).text
    again = {"password": PASSWORD}
    assert (await submit(browser, "/sign-in/again", of="/sign-in/again", **again)).status == 403
    assert (await use(browser, key)).status == 303
    answer = await submit(browser, "/people/invite", of="/people", email="bo@example.com", role="viewer")
    assert answer.status == 200


async def test_the_app_stays_a_second_factor_beside_passkeys(site):
    browser = await colleague(site)
    app, _ = await with_app(site, browser)
    await with_passkey(browser)
    other = site.client()
    await sign_in(other)
    assert (await other.post("/sign-in/code", code=await next_code(site, app))).status == 303
    assert (await submit(browser, "/account/totp/remove")).status == 303
    assert await site.execute("SELECT * FROM recovery_codes") != []
    assert (await sign_in(site.client())).headers["Location"].startswith("/sign-in/code")


async def test_an_administrator_removes_passkeys_that_are_lost(site):
    admin = await colleague(site, "admin@example.com", Role.ADMIN)
    key, _ = await with_passkey(await colleague(site))
    assert "passkey" in (await admin.get("/people")).text
    ann = f"/people/{await person_id(site)}"
    assert (await submit(admin, ann, of="/people", action="remove_factor")).status == 303
    assert (await use(site.client(), key)).status == 403
    assert await refusals(site) == ["unknown_credential"]
    assert (await sign_in(site.client())).headers["Location"] == "/"
    assert (await submit(admin, ann, of="/people", action="remove_factor")).status == 400


# ── answers that are refused ────────────────────────────────────────────────────────────────


def on_a_false_page(key):
    key.origin = "https://evil.example.com"


def for_another_host(key):
    key.rp_id = "evil.example.com"


def without_the_user(key):
    key.flags = UP


def without_presence(key):
    key.flags = UV


def with_another_key(key):
    key.key = Authenticator(HERE).key


@pytest.mark.parametrize(
    "lie", [on_a_false_page, for_another_host, without_the_user, without_presence, with_another_key]
)
async def test_an_answer_that_is_not_right_signs_no_one_in(site, lie):
    key, _ = await with_passkey(await colleague(site))
    lie(key)
    browser = site.client()
    answer = await use(browser, key)
    assert (answer.status, answer.headers["Content-Type"]) == (403, "text/html; charset=utf-8")
    assert await refusals(site) == ["wrong_credential"]
    assert not await is_signed_in(browser)


async def test_a_challenge_works_once_and_in_one_browser(site):
    key, _ = await with_passkey(await colleague(site))
    browser, thief = site.client(), site.client()
    options = options_in(await browser.get("/sign-in/passkey"))
    assert (await use(thief, key, options)).status == 403
    options = options_in(await browser.get("/sign-in/passkey"))
    answer = key.answer(options)
    assert (await browser.post("/sign-in/passkey", credential=answer)).status == 303
    assert (await browser.post("/sign-in/passkey", credential=answer)).status == 403
    assert (await use(site.client(), key, {"challenge": "AAAA"})).status == 403
    assert await refusals(site) == ["state_of_another_browser", "unknown_state", "unknown_state"]


async def test_a_challenge_to_add_a_passkey_signs_no_one_in(site):
    browser = await colleague(site)
    key, _ = await with_passkey(browser)
    options = options_in(await browser.get("/account/passkeys/new"))
    assert (await use(browser, key, options)).status == 403


async def test_a_copied_passkey_is_seen_by_its_counter(site):
    key, _ = await with_passkey(await colleague(site))
    for _ in range(3):
        assert (await use(site.client(), key)).status == 303
    key.count = 1  # the copy was made then
    assert (await use(site.client(), key)).status == 403
    assert await refusals(site) == ["sign_count"]


async def test_a_passkey_without_a_counter_is_taken(site):
    key, _ = await with_passkey(await colleague(site))
    for _ in range(2):
        key.count = -1  # answer() counts on
        assert (await use(site.client(), key)).status == 303


@pytest.mark.parametrize(
    "credential", ["", "{}", "[]", '{"response":{}}', '{"response":{"clientDataJSON":1}}', "x" * 5000]
)
async def test_nonsense_instead_of_a_passkey_is_refused(site, credential):
    answer = await site.client().post("/sign-in/passkey", credential=credential)
    assert answer.status in {400, 403}


async def test_the_passkey_of_a_deactivated_person_is_none(site):
    key, _ = await with_passkey(await colleague(site))
    await site.execute("UPDATE people SET deactivated_at = now()")
    assert (await use(site.client(), key)).status == 403
    assert await refusals(site) == ["unknown_credential"]


# ── where there are none ────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://telemetry.example.com", "telemetry.example.com"),
        ("https://telemetry.example.com:8443", "telemetry.example.com"),
        ("http://localhost:8080", "localhost"),
        ("http://telemetry.example.com", None),
        ("https://192.0.2.7", None),
        ("https://[2001:db8::1]", None),
    ],
)
def test_passkeys_need_https_and_the_name_of_a_host(tmp_path, url, host):
    assert passkey_checks.host_for_passkeys(Settings(data=tmp_path, public_url=url)) == host


async def test_without_the_package_the_pages_say_what_to_install(site, monkeypatch):
    admin = await colleague(site, "admin@example.com", Role.ADMIN)
    monkeypatch.setattr(passkey_checks, "find_spec", lambda _: None)
    assert "Sign in with a passkey" not in (await site.client().get("/sign-in")).text
    assert "Add a passkey" not in (await admin.get("/account")).text
    answer = await admin.get("/account/passkeys/new")
    assert (answer.status, "license-telemetry-server[passkeys]" in answer.text) == (404, True)


# ── in a browser ────────────────────────────────────────────────────────────────────────────


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
@pytest.mark.filterwarnings("ignore::ResourceWarning")  # Playwright's own pipes
async def test_in_chromium_a_passkey_is_made_and_signs_in(make_server, unused_tcp_port):
    url = f"http://localhost:{unused_tcp_port}"
    server = make_server(listen=f"127.0.0.1:{unused_tcp_port}", public_url=url)
    invited = server.command("user", "invite", "ann@example.com", "--role", "viewer")["link"]
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page, wrong = await browser.new_page(), []
        page.on(
            "console", lambda said: wrong.append(said.text) if said.type in {"error", "warning"} else None
        )
        page.on("pageerror", lambda error: wrong.append(str(error)))
        devtools = await page.context.new_cdp_session(page)
        await devtools.send("WebAuthn.enable")
        virtual = {
            "protocol": "ctap2",
            "transport": "internal",
            "hasResidentKey": True,
            "hasUserVerification": True,
            "isUserVerified": True,
        }
        made = await devtools.send("WebAuthn.addVirtualAuthenticator", {"options": virtual})
        await page.goto(invited)
        await page.get_by_label("Your name").fill("Ann")
        await page.get_by_label("Password").fill(PASSWORD)
        await page.get_by_role("button", name="Set the password").click()
        await page.get_by_label("E-mail address").fill("ann@example.com")
        await page.get_by_label("Password").fill(PASSWORD)
        await page.get_by_role("button", name="Sign in").first.click()
        await page.wait_for_url(f"{url}/")
        await page.goto(f"{url}/account")
        await page.get_by_role("link", name="Add a passkey").click()
        await page.get_by_label("Name", exact=True).fill("Virtual")
        await page.get_by_role("button", name="Make the passkey").click()
        await page.get_by_role("heading", name="Your recovery codes").wait_for()
        await page.get_by_role("button", name="Sign out").click()
        await page.get_by_role("link", name="Sign in with a passkey").click()
        await page.wait_for_url(f"{url}/")  # the page asks by itself
        await page.goto(f"{url}/account")
        assert await page.get_by_text("by passkey").count() == 1
        keys = await devtools.send("WebAuthn.getCredentials", {"authenticatorId": made["authenticatorId"]})
        assert [each["rpId"] for each in keys["credentials"]] == ["localhost"]
        await page.get_by_role("button", name="Sign out").click()
        await devtools.send(
            "WebAuthn.setUserVerified", {"authenticatorId": made["authenticatorId"], "isUserVerified": False}
        )
        await page.get_by_role("link", name="Sign in with a passkey").click()
        await page.get_by_text("The browser did not give a passkey").wait_for()
        assert wrong == []
        await browser.close()
