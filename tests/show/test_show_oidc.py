"""Sign-in by OpenID providers: one that tells the truth, and one that lies in every way."""

import re
import time
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest
from lying_provider import CLIENT, SECRET, lying_provider
from test_show_accounts import colleague, link_in, make_old, person_id, submit

from telemetry_server.errors import SettingsError
from telemetry_server.model import Role
from telemetry_server.show.access import oidc
from telemetry_server.show.access.guard import RECENT
from telemetry_server.store.access import throttle

START = "/sign-in/with/company"
ROLES = """
[[company.roles]]
group = "leads"
role = "admin"

[[company.roles]]
group = "staff"
role = "analyst"
"""


@pytest.fixture
async def provider():
    async with lying_provider() as provider:
        yield provider


@pytest.fixture
def open_company(open_site, provider, tmp_path):
    """Opens servers that sign in by the provider, called company."""

    @asynccontextmanager
    async def opened(more="new_people = true", roles=ROLES, **settings):
        (tmp_path / "secret").write_text(f"{SECRET}\n")
        (tmp_path / "secret").chmod(0o600)
        (tmp_path / "providers.toml").write_text(
            f'[company]\ntitle = "Company account"\nissuer = "{provider.issuer}"\nclient_id = "{CLIENT}"\n'
            f'client_secret_file = "{tmp_path / "secret"}"\n{more}\n{roles}'
        )
        async with open_site(sign_in_providers=str(tmp_path / "providers.toml"), **settings) as site:
            yield site

    return opened


@pytest.fixture
async def company(open_company):
    async with open_company() as site:
        yield site


async def go_through(browser, provider, start=START):
    """What the server answers when the browser comes back from the provider."""
    answer = await browser.get(start)
    assert answer.status == 303, answer.text
    return await browser.get(provider.authorize(answer.headers["Location"]))


async def refusals(site):
    """The reasons in the audit log, the oldest first."""
    rows = await site.execute(
        "SELECT details ->> 'reason' AS reason FROM audit_entries WHERE action = 'person.refused' ORDER BY recorded_at"
    )
    return [row["reason"] for row in rows]


async def is_signed_in(browser):
    return (await browser.get("/account")).status == 200


# ── the way in ──────────────────────────────────────────────────────────────────────────────


async def test_the_first_sign_in_makes_an_account_with_the_role_of_the_groups(company, provider):
    browser = company.client()
    assert "Sign in with Company account" in (await browser.get("/sign-in")).text
    answer = await go_through(browser, provider, f"{START}?next=/installations")
    assert (answer.status, answer.headers["Location"]) == (303, "/installations")
    [person] = await company.execute("SELECT email, name, role, password_hash FROM people")
    assert tuple(person) == ("ann@example.com", "Ann There", "analyst", None)
    [asked] = provider.asked
    assert (asked["response_type"], asked["code_challenge_method"]) == ("code", "S256")
    assert asked["scope"] == "openid email profile"
    assert asked["max_age"] == str(30 * 86_400)  # so that auth_time is in the token
    assert provider.authenticated_by == "Basic"
    assert "oidc:company" in (await browser.get("/account")).text
    actions = [row["action"] for row in await company.execute("SELECT action FROM audit_entries")]
    assert {"person.join", "person.link_identity", "person.sign_in"} <= set(actions)


async def test_the_database_has_neither_verifier_nor_nonce_nor_state(company, provider):
    answer = await company.client().get(START)
    provider.authorize(answer.headers["Location"])
    stored = str(await company.execute("SELECT * FROM sign_in_flows"))
    assert "company" in stored
    for name in ("state", "nonce", "code_challenge"):
        assert provider.asked[0][name] not in stored


async def test_groups_are_read_again_at_each_sign_in(company, provider):
    await go_through(company.client(), provider)
    provider.more_claims = {"groups": ["leads", "staff"], "email": "new@example.com"}
    browser = company.client()
    assert (await go_through(browser, provider)).status == 303
    [person] = await company.execute("SELECT email, role FROM people")
    assert tuple(person) == ("ann@example.com", "admin")  # the same person: issuer and subject are
    provider.more_claims = {"groups": ["guests"]}
    assert (await go_through(company.client(), provider)).status == 403
    assert await refusals(company) == ["no_role"]
    assert not await is_signed_in(browser)  # nor do earlier sessions go on


async def test_who_has_no_group_any_more_keeps_no_token_and_no_invitation(company, provider):
    provider.more_claims = {"groups": ["leads"]}
    browser = company.client()
    await go_through(browser, provider)
    page = await submit(browser, "/account/tokens", label="mine", scopes="numbers")
    token = re.search(r"<code>(tlm_\S+)</code>", page.text)[1]
    program = company.client(Authorization=f"Bearer {token}")
    page = await submit(browser, "/people/invite", of="/people", email="bo@example.com", role="admin")
    assert (await program.get("/api/v1/products")).status == 200
    assert (await company.client().get(link_in(page))).status == 200
    provider.more_claims = {"groups": ["guests"]}
    assert (await go_through(company.client(), provider)).status == 403
    assert (await program.get("/api/v1/products")).status == 401
    assert (await company.client().get(link_in(page))).status == 403
    provider.more_claims = {"groups": ["leads"]}
    assert (await go_through(company.client(), provider)).status == 303  # the account is there
    assert (await program.get("/api/v1/products")).status == 401
    actions = [row["action"] for row in await company.execute("SELECT action FROM audit_entries")]
    assert "person.end_access" in actions


async def test_groups_can_be_deep_and_limit_to_products(open_company, product, provider):
    roles = '[[company.roles]]\ngroup = "x"\nrole = "viewer"\nproducts = ["billing-suite"]\n'
    more = 'new_people = true\ngroups_claim = "realm_access.roles"'
    async with open_company(more, roles) as site:
        provider.more_claims = {"realm_access": {"roles": ["x"]}}
        browser = site.client()
        assert (await go_through(browser, provider)).status == 303
        assert "for billing-suite" in (await browser.get("/account")).text


async def test_groups_from_the_userinfo_endpoint_belong_to_the_same_subject(open_company, provider):
    provider.without, provider.userinfo = ("groups",), {"sub": "ann-there", "groups": ["staff"]}
    async with open_company("new_people = true\nuserinfo = true") as site:
        assert (await go_through(site.client(), provider)).status == 303
        provider.userinfo = {"sub": "bob-there", "groups": ["leads"]}
        assert (await go_through(site.client(), provider)).status == 403
        assert await refusals(site) == ["subject"]


async def test_new_keys_of_the_provider_are_fetched(company, provider, monkeypatch):
    from telemetry_server.show.access import oidc_client

    assert (await go_through(company.client(), provider)).status == 303
    [key, _] = provider.keys
    provider.keys = [key | {"kid": "k2"}]
    provider.sign = lambda claims: provider.signed(claims, kid="k2")
    assert (await go_through(company.client(), provider)).status == 403
    monkeypatch.setattr(oidc_client, "_KEYS_AGAIN_SECONDS", -1)
    assert (await go_through(company.client(), provider)).status == 303


# ── whose account it is ─────────────────────────────────────────────────────────────────────


async def test_a_local_account_never_becomes_one_of_the_provider_by_its_address(company, provider):
    await colleague(company)
    browser = company.client()
    answer = await go_through(browser, provider)
    assert (answer.status, "link the provider under" in answer.text) == (403, True)
    assert await refusals(company) == ["not_linked"]
    assert not await is_signed_in(browser)
    assert await company.execute("SELECT * FROM person_identities") == []


async def linked(site, provider, browser):
    """The answer of the provider to the page that links an account."""
    page = await submit(browser, "/account/link/company")
    assert page.status == 200
    url = page.headers["Refresh"].partition("url=")[2]
    return await browser.get(provider.authorize(url))


async def test_a_person_links_the_provider_and_ends_that_again(company, provider):
    ann = await colleague(company)
    assert (await linked(company, provider, ann)).headers["Location"] == "/account#providers"
    browser = company.client()
    assert (await go_through(browser, provider)).status == 303
    assert await is_signed_in(browser)
    form = {"issuer": provider.issuer, "subject": "ann-there"}
    assert (await submit(ann, "/account/identities/unlink", **form)).status == 303
    assert await is_signed_in(ann)
    assert not await is_signed_in(browser)
    assert (await go_through(company.client(), provider)).status == 403
    assert (await submit(ann, "/account/identities/unlink", **form)).status == 404


async def test_linking_needs_recent_credentials_and_the_sessions_token(company, provider):
    ann = await colleague(company)
    assert (await ann.post("/account/link/company")).status == 403
    await make_old(company)
    answer = await submit(ann, "/account/link/company")
    assert answer.headers["Location"].startswith("/sign-in/again")


async def test_an_identity_belongs_to_one_person(company, provider):
    await linked(company, provider, await colleague(company))
    bob = await colleague(company, "bob@example.com")
    assert (await linked(company, provider, bob)).status == 403
    assert await refusals(company) == ["identity_taken"]


async def test_the_answer_to_a_link_counts_for_the_session_that_asked(company, provider):
    ann = await colleague(company)
    page = await submit(ann, "/account/link/company")
    back = provider.authorize(page.headers["Refresh"].partition("url=")[2])
    await ann.post("/sign-in", email="ann@example.com", password="seven wet otters sing")
    assert (await ann.get(back)).status == 403
    assert await refusals(company) == ["state_of_another_session"]


async def test_an_administrator_links_and_unlinks(company, provider):
    admin = await colleague(company, "admin@example.com", Role.ADMIN)
    await colleague(company)
    ways = "/people/sign-in"
    form = {"provider": "company", "subject": "ann-there", "email": "Ann@example.com"}
    assert (await submit(admin, f"{ways}/link", of=ways, **form)).status == 303
    browser = company.client()
    assert (await go_through(browser, provider)).status == 303
    page = (await admin.get(ways)).text
    assert "ann-there" in page
    assert f"{company.app[oidc.OIDC]['company'].redirect_uri}" in page
    form = {"issuer": provider.issuer, "subject": "ann-there", "person_id": str(await person_id(company))}
    assert (await submit(admin, f"{ways}/unlink", of=ways, **form)).status == 303
    assert not await is_signed_in(browser)
    form = {"provider": "company", "subject": "x", "email": "nobody@example.com"}
    assert (await submit(admin, f"{ways}/link", of=ways, **form)).status == 400


async def test_the_only_way_in_is_not_unlinked(company, provider):
    browser = company.client()
    await go_through(browser, provider)
    form = {"issuer": provider.issuer, "subject": "ann-there"}
    answer = await submit(browser, "/account/identities/unlink", **form)
    assert (answer.status, "only way to sign in" in answer.text) == (400, True)


async def test_a_deactivated_person_is_not_signed_in(company, provider):
    await go_through(company.client(), provider)
    await company.execute("UPDATE people SET deactivated_at = now()")
    assert (await go_through(company.client(), provider)).status == 403
    assert await refusals(company) == ["deactivated"]


@pytest.mark.parametrize(
    ("more", "claims", "reason"),
    [
        ("new_people = false", {}, "unknown_person"),
        ("new_people = true", {"email_verified": False}, "no_email"),
        ("new_people = true", {"email_verified": None}, "no_email"),
        ("new_people = true", {"email": "nonsense"}, "no_email"),
        ("new_people = true\nunverified_email = true", {"email": None}, "no_email"),
    ],
)
async def test_strangers_get_an_account_only_as_the_settings_say(
    open_company, provider, more, claims, reason
):
    async with open_company(more) as site:
        provider.more_claims = claims
        assert (await go_through(site.client(), provider)).status == 403
        assert await refusals(site) == [reason]
        assert await site.execute("SELECT * FROM people") == []


async def test_accounts_without_a_required_claim_are_refused(open_company, provider):
    async with open_company('new_people = true\nrequired_claims = { hd = "example.com" }') as site:
        assert (await go_through(site.client(), provider)).status == 403
        provider.more_claims = {"hd": "example.com"}
        assert (await go_through(site.client(), provider)).status == 303
        assert await refusals(site) == ["required_claim"]


async def test_a_second_factor_here_is_asked_for_unless_that_of_the_provider_counts(open_company, provider):
    from test_show_accounts import with_app

    provider.more_claims = {"amr": ["pwd", "mfa"]}
    async with open_company() as site:
        ann = await colleague(site)
        await linked(site, provider, ann)
        await with_app(site, ann)
        browser = site.client()
        answer = await go_through(browser, provider)
        assert answer.headers["Location"].startswith("/sign-in/code")
        assert not await is_signed_in(browser)
    async with open_company("second_factor = true") as site:
        assert (await go_through(site.client(), provider)).headers["Location"] == "/"
        provider.more_claims = {"amr": ["pwd"]}
        answer = await go_through(site.client(), provider)
        assert answer.headers["Location"].startswith("/sign-in/code")


async def test_credentials_have_to_be_recent_at_the_provider_too(company, provider):
    browser, again = company.client(), "/sign-in/again/with/company?next=/people"
    provider.more_claims = {"groups": ["leads"], "auth_time": int(time.time() - 2 * RECENT.total_seconds())}
    await go_through(browser, provider)
    invite = {"email": "bo@example.com", "role": "viewer"}
    answer = await submit(browser, "/people/invite", of="/people", **invite)
    assert answer.headers["Location"] == "/sign-in/again?next=/people"
    assert "Go on with Company account" in (await browser.get(answer.headers["Location"])).text
    assert (await go_through(browser, provider, again)).status == 403  # it did not ask
    assert (provider.asked[-1]["prompt"], provider.asked[-1]["max_age"]) == ("login", "0")
    provider.more_claims = {"groups": ["leads"], "sub": "bob-there", "email": "bob@example.com"}
    assert (await go_through(browser, provider, again)).status == 403  # another person
    provider.more_claims = {"groups": ["leads"]}
    assert (await go_through(browser, provider, again)).headers["Location"] == "/people"
    assert (await submit(browser, "/people/invite", of="/people", **invite)).status == 200
    assert await refusals(company) == ["auth_time", "another_person"]
    assert len(await company.execute("SELECT * FROM people")) == 1


@pytest.mark.parametrize(("more", "status"), [("", 303), ("without_auth_time = true", 200)])
async def test_a_provider_without_auth_time_counts_as_recent_only_as_the_settings_say(
    open_company, provider, more, status
):
    provider.without, provider.more_claims = ("auth_time",), {"groups": ["leads"]}
    async with open_company(f"new_people = true\n{more}") as site:
        browser = site.client()
        await go_through(browser, provider)
        invite = {"email": "bo@example.com", "role": "viewer"}
        assert (await submit(browser, "/people/invite", of="/people", **invite)).status == status


# ── lies ────────────────────────────────────────────────────────────────────────────────────


def claim(**claims):
    def lie(provider):
        provider.more_claims = claims

    return lie


def soon(seconds):
    return int(time.time()) + seconds


def signature(name):
    def lie(provider):
        provider.sign = getattr(provider, name)

    return lie


def left_out(*names):
    def lie(provider):
        provider.without = names

    return lie


def answering(**answer):
    def lie(provider):
        provider.answer = answer

    return lie


def with_token(**token):
    def lie(provider):
        provider.token = token

    return lie


LIES = {
    "another nonce": (claim(nonce="another"), "nonce"),
    "no nonce": (left_out("nonce"), "nonce"),
    "another issuer": (claim(iss="https://evil.example.com"), "issuer"),
    "issuers": (claim(iss=["https://evil.example.com"]), "issuer"),
    "token of another client": (claim(aud="another-client"), "audience"),
    "no audience": (left_out("aud"), "audience"),
    "audience among others without azp": (claim(aud=[CLIENT, "another-client"]), "authorized_party"),
    "azp of another client": (claim(azp="another-client"), "authorized_party"),
    "azp of another client among audiences": (
        claim(aud=[CLIENT, "another-client"], azp="another-client"),
        "authorized_party",
    ),
    "alg none": (signature("unsigned"), "algorithm"),
    "HS256 with the public key": (signature("with_the_public_key_as_secret"), "algorithm"),
    "HS256 with the secret of the client": (signature("with_a_shared_secret"), "algorithm"),
    "jwk header": (signature("with_its_own_key"), "key_in_token"),
    "jku header": (signature("with_the_address_of_its_key"), "key_in_token"),
    "key of a stranger": (signature("by_a_stranger"), "signature"),
    "unknown key": (signature("by_an_unknown_key"), "unknown_key"),
    "expired": (claim(exp=soon(-3_600)), "expired"),
    "expired in words": (claim(exp="tomorrow"), "expired"),
    "expires never": (claim(exp=float("inf")), "expired"),
    "expires after all time": (claim(exp=10**400), "expired"),
    "auth_time after all time": (claim(auth_time=10**400), "auth_time"),
    "verified in another way": (claim(email_verified=["yes"]), "no_email"),
    "no expiry": (left_out("exp"), "expired"),
    "not yet valid": (claim(nbf=soon(3_600)), "not_yet_valid"),
    "issued in the future": (claim(iat=soon(3_600)), "not_yet_valid"),
    "no subject": (left_out("sub"), "subject"),
    "empty subject": (claim(sub=""), "subject"),
    "number as subject": (claim(sub=7), "subject"),
    "groups as text": (claim(groups="leads"), "groups"),
    "groups as object": (claim(groups={"leads": True}), "groups"),
    "groups of numbers": (claim(groups=[1]), "groups"),
    "groups elsewhere": (claim(groups=None, _claim_names={"groups": "src1"}), "groups_left_out"),
    "no group of ours": (claim(groups=["guests"]), "no_role"),
    "issuer mixed up": (answering(iss="https://evil.example.com"), "issuer_of_answer"),
    "issuer left out": (answering(iss=None), "issuer_of_answer"),
    "access denied": (answering(code=None, error="access_denied"), "refused_by_provider"),
    "code of no one": (answering(code="stolen"), "code_refused"),
    "no token": (with_token(id_token=None), "no_id_token"),
    "no JWT": (with_token(id_token="nonsense"), "malformed_token"),
    "state of no one": (answering(state="unknown"), "unknown_state"),
}


@pytest.mark.parametrize("name", LIES)
async def test_a_provider_that_lies_signs_no_one_in_and_the_audit_log_says_why(company, provider, name):
    lie, reason = LIES[name]
    lie(provider)
    browser = company.client()
    answer = await go_through(browser, provider)
    assert answer.status == 403, answer.text
    assert answer.headers["Content-Type"].startswith("text/html")
    assert await refusals(company) == [reason]
    assert not await is_signed_in(browser)
    assert await company.execute("SELECT * FROM people") == []


async def test_several_audiences_with_this_client_as_azp_and_other_algorithms_are_fine(company, provider):
    provider.more_claims = {"aud": [CLIENT, "another-client"], "azp": CLIENT}
    provider.sign = provider.by_another_algorithm
    assert (await go_through(company.client(), provider)).status == 303


async def test_a_code_and_a_state_work_once_and_in_one_browser(company, provider):
    browser, thief = company.client(), company.client()
    back = provider.authorize((await browser.get(START)).headers["Location"])
    assert (await thief.get(back)).status == 403
    assert (await browser.get(back)).status == 403  # the thief's try ended it
    back = provider.authorize((await browser.get(START)).headers["Location"])
    assert (await browser.get(back)).status == 303
    assert (await browser.get(back)).status == 403
    await thief.get(START)
    replayed = back.replace(back.partition("state=")[2].partition("&")[0], "x")
    assert (await thief.get(replayed)).status == 403
    reasons = ["state_of_another_browser", "unknown_state", "unknown_state", "unknown_state"]
    assert await refusals(company) == reasons


async def test_a_code_of_another_flow_fails_by_its_verifier(company, provider):
    """The code of a thief, put into the answer to the victim's browser."""
    stolen = provider.authorize((await company.client().get(START)).headers["Location"])
    victim = company.client()
    back = provider.authorize((await victim.get(START)).headers["Location"])
    mixed = back.replace("code=code-1", "code=code-0")
    assert "code=code-0" in stolen
    assert (await victim.get(mixed)).status == 403
    assert await refusals(company) == ["code_refused"]


@pytest.mark.parametrize("limit", ["OF_REFUSALS", "OF_ALL_REFUSALS"])
async def test_answers_that_no_provider_gave_do_not_fill_the_audit_log(company, monkeypatch, limit):
    """Of one network, and of all together."""
    monkeypatch.setattr(throttle, limit, throttle.Limit(3, timedelta(minutes=1)))
    stranger, path = company.client(), "/sign-in/with/company/back?state=x&code=y"
    assert [(await stranger.get(path)).status for _ in range(5)] == [403, 403, 403, 429, 429]
    assert await refusals(company) == ["unknown_state"] * 3


async def test_another_site_cannot_begin_a_sign_in(company):
    answer = await company.client().get(f"{START}?next=/people", **{"Sec-Fetch-Site": "cross-site"})
    assert (answer.status, answer.headers["Location"]) == (303, "/sign-in?next=%2Fpeople")


async def test_a_flow_ends_after_ten_minutes(company, provider):
    browser = company.client()
    back = provider.authorize((await browser.get(START)).headers["Location"])
    await company.execute("UPDATE sign_in_flows SET expires_at = now()")
    assert (await browser.get(back)).status == 403
    assert await refusals(company) == ["unknown_state"]


@pytest.mark.parametrize(
    ("metadata", "reason"),
    [
        ({"issuer": "https://evil.example.com"}, "provider_metadata"),
        ({"token_endpoint": "http://evil.example.com/token"}, "provider_metadata"),
        ({"jwks_uri": None}, "provider_metadata"),
        ({"jwks_uri": "http://127.0.0.1:9/keys"}, "provider_unreachable"),
    ],
)
async def test_metadata_that_is_not_that_of_the_issuer_is_refused(company, provider, metadata, reason):
    provider.metadata = metadata
    browser = company.client()
    answer = await browser.get(START)
    if answer.status == 303:
        answer = await browser.get(provider.authorize(answer.headers["Location"]))
    assert answer.status == 403
    assert await refusals(company) == [reason]


async def test_of_two_providers_each_answers_for_itself(open_site, tmp_path):
    async with lying_provider() as one, lying_provider() as two:
        parts = [
            f'[{name}]\ntitle = "{name}"\nissuer = "{each.issuer}"\nclient_id = "{CLIENT}"\nnew_people = true\n'
            f'[[{name}.roles]]\nrole = "viewer"\n'
            for name, each in (("one", one), ("two", two))
        ]
        (tmp_path / "providers.toml").write_text("\n".join(parts))
        async with open_site(sign_in_providers=str(tmp_path / "providers.toml")) as site:
            two.more_claims = {"email": "ann@two.example.com"}
            for name, each in (("one", one), ("two", two)):
                assert (await go_through(site.client(), each, f"/sign-in/with/{name}")).status == 303
                assert each.authenticated_by == ""  # a public client: no secret is set
            assert len(await site.execute("SELECT * FROM people")) == 2  # the same subject, another issuer
            browser = site.client()
            back = one.authorize((await browser.get("/sign-in/with/one")).headers["Location"])
            assert (await browser.get(back.replace("/with/one/", "/with/two/"))).status == 403
            assert await refusals(site) == ["state_of_another_provider"]


# ── trying, and settings ────────────────────────────────────────────────────────────────────


async def test_an_administrator_tries_a_provider_and_nothing_changes(company, provider):
    admin = await colleague(company, "admin@example.com", Role.ADMIN)
    page = await go_through(admin, provider, "/people/sign-in/try/company")
    assert page.status == 200, page.text
    assert all(
        word in page.text
        for word in ("analyst", "by the group staff", "ann-there", "auth_time", "[&#34;staff&#34;]")
    )
    assert "makes a new person" in page.text
    claim(groups="leads")(provider)
    page = await go_through(admin, provider, "/people/sign-in/try/company")
    assert (page.status, "<code>groups</code>" in page.text) == (200, True)
    signature("with_its_own_key")(provider)
    page = await go_through(admin, provider, "/people/sign-in/try/company")
    assert "<code>key_in_token</code>" in page.text
    assert len(await company.execute("SELECT * FROM people")) == 1
    tries = await company.execute(
        "SELECT details ->> 'reason' FROM audit_entries WHERE action = 'provider.try'"
    )
    assert len(tries) == 3


async def test_trying_is_for_who_manages_people(company, provider):
    viewer = await colleague(company)
    assert (await viewer.get("/people/sign-in/try/company")).status == 403
    assert (await viewer.get("/people/sign-in")).status == 403


async def test_a_provider_that_does_not_answer_is_named_on_the_page(company, provider):
    admin = await colleague(company, "admin@example.com", Role.ADMIN)
    assert "does not answer as it should" not in (await admin.get("/people/sign-in")).text
    provider.metadata = {"issuer": "https://evil.example.com"}
    page = (await admin.get("/people/sign-in")).text
    assert "provider_metadata: issuer" in page
    assert SECRET not in page


async def test_an_unknown_provider_is_not_there(company):
    for path in ("/sign-in/with/other", "/sign-in/with/other/back?state=x"):
        assert (await company.client().get(path)).status == 404


def test_without_the_packages_a_server_with_providers_says_what_to_install(monkeypatch, tmp_path):
    from telemetry_server.settings import Settings

    monkeypatch.setattr(oidc, "find_spec", lambda name: None if name == "joserfc" else name)
    (tmp_path / "p.toml").write_text('[a]\ntitle = "A"\nissuer = "https://a.example.com"\nclient_id = "x"')
    assert oidc.oidc_clients(Settings(data=tmp_path)) == {}
    with pytest.raises(SettingsError, match=r"joserfc is not .*license-telemetry-server\[oidc\]"):
        oidc.oidc_clients(Settings(data=tmp_path, sign_in_providers=str(tmp_path / "p.toml")))


async def test_forgotten_flows_are_deleted(company):
    from telemetry_server.store.access.sessions import forget_sessions

    await company.client().get(START)
    await company.execute("UPDATE sign_in_flows SET expires_at = now() - interval '1 day'")
    await company.with_database(forget_sessions, datetime.now(UTC))
    assert await company.execute("SELECT * FROM sign_in_flows") == []
