"""People: invitations, passwords, second factors, sessions and tokens, as a browser goes through them."""

import asyncio
import re
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit
from uuid import UUID

import pyotp
import pytest

from telemetry_server.model import Role
from telemetry_server.show.access.passwords import PASSWORDS
from telemetry_server.store.access import factors, people

PASSWORD = "seven wet otters sing"


@pytest.fixture
async def admin(site):
    return await colleague(site, "admin@example.com", Role.ADMIN)


async def colleague(site, email="ann@example.com", role=Role.VIEWER, products=None):
    """A browser that accepted an invitation and signed in with its password."""
    secret = await site.with_database(
        people.invite, email, role, products, by="a test", now=datetime.now(UTC)
    )
    browser = site.client()
    answer = await browser.post("/invitation", token=secret, name="Ann Lee", password=PASSWORD)
    assert (answer.status, answer.headers.get("Location")) == (303, "/sign-in"), answer.text
    assert (await sign_in(browser, email)).headers.get("Location") == "/"
    return browser


async def sign_in(browser, email="ann@example.com", password=PASSWORD, **more):
    return await browser.post("/sign-in", email=email, password=password, **more)


async def submit(browser, path, of="/account", **form):
    """Sends a form of the page `of`, with its CSRF token."""
    shown = (await browser.get(of)).text
    token = re.search(r'name="csrf_token" value="(\w+)"', shown)[1]
    return await browser.post(path, {"Referer": f"{browser.site.url}{of}"}, csrf_token=token, **form)


async def person_id(site, email="ann@example.com"):
    [row] = await site.execute("SELECT person_id FROM people WHERE email = $1", email)
    return row["person_id"]


async def make_old(site):
    """As if all credentials had been given eleven minutes ago."""
    await site.execute("UPDATE sessions SET authenticated_at = now() - interval '11 minutes'")


async def with_app(site, browser):
    """The person's authenticator app after it was set up, and the recovery codes."""
    page = await submit(browser, "/account/totp")
    assert page.status == 200, page.text
    app = pyotp.TOTP(re.search(r"<code>([A-Z2-7]{32})</code>", page.text)[1])
    page = await submit(browser, "/account/totp/confirm", code=app.now())
    codes = re.findall(r"\b[a-z2-7]{4}(?:-[a-z2-7]{4}){5}\b", page.text)
    assert len(codes) == factors.RECOVERY_CODES, page.text
    return app, codes


async def next_code(site, app):
    """A code that was not used: that of the step after the last one that was accepted."""
    [row] = await site.execute("SELECT max(totp_step) AS step FROM people")
    return app.at((row["step"] + 1) * 30)


# ── invitations ─────────────────────────────────────────────────────────────────────────────


async def test_an_administrator_invites_and_the_person_signs_in(site, admin):
    page = await submit(admin, "/people/invite", of="/people", email="Bo@Example.com", role="analyst")
    link = urlsplit(re.search(r"<code>(\S+/invitation\?token=\S+)</code>", page.text)[1])
    assert f"{link.scheme}://{link.netloc}" == site.url  # where this browser reaches the server
    assert link.query.removeprefix("token=") not in str(await site.execute("SELECT * FROM invitations"))
    browser = site.client()
    assert "bo@example.com" in (await browser.get(f"{link.path}?{link.query}")).text
    form = {"token": link.query.removeprefix("token="), "name": "Bo", "password": PASSWORD}
    assert (await browser.post("/invitation", **form)).status == 303
    assert (await browser.post("/invitation", **form)).status == 403
    assert (await sign_in(browser, "bo@example.com", next="/installations")).headers[
        "Location"
    ] == "/installations"
    assert (await browser.get("/api/v1/licenses")).status == 200
    assert (await browser.get("/api/v1/customers")).status == 403
    assert "bo@example.com" in (await admin.get("/people")).text


async def test_an_invitation_ends_when_it_is_replaced_withdrawn_or_old(site, admin):
    now = datetime.now(UTC)

    async def invited(**named):
        return await site.with_database(people.invite, "bo@example.com", Role.VIEWER, by="x", **named)

    replaced, old = await invited(now=now), await invited(now=now - timedelta(days=8))
    withdrawn = await invited(now=now)
    page = (await admin.get("/people")).text
    wanted = re.search(r'name="invitation" value="(\w+)"', page)[1]
    assert (await submit(admin, "/people/withdraw", of="/people", invitation=wanted)).status == 303
    for secret in (replaced, old, withdrawn, "", "x" * 300):
        assert (await site.client().get(f"/invitation?token={secret}")).status == 403
        answer = await site.client().post("/invitation", token=secret, name="", password=PASSWORD)
        assert answer.status == 403


async def test_an_invitation_is_good_while_its_sender_may_invite(site, admin):
    """Neither who lost the role, nor who is limited to products, nor who left gives anything any more."""
    boss = await colleague(site, "boss@example.com", Role.ADMIN)
    sender, ann = await person_id(site, "boss@example.com"), await colleague(site)
    page = await submit(boss, "/people/invite", of="/people", email="bo@example.com", role="admin")
    links = [link_in(page)]
    page = await submit(boss, f"/people/{await person_id(site)}", of="/people", action="password_link")
    links.append(link_in(page))

    async def statuses():
        return [(await site.client().get(link)).status for link in links]

    assert await statuses() == [200, 200]
    for change in ("role = 'investigator'", "product_ids = '{}'", "deactivated_at = now()"):
        await site.execute(f"UPDATE people SET {change} WHERE person_id = $1", sender)
        assert await statuses() == [403, 403], change
        for link in links:
            form = {"token": link.partition("=")[2], "name": "", "password": PASSWORD}
            assert (await site.client().post("/invitation", **form)).status == 403, change
        assert "bo@example.com" not in (await admin.get("/people")).text
        restored = "role = 'admin', product_ids = NULL, deactivated_at = NULL"
        await site.execute(f"UPDATE people SET {restored} WHERE person_id = $1", sender)
    assert await statuses() == [200, 200]
    assert (await submit(admin, f"/people/{sender}", of="/people", action="deactivate")).status == 303
    assert (await submit(admin, f"/people/{sender}", of="/people", action="reactivate")).status == 303
    assert await statuses() == [403, 403]
    assert (await ann.get("/account")).status == 200


def link_in(page):
    """The path of the invitation that a page shows once."""
    link = urlsplit(re.search(r"<code>(\S+/invitation\?token=\S+)</code>", page.text)[1])
    return f"{link.path}?{link.query}"


async def test_of_two_who_accept_at_once_one_has_the_account(site):
    secret = await site.with_database(
        people.invite, "ann@example.com", Role.VIEWER, by="x", now=datetime.now(UTC)
    )
    answers = await asyncio.gather(
        *(site.client().post("/invitation", token=secret, name="", password=PASSWORD) for _ in range(4))
    )
    assert sorted(answer.status for answer in answers) == [303, 403, 403, 403]
    assert len(await site.execute("SELECT * FROM people")) == 1


async def test_an_address_with_an_account_is_not_invited_again(site, admin):
    await colleague(site)
    answer = await submit(admin, "/people/invite", of="/people", email="ANN@example.com", role="admin")
    assert (answer.status, "has an account" in answer.text) == (409, True)


@pytest.mark.parametrize("password", ["short", "password12345", "ann@example.com1", "x" * 257, "a" * 40])
async def test_a_weak_password_is_refused_and_the_invitation_stays(site, password):
    secret = await site.with_database(
        people.invite, "ann@example.com", Role.VIEWER, by="x", now=datetime.now(UTC)
    )
    answer = await site.client().post("/invitation", token=secret, name="Ann", password=password)
    assert (answer.status, 'role="alert"' in answer.text) == (400, True)
    long = "rain on the tin roof " * 12
    assert len(long) > 64
    answer = await site.client().post("/invitation", token=secret, name="Ann", password=long)
    assert answer.status == 303
    assert (await sign_in(site.client(), password=long)).status == 303


# ── signing in ──────────────────────────────────────────────────────────────────────────────


async def test_a_wrong_password_and_an_unknown_address_look_the_same(site, monkeypatch):
    await colleague(site)
    hashed = []
    passwords, compare = site.app[PASSWORDS], site.app[PASSWORDS]._matches
    monkeypatch.setattr(passwords, "_matches", lambda *asked: hashed.append(asked) or compare(*asked))
    wrong = await sign_in(site.client(), password="another wet otter")
    unknown = await sign_in(site.client(), "bob@example.com", "another wet otter")
    nonsense = await sign_in(site.client(), "no address", "another wet otter")
    pages = [(each.status, each.text) for each in (wrong, unknown, nonsense)]
    for email in ("ann@example.com", "bob@example.com", "no address"):
        pages = [(status, text.replace(f'value="{email}"', "")) for status, text in pages]
    assert pages[0] == pages[1] == pages[2]
    assert pages[0][0] == 403
    assert len(hashed) == 3  # each compares one hash


async def test_signing_in_rotates_the_session_and_marks_the_browser(site):
    browser = await colleague(site)
    before = browser.cookies["session"].value
    answer = await sign_in(browser)
    cookies = answer.headers.getall("Set-Cookie")
    assert browser.cookies["session"].value != before
    assert all("HttpOnly" in cookie and "SameSite=Lax" in cookie for cookie in cookies)
    assert sorted(cookie.partition("=")[0] for cookie in cookies) == ["known_browser", "session"]
    assert (await site.client(Cookie=f"session={before}").get("/")).status == 303


async def test_over_https_every_cookie_is_bound_to_the_host(open_site):
    async with open_site(public_url="https://telemetry.example.com") as site:
        secret = await site.with_database(
            people.invite, "ann@example.com", Role.VIEWER, by="x", now=datetime.now(UTC)
        )
        browser = site.client()
        await browser.post("/invitation", token=secret, name="", password=PASSWORD)
        cookies = (await sign_in(browser)).headers.getall("Set-Cookie")
        assert len(cookies) == 2
        for cookie in cookies:
            assert cookie.startswith("__Host-")
            assert {"Secure", "HttpOnly", "Path=/"} <= set(cookie.split("; "))


async def test_failed_sign_ins_are_slowed_down_and_never_locked_out(site):
    browser = await colleague(site)
    stranger = site.client()
    for _ in range(10):
        assert (await sign_in(stranger, password="wrong wrong wrong")).status == 403
    refused = await sign_in(stranger, password="wrong wrong wrong")
    assert (refused.status, int(refused.headers["Retry-After"]) <= 60) == (429, True)
    assert (await sign_in(stranger)).status == 429  # from that network, the right one too
    await site.execute("UPDATE sign_in_attempts SET free_at = free_at - interval '1 minute'")
    assert (await sign_in(stranger)).status == 303
    assert (await browser.get("/")).status == 200


# ── the second factor ───────────────────────────────────────────────────────────────────────


async def test_a_second_factor_is_asked_for_after_the_password(site):
    browser = await colleague(site)
    app, _ = await with_app(site, browser)
    other = site.client()
    answer = await sign_in(other, next="/installations")
    assert answer.headers["Location"] == "/sign-in/code?next=/installations"
    assert (await other.get("/installations")).status == 303  # the password alone opens nothing
    assert (await other.get("/api/v1/products")).status == 401
    assert (await other.get("/sign-in/code")).status == 200
    assert (await other.post("/sign-in/code", code="000000")).status == 403
    code = await next_code(site, app)
    answer = await other.post("/sign-in/code", code=code, next="/installations")
    assert answer.headers["Location"] == "/installations"
    assert (await other.get("/installations")).status == 200


async def test_a_code_works_once(site):
    browser = await colleague(site)
    app, recovery = await with_app(site, browser)
    code = await next_code(site, app)
    for used in (code, recovery[0]):
        for expected in (303, 403):
            other = site.client()
            await sign_in(other)
            assert (await other.post("/sign-in/code", code=used)).status == expected
    assert "9 recovery codes are left" in (await browser.get("/account")).text


async def test_codes_cannot_be_guessed(site):
    await with_app(site, await colleague(site))
    other = site.client()
    await sign_in(other)
    statuses = [(await other.post("/sign-in/code", code=f"{guess:06}")).status for guess in range(12)]
    assert statuses == [403] * 10 + [429] * 2


async def test_who_has_the_password_does_not_use_up_the_guesses_of_a_known_browser(site):
    browser = await colleague(site)
    app, _ = await with_app(site, browser)
    thief = site.client()
    await sign_in(thief)
    for _ in range(10):
        assert (await thief.post("/sign-in/code", code="000000")).status == 403
    assert (await thief.post("/sign-in/code", code="000000")).status == 429
    await sign_in(browser)
    assert (await browser.post("/sign-in/code", code=await next_code(site, app))).status == 303


async def test_the_secret_of_the_app_is_not_in_the_database(site):
    app, codes = await with_app(site, await colleague(site))
    rows = str(await site.execute("SELECT * FROM people, recovery_codes"))
    assert app.byte_secret().hex() not in rows
    assert app.secret not in rows
    assert not any(code in rows for code in codes)


async def test_the_image_for_the_app_is_allowed_by_the_content_security_policy(site):
    page = await submit(await colleague(site), "/account/totp")
    assert 'src="data:image/svg+xml' in page.text
    assert "img-src 'self' data:" in page.headers["Content-Security-Policy"]


# ── recent credentials ──────────────────────────────────────────────────────────────────────


async def test_a_change_of_roles_needs_recent_credentials(site, admin):
    await colleague(site)
    ann = f"/people/{await person_id(site)}"
    await make_old(site)
    answer = await submit(admin, ann, of="/people", action="role", role="admin")
    assert answer.headers["Location"] == "/sign-in/again?next=/people"
    assert (await site.execute("SELECT role FROM people WHERE email LIKE 'ann%'"))[0]["role"] == "viewer"
    before = admin.cookies["session"].value
    wrong = await submit(admin, "/sign-in/again", of="/sign-in/again", password="wrong wrong wrong")
    assert wrong.status == 403
    again = await submit(admin, "/sign-in/again", of="/sign-in/again", password=PASSWORD, next="/people")
    assert (again.status, again.headers["Location"]) == (303, "/people")
    assert admin.cookies["session"].value != before
    assert (await submit(admin, ann, of="/people", action="role", role="analyst")).status == 303
    assert (await site.execute("SELECT role FROM people WHERE email LIKE 'ann%'"))[0]["role"] == "analyst"


async def test_the_second_factor_is_asked_for_again_too(site):
    browser = await colleague(site)
    app, _ = await with_app(site, browser)
    await make_old(site)
    assert (await submit(browser, "/account/totp/remove")).headers["Location"].startswith("/sign-in/again")
    of = "/sign-in/again"
    assert (await submit(browser, of, of=of, password=PASSWORD)).status == 403
    code = await next_code(site, app)
    assert (await submit(browser, of, of=of, password=PASSWORD, code=code)).status == 303
    assert (await submit(browser, "/account/totp/remove")).headers["Location"] == "/account"
    assert (await sign_in(site.client())).headers["Location"] == "/"


async def test_an_export_of_customers_by_a_browser_needs_recent_credentials(site, product):
    browser = await colleague(site, role=Role.INVESTIGATOR)
    lists = ("/api/v1/export/licenses", "/customers/export", "/api/v1/customers")
    of_the_fleet = "/api/v1/export/installations"
    assert [(await browser.get(path)).status for path in (*lists, of_the_fleet)] == [200] * 4
    await make_old(site)
    for path in (*lists, of_the_fleet):
        refused = await browser.get(path)
        assert (refused.status, refused.json["code"]) == (403, "sign_in_again"), path
        followed = await browser.get(f"{path}?format=csv", **{"Sec-Fetch-Mode": "navigate"})
        assert followed.headers["Location"] == f"/sign-in/again?next={path}%3Fformat%3Dcsv"
    assert (await browser.get(f"{of_the_fleet}?columns=installation_id")).status == 200
    assert (await browser.get("/customers")).status == 200  # a view
    assert (await (await site.program(Role.ADMIN)).get(lists[0])).status == 200


# ── the end of access ───────────────────────────────────────────────────────────────────────


async def test_a_deactivated_person_is_out_at_the_next_request_on_each_worker(site, open_site, admin):
    browser, token = await colleague(site), await token_of(site)
    async with open_site() as other_worker:
        cookie = f"session={browser.cookies['session'].value}"
        there = other_worker.client(Cookie=cookie)
        program = other_worker.client(Authorization=f"Bearer {token}")
        assert [(await each.get("/api/v1/products")).status for each in (there, program)] == [200, 200]
        ann = f"/people/{await person_id(site)}"
        assert (await submit(admin, ann, of="/people", action="deactivate")).status == 303
        assert [(await each.get("/api/v1/products")).status for each in (there, program)] == [401, 401]
        assert (await sign_in(site.client())).status == 403
        assert (await submit(admin, ann, of="/people", action="reactivate")).status == 303
        assert [(await each.get("/api/v1/products")).status for each in (there, program)] == [401, 401]
        assert (await sign_in(site.client())).status == 403  # needs a new password


async def token_of(site, email="ann@example.com"):
    from telemetry_server.store.access.credentials import Limits, create_token

    limits = Limits(await person_id(site, email))
    return await site.with_database(create_token, Role.VIEWER, "mine", None, limits, now=datetime.now(UTC))


async def test_a_row_of_a_deactivated_person_alone_ends_its_sessions_and_tokens(site):
    """Should a session be made while the account is deactivated, the query of each request refuses it."""
    browser, token = await colleague(site), await token_of(site)
    await site.execute("UPDATE people SET deactivated_at = now()")
    assert (await browser.get("/")).status == 303
    program = site.client(Authorization=f"Bearer {token}")
    assert (await program.get("/api/v1/products")).status == 401


async def test_another_role_holds_from_the_next_request_on(site):
    browser, token = await colleague(site, role=Role.INVESTIGATOR), await token_of(site)
    program = site.client(Authorization=f"Bearer {token}")
    for each in (browser, program):
        assert (await each.get("/api/v1/customers")).status == 200
    await site.with_database(people.set_role, await person_id(site), Role.VIEWER, None, by="x")
    for each in (browser, program):
        assert (await each.get("/api/v1/customers")).status == 403


async def test_a_new_password_ends_all_other_sessions(site):
    first, second = await colleague(site), site.client()
    await sign_in(second)
    new = "a quite different one"
    wrong = await submit(second, "/account/password", old="wrong wrong wrong", password=new)
    assert (wrong.status, (await sign_in(site.client(), password=new)).status) == (400, 403)
    answer = await submit(second, "/account/password", old=PASSWORD, password=new)
    assert answer.headers["Location"] == "/account"
    assert (await second.get("/")).status == 200
    assert (await first.get("/")).status == 303
    assert (await sign_in(site.client())).status == 403
    assert (await sign_in(site.client(), password="a quite different one")).status == 303


async def test_a_password_link_keeps_the_second_factor(site, admin):
    browser = await colleague(site)
    await with_app(site, browser)
    ann = f"/people/{await person_id(site)}"
    page = await submit(admin, ann, of="/people", action="password_link")
    token = re.search(r"/invitation\?token=(\S+)</code>", page.text)[1]
    other = site.client()
    assert (await other.post("/invitation", token=token, password="a quite different one")).status == 303
    assert (await browser.get("/")).status == 303
    answer = await sign_in(other, password="a quite different one")
    assert answer.headers["Location"].startswith("/sign-in/code")


async def test_sessions_are_listed_and_ended_one_by_one_or_all(site):
    browser = await colleague(site)
    others = [site.client(**{"User-Agent": f"Browser {number}"}) for number in range(3)]
    for other in others:
        await sign_in(other)
    page = (await browser.get("/account")).text
    assert all(f"Browser {number}" in page for number in range(3))
    assert "127.0.0.0/24" in page
    ids = re.findall(r'name="session" value="(\w+)"', page)
    assert len(ids) == 3
    assert (await submit(browser, "/account/sessions/end", session=ids[0])).status == 303
    assert sum([(await other.get("/account")).status == 200 for other in others]) == 2
    assert (await submit(browser, "/account/sessions/end")).status == 303
    assert [(await other.get("/account")).status for other in others] == [303, 303, 303]
    assert (await browser.get("/account")).status == 200


async def test_no_one_ends_the_session_of_another(site):
    browser, other = await colleague(site), await colleague(site, "bo@example.com")
    page = (await site.execute("SELECT encode(digest, 'hex') AS id FROM sessions WHERE person_id = $1",
                               await person_id(site)))  # fmt: skip
    answer = await submit(other, "/account/sessions/end", session=page[0]["id"])
    assert answer.status == 404
    assert (await browser.get("/account")).status == 200


# ── tokens ──────────────────────────────────────────────────────────────────────────────────


async def made_token(browser, path="/account/tokens", of="/account", **form):
    page = await submit(browser, path, of=of, **({"label": "x", "scopes": "numbers", "days": "30"} | form))
    found = re.search(r"tlm_[\w-]+", page.text)
    return page.status, found and found[0]


async def test_a_token_of_a_person_has_its_scopes_and_never_more_than_the_person(site):
    browser = await colleague(site, role=Role.ANALYST)
    _status, token = await made_token(browser, scopes="numbers, licenses")
    program = site.client(Authorization=f"Bearer {token}")
    paths = ("/api/v1/products", "/api/v1/licenses", "/api/v1/installations", "/account")
    assert [(await program.get(path)).status for path in paths] == [200, 200, 403, 403]
    for scopes in ("customers", "people", "account", "addresses"):
        assert (await made_token(browser, scopes=scopes))[0] == 403
    for scopes in ("", "nonsense"):
        assert (await made_token(browser, scopes=scopes))[0] == 400
    await site.with_database(people.set_role, await person_id(site), Role.VIEWER, None, by="x")
    assert [(await program.get(path)).status for path in paths] == [200, 403, 403, 403]


async def test_a_token_works_from_its_networks_only(open_site):
    from ipaddress import ip_network

    async with open_site(trusted_proxies=(ip_network("127.0.0.0/8"),)) as site:
        browser = await colleague(site)
        _, token = await made_token(browser, networks="192.0.2.0/24 2001:db8::/32")
        for address, status in (
            ("192.0.2.77", 200),
            ("2001:db8::7", 200),
            ("198.51.100.1", 401),
            ("2001:db9::7", 401),
        ):
            program = site.client(Authorization=f"Bearer {token}", **{"X-Forwarded-For": address})
            assert (await program.get("/api/v1/products")).status == status, address


async def test_a_service_token_is_made_and_revoked_by_an_administrator(site, admin):
    status, token = await made_token(admin, "/tokens", "/tokens", label="billing", scopes="numbers licenses")
    program = site.client(Authorization=f"Bearer {token}")
    assert (status, (await program.get("/api/v1/licenses")).status) == (200, 200)
    assert (await program.get("/api/v1/customers")).status == 403
    assert (await made_token(admin, "/tokens", "/tokens", scopes="customers"))[0] == 403
    page = (await admin.get("/tokens")).text
    assert token not in page
    token_id = re.search(r'name="token_id" value="([\w-]+)"', page)[1]
    assert UUID(token_id)
    assert (await submit(admin, "/tokens/revoke", of="/tokens", token_id=token_id)).status == 303
    assert (await program.get("/api/v1/licenses")).status == 401


async def test_a_person_revokes_no_token_of_another(site):
    browser, other = await colleague(site), await colleague(site, "bo@example.com")
    _, token = await made_token(browser)
    [row] = await site.execute("SELECT token_id FROM tokens")
    answer = await submit(other, "/account/tokens/revoke", token_id=str(row["token_id"]))
    assert answer.status == 404
    assert (await site.client(Authorization=f"Bearer {token}").get("/api/v1/products")).status == 200


async def test_a_link_session_has_no_account_page_of_its_own(site):
    browser = await site.person(Role.ADMIN)
    assert "no account" in (await browser.get("/account")).text
    for path in ("/account/profile", "/account/totp", "/account/codes"):
        assert (await submit(browser, path, name="x")).status == 403


async def test_shortcuts_are_switched_off(site):
    browser = await colleague(site)
    assert " data-keys>" in (await browser.get("/account")).text
    await submit(browser, "/account/profile", name="Ann")
    assert " data-keys>" not in (await browser.get("/account")).text


# ── the audit log ───────────────────────────────────────────────────────────────────────────


async def test_sign_ins_and_changes_of_accounts_are_in_the_audit_log(site, admin):
    browser, ann = await colleague(site), str(await person_id(site))
    await with_app(site, browser)
    await made_token(browser)
    await submit(browser, "/account/sessions/end")
    await sign_in(site.client(), password="wrong wrong wrong")
    for change in (
        {"action": "role", "role": "analyst"},
        {"action": "remove_factor"},
        {"action": "deactivate"},
    ):
        assert (await submit(admin, f"/people/{ann}", of="/people", **change)).status == 303
    await site.person(Role.ADMIN)
    rows = await site.execute("SELECT actor, action, subject_id FROM audit_entries ORDER BY recorded_at")
    found = [(row["actor"].partition(" ")[0], row["action"]) for row in rows]
    of_ann = [row["action"] for row in rows if row["subject_id"] == ann]
    assert of_ann == [
        "person.join",
        "person.sign_in",
        "person.totp",
        "person.role",
        "person.remove_totp",
        "person.deactivate",
    ]
    assert {("person:ann@example.com", action) for action in ("token.create", "session.end")} <= set(found)
    assert {("person:admin@example.com", "person.role"), ("link", "session.link_used")} <= set(found)
    assert ("stranger", "person.refused") in found


async def test_without_an_entry_in_the_audit_log_nothing_changes(site, admin):
    await colleague(site)
    refused = "CHECK (action NOT IN ('person.role', 'person.sign_in')) NOT VALID"
    await site.execute(f"ALTER TABLE audit_entries ADD CONSTRAINT no_room {refused}")
    ann = f"/people/{await person_id(site)}"
    assert (await submit(admin, ann, of="/people", action="role", role="admin")).status == 500
    [row] = await site.execute("SELECT role FROM people WHERE email = 'ann@example.com'")
    assert row["role"] == "viewer"
    answer = await sign_in(site.client())
    assert (answer.status, "Set-Cookie" in answer.headers) == (500, False)


async def test_a_name_has_no_invisible_character(site):
    browser = await colleague(site)
    form = {"time_zone": "UTC", "number_style": "en"}
    for name in ("Ann\0", "Ann\u202e", "Ann\nLee"):
        assert (await submit(browser, "/account/profile", name=name, **form)).status == 400
    assert (await submit(browser, "/account/profile", name="Ann Ö", **form)).status == 303


async def test_time_zone_and_numbers_change_what_pages_show(site, product):
    browser = await colleague(site)
    await site.execute("UPDATE sessions SET created_at = '2026-07-01T12:00:00Z'")
    assert "2026-07-01 12:00:00 UTC" in (await browser.get("/account")).text
    chosen = {"name": "Ann", "time_zone": "Asia/Kolkata", "number_style": "de"}
    assert (await submit(browser, "/account/profile", **chosen)).status == 303
    page = (await browser.get("/account")).text
    assert "2026-07-01 17:30:00 UTC+05:30" in page
    assert "Times are in Asia/Kolkata" in page
    assert "All times are UTC." in (await site.client().get("/sign-in")).text
    for wrong in ({"time_zone": "Nowhere/Land"}, {"time_zone": "../UTC"}, {"number_style": "xx"}):
        assert (await submit(browser, "/account/profile", **(chosen | wrong))).status == 400
