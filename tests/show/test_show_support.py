"""The pages of support cases: who may see them, what an opening needs, and that its content is in one answer only."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from license_telemetry import grants
from registry_pages import hidden

from telemetry_server.model import Role
from telemetry_server.permissions import BY_ROLE, FROM_THE_SHELL, Permission
from telemetry_server.store.access import audit
from telemetry_server.store.registry.products import add_product, product_by_slug
from telemetry_server.support import opening, store
from telemetry_server.support.customer_routes import SUPPORT_KEYS
from telemetry_server.support.routes import ROUTES
from telemetry_server.uuid7 import uuid7

SECRET = "hunter2 <b>&"


async def granted(
    site,
    case_id="4711",
    content=b'{"root_dir": "/srv", "ssh": {"user": "acme", "password": "%s"}}',
    ssh="password",
    product=None,
):
    """A grant in the database, as an installation sends it."""
    now, keys = datetime.now(UTC), site.app[SUPPORT_KEYS]
    await asyncio.to_thread(keys.make, 1, [], now)
    if product is None:
        product, _ = await site.with_database(add_product, "Billing Suite", now=now)
    [key], installation_id = keys.public_keys(), uuid7()
    not_after = (now + timedelta(hours=72)).replace(microsecond=0)
    bound = opening.Bound(
        product.slug, str(installation_id), case_id, key.id, not_after.strftime(opening.TIME), ""
    )
    sealed = grants.seal(
        content.replace(b"%s", SECRET.encode()),
        key.public_key,
        product=bound.product,
        installation=bound.installation,
        case=case_id,
        key_id=key.id,
        not_after=bound.not_after,
        notice="",
    )
    new = store.NewGrant(uuid7(), case_id, key.id, "", ssh, not_after, sealed)
    await site.with_database(store.keep_grant, installation_id, product.id, new, now)
    return new


async def csrf(browser, path):
    return hidden((await browser.get(path)).text, "/sign-out")["csrf_token"]


async def begin(browser, case_id="4711", **form):
    answer = await browser.post(
        "/support", csrf_token=await csrf(browser, "/support"), case_id=case_id, **form
    )
    assert answer.status == 303, answer.text
    return answer.headers["Location"]


async def test_a_case_is_begun_opened_under_an_entry_and_closed(site):
    await granted(site)
    browser = await site.person(Role.ADMIN)
    path = await begin(browser, title="Mail <i>stops</i>")
    page = await browser.get(path)
    assert "Mail &lt;i&gt;stops&lt;/i&gt;" in page.text
    assert "sealed" in page.text
    token = await csrf(browser, path)
    opened = await browser.post(f"{path}/open", csrf_token=token, reason="mail does not go out")
    assert opened.status == 200
    assert "hunter2 &lt;b&gt;&amp;" in opened.text
    assert opened.headers["Cache-Control"] == "no-store"
    again = await browser.get(path)
    assert "hunter2" not in again.text
    assert "mail does not go out" in again.text
    found = await site.with_database(audit.find, audit.AuditFilter(subject_kind="support_case"), limit=20)
    assert "support_case.open" in [each.action for each in found]
    assert {each.subject_id for each in found} == {"4711", None}
    assert "hunter2" not in str(found)
    assert (await browser.post(f"{path}/close", csrf_token=token)).status == 303
    refused = await browser.post(f"{path}/open", csrf_token=token, reason="a look")
    assert (refused.status, "hunter2" in refused.text) == (403, False)
    assert await begin(browser) == path


async def test_an_opening_gives_a_certificate_for_the_key_in_the_form(site):
    await granted(site, content=b'{"ssh": {"user": "acme"}}', ssh="certificate")
    browser = await site.person(Role.ADMIN)
    path = await begin(browser)
    token = await csrf(browser, path)
    key = (
        Ed25519PrivateKey.generate()
        .public_key()
        .public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
        .decode()
    )
    opened = await browser.post(f"{path}/open", csrf_token=token, reason="a look", public_key=key)
    assert "ssh-ed25519-cert-v01@openssh.com AAAA" in opened.text
    without = await browser.post(f"{path}/open", csrf_token=token, reason="a look")
    assert "open again with your public key" in without.text
    wrong = await browser.post(f"{path}/open", csrf_token=token, reason="a look", public_key="ssh-rsa x")
    assert (wrong.status, "no public key of OpenSSH" in wrong.text) == (400, True)


async def test_an_opening_needs_a_reason_and_a_recent_sign_in(site):
    await granted(site)
    browser = await site.person(Role.ADMIN)
    path = await begin(browser)
    token = await csrf(browser, path)
    for reason in ("", "   ", "x" * 1001, "a\u202eb"):
        answer = await browser.post(f"{path}/open", csrf_token=token, reason=reason)
        assert (answer.status, "hunter2" in answer.text) == (400, False)
    long_ago = "UPDATE sessions SET authenticated_at = authenticated_at - interval '11 minutes'"
    await site.execute(long_ago)
    answer = await browser.post(f"{path}/open", csrf_token=token, reason="a look")
    assert (answer.status, answer.headers["Location"].partition("?")[0]) == (303, "/sign-in/again")


async def test_a_case_of_two_persons_is_opened_after_another_one_approved(site):
    await granted(site)
    ann, bob = await site.person(Role.ADMIN), await site.person(Role.ADMIN)
    path = await begin(ann, two_persons="yes")
    asked = await ann.post(f"{path}/open", csrf_token=await csrf(ann, path), reason="a look")
    assert (asked.status, "second person" in asked.text, "hunter2" in asked.text) == (403, True, False)
    assert "Approve" not in asked.text.replace("Approvals", "").replace("Approved by", "")
    form = hidden((await bob.get(path)).text, f"{path}/approve")
    approved = await bob.post(
        f"{path}/approve", csrf_token=form["csrf_token"], approval_id=form["approval_id"]
    )
    assert approved.status == 303, approved.text
    opened = await ann.post(f"{path}/open", csrf_token=await csrf(ann, path), reason="a look")
    assert (opened.status, "hunter2" in opened.text) == (200, True)
    own = await bob.post(f"{path}/open", csrf_token=await csrf(bob, path), reason="a look")
    assert own.status == 403
    await ann.post(f"{path}/close", csrf_token=await csrf(ann, path))
    assert await begin(ann) == path  # without the rule, which stays
    asked = await ann.post(f"{path}/open", csrf_token=await csrf(ann, path), reason="a look")
    assert (asked.status, "hunter2" in asked.text) == (403, False)


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
async def test_only_who_has_the_permission_and_no_token_gets_there(site, route):
    path = route.path.format(support_case_id="4711")
    assert route.permission is Permission.SUPPORT
    assert route.audited == "support_case"
    for role in Role:
        browser = await site.person(role)
        page = await browser.get("/")
        token = hidden(page.text, "/sign-out")["csrf_token"]
        answer = await browser.request(
            route.method, path, data={"csrf_token": token} if route.method == "POST" else None
        )
        held = Permission.SUPPORT in FROM_THE_SHELL[role]
        assert (answer.status == 403) != held, (role, answer.status)
        assert ('href="/support"' in page.text) == held
    program = await site.program(Role.ADMIN)
    assert (await program.request(route.method, path, data={})).status == 403
    assert [role for role in Role if Permission.SUPPORT in BY_ROLE[role]] == [Role.SUPPORT]


async def test_hostile_names_of_cases_find_nothing(site):
    browser = await site.person(Role.ADMIN)
    token = await csrf(browser, "/support")
    for name in ("%00", "..", "%2e%2e%2fetc", "<script>", "a" * 5000, "💥"):
        from urllib.parse import quote

        assert (await browser.get(f"/support/{quote(name, safe='%')}")).status in {400, 404}
        answer = await browser.post("/support", csrf_token=token, case_id=name)
        assert answer.status == 400
    assert (await browser.post("/support", csrf_token=token, case_id="a", title="x" * 301)).status == 400
    await begin(browser, "a")
    assert "open already" in (await browser.post("/support", csrf_token=token, case_id="a")).text


# ── customers without the SDK ────────────────────────────────────────────────────────────────


async def test_a_link_is_shown_once_and_ends_with_its_case(site):
    await granted(site)
    browser, stranger = await site.person(Role.ADMIN), site.client()
    path = await begin(browser)
    made = await browser.post(f"{path}/link", csrf_token=await csrf(browser, path), product="billing-suite")
    link = "/grant?token=" + made.text.partition("/grant?token=")[2].partition("<")[0]
    assert link not in (await browser.get(path)).text
    assert "Seal and send" in (await stranger.get(link)).text
    for wrong in ("/grant", "/grant?token=", "/grant?token=x", f"{link}x"):
        assert (await stranger.get(wrong)).status in {400, 404}
    refused = await stranger.post(link, key="x", grant_id="y", not_after="z", sealed="A")
    assert refused.status == 422
    foreign = await browser.post(
        f"{path}/link", csrf_token=await csrf(browser, path), product="no-such-product"
    )
    assert foreign.status == 404
    await browser.post(f"{path}/close", csrf_token=await csrf(browser, path))
    assert (await stranger.get(link)).status == 404


@pytest.mark.browser
async def test_a_customer_seals_in_a_browser_and_the_team_opens_it(site):
    """In a real Chromium; what was typed is in no request."""
    from playwright.async_api import async_playwright

    await granted(site, "another")
    team = await site.person(Role.ADMIN)
    path = await begin(team)
    made = await team.post(f"{path}/link", csrf_token=await csrf(team, path), product="billing-suite")
    link = site.url + "/grant?token=" + made.text.partition("/grant?token=")[2].partition("<")[0]
    sent = []
    async with async_playwright() as playwright:
        chromium = await playwright.chromium.launch(
            executable_path="/usr/bin/chromium", args=["--no-sandbox"]
        )
        page = await chromium.new_page()
        page.on("request", lambda request: sent.append(request.post_data or ""))
        await page.goto(link)
        await page.get_by_label("User").fill("acme")
        await page.locator('[data-secret="ssh.password"]').fill(SECRET)
        await page.get_by_label("Root directory").fill("/srv/größe")
        await page.locator('[data-secret="accounts.mysql.name"]').fill("billing")
        await page.get_by_role("button", name="Seal and send").click()
        await page.wait_for_selector("#sent")
        await chromium.close()
    assert "sealed=" in "".join(sent)
    assert "hunter2" not in "".join(sent)
    opened = await team.post(f"{path}/open", csrf_token=await csrf(team, path), reason="a look")
    for shown in ("acme", "hunter2 &lt;b&gt;&amp;", "/srv/größe", "billing", "from a browser"):
        assert shown in opened.text, shown


async def test_what_is_nested_too_deeply_is_shown_as_text_and_hides_no_other_grant(site):
    await granted(site, content=b'{"a": ' + b"[" * 10_000 + b"]" * 10_000 + b"}")
    await granted(site, product=await site.with_database(product_by_slug, "billing-suite"))
    browser = await site.person(Role.ADMIN)
    path = await begin(browser)
    opened = await browser.post(f"{path}/open", csrf_token=await csrf(browser, path), reason="a look")
    assert (opened.status, "hunter2" in opened.text, "[[[[" in opened.text) == (200, True, True)


async def test_no_installation_displaces_the_grants_of_others(site, monkeypatch):
    monkeypatch.setattr(store, "MOST_SHOWN", 3)
    wanted, flood = await granted(site), uuid7()
    [row] = await site.execute("SELECT * FROM support_grants")
    for _ in range(5):
        await site.execute(
            "INSERT INTO support_grants (installation_id, grant_id, product_id, case_id, key_id, notice, received_at,"
            " not_after, sealed) VALUES ($1, $2, $3, $4, $5, '', now(), $6, $7)",
            *(
                flood,
                uuid7(),
                row["product_id"],
                row["case_id"],
                row["key_id"],
                row["not_after"],
                row["sealed"],
            ),
        )
    found = await site.with_database(store.grants_of, "4711", datetime.now(UTC))
    assert len(found) == 3
    assert wanted.grant_id in {each.grant_id for each in found}
