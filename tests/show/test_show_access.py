"""Who may look: tokens, one-time links, sessions, and what keeps others from using them."""

import asyncio
import re
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Struct, structs
from test_show_accounts import colleague

from telemetry_server.model import Role
from telemetry_server.permissions import Permission
from telemetry_server.routing import Access, Route
from telemetry_server.show.access.guard import guard, local_path
from telemetry_server.show.routes import ROUTES
from telemetry_server.show.viewer import Viewer
from telemetry_server.store.access import credentials, sessions

NOW = datetime(2026, 11, 22, 10, tzinfo=UTC)
API = (
    "/api/v1/installations",
    "/api/v1/installations/019ab6ef-f2a0-7c44-8d53-1b6a0f4e7c90",
    "/api/v1/pings",
    "/api/v1/products",
)


# ── what the store keeps ────────────────────────────────────────────────────────────────────


async def test_a_token_is_known_by_its_digest_only(connection):
    token = await credentials.create_token(connection, Role.VIEWER, "exports", now=NOW)
    assert token.startswith("tlm_")
    assert len(token) > 40
    [row] = await connection.fetch("SELECT * FROM tokens")
    assert token not in str(dict(row))
    assert row["digest"] == credentials.digest(token)
    assert (await credentials.find_token(connection, token, NOW))[:2] == (Role.VIEWER, "exports")


async def test_a_token_ends_when_it_expires_or_is_revoked(connection):
    short = await credentials.create_token(connection, Role.ADMIN, "", NOW + timedelta(days=1), now=NOW)
    assert (await credentials.find_token(connection, short, NOW))[:2] == (Role.ADMIN, "")
    assert await credentials.find_token(connection, short, NOW + timedelta(days=1)) is None
    [listed] = await credentials.list_tokens(connection)
    assert (listed.role, listed.last_used_on, listed.revoked_at) == (Role.ADMIN, NOW.date(), None)
    assert await credentials.revoke_token(connection, listed.token_id)
    assert not await credentials.revoke_token(connection, listed.token_id)
    assert await credentials.find_token(connection, short, NOW) is None


@pytest.mark.parametrize("guess", ["", "tlm_", "tlm_x", "x" * 10_000, "tlm_\udcff", "tlm_\0"])
async def test_a_token_that_nobody_made_is_nobodys(connection, guess):
    await credentials.create_token(connection, Role.VIEWER, "", now=NOW)
    assert await credentials.find_token(connection, guess, NOW) is None


async def test_of_two_who_use_a_link_at_once_one_gets_in(database):
    import asyncpg

    async with asyncpg.create_pool(database, min_size=8, max_size=8) as pool:
        secret = await credentials.create_sign_in_link(pool, Role.ADMIN, NOW)
        roles = await asyncio.gather(*(credentials.use_sign_in_link(pool, secret, NOW) for _ in range(8)))
    assert sorted(map(str, roles)) == ["None"] * 7 + ["admin"]


async def test_a_link_runs_out(connection):
    secret = await credentials.create_sign_in_link(connection, Role.VIEWER, NOW, minutes=10)
    assert await credentials.use_sign_in_link(connection, secret, NOW + timedelta(minutes=10)) is None
    assert await credentials.use_sign_in_link(connection, secret, NOW + timedelta(minutes=9)) is Role.VIEWER


async def test_a_session_ends_at_its_end_and_when_it_is_idle(connection):
    end = NOW + timedelta(hours=12)
    session = await sessions.create_session(connection, Role.VIEWER, NOW, end)
    almost = NOW + sessions.IDLE_AFTER - timedelta(seconds=1)
    assert (await sessions.find_session(connection, session, almost)).role is Role.VIEWER
    assert await sessions.find_session(connection, session, almost + sessions.IDLE_AFTER) is None
    assert (
        await sessions.find_session(connection, session, almost + timedelta(minutes=90))
    ).role is Role.VIEWER
    for hour in range(3, 14):
        found = await sessions.find_session(connection, session, NOW + timedelta(hours=hour))
        assert (found is not None) == (hour < 12)


@pytest.mark.parametrize("ahead", [timedelta(hours=8), timedelta(days=500)])
async def test_what_a_clock_ahead_made_with_an_end_is_not_good_for_as_much_longer(connection, ahead):
    then = NOW + ahead
    session = await sessions.create_session(connection, Role.VIEWER, then, then + timedelta(hours=12))
    link = await credentials.create_sign_in_link(connection, Role.ADMIN, then)
    token = await credentials.create_token(connection, Role.VIEWER, "a", then + timedelta(days=1), now=then)
    lasting = await credentials.create_token(connection, Role.VIEWER, "b", now=then)
    assert await sessions.find_session(connection, session, NOW) is None
    assert await credentials.use_sign_in_link(connection, link, NOW) is None
    assert await credentials.find_token(connection, token, NOW) is None
    assert (await credentials.find_token(connection, lasting, NOW))[1] == "b"
    assert (await sessions.find_session(connection, session, then)).role is Role.VIEWER
    assert await credentials.use_sign_in_link(connection, link, then) is Role.ADMIN
    assert (await credentials.find_token(connection, token, then))[1] == "a"


async def test_a_session_that_was_used_by_a_clock_ahead_is_idle_in_time_all_the_same(connection):
    session = await sessions.create_session(connection, Role.VIEWER, NOW, NOW + timedelta(hours=12))
    await connection.execute("UPDATE sessions SET last_seen_at = $1", NOW + timedelta(hours=8))
    assert (await sessions.find_session(connection, session, NOW + timedelta(minutes=2))).role is Role.VIEWER
    assert await sessions.find_session(connection, session, NOW + timedelta(hours=3)) is None


async def test_a_session_is_noted_once_a_minute(connection):
    session = await sessions.create_session(connection, Role.VIEWER, NOW, NOW + timedelta(hours=12))
    await sessions.find_session(connection, session, NOW + timedelta(seconds=59))
    assert await connection.fetchval("SELECT last_seen_at FROM sessions") == NOW
    await sessions.find_session(connection, session, NOW + timedelta(seconds=60))
    assert await connection.fetchval("SELECT last_seen_at FROM sessions") == NOW + timedelta(seconds=60)


async def test_what_is_over_is_forgotten_and_the_rest_is_not(connection):
    live = await sessions.create_session(connection, Role.VIEWER, NOW, NOW + timedelta(hours=12))
    await sessions.create_session(connection, Role.VIEWER, NOW - timedelta(hours=3), NOW + timedelta(hours=9))
    await sessions.create_session(connection, Role.VIEWER, NOW, NOW)
    await credentials.create_sign_in_link(connection, Role.VIEWER, NOW - timedelta(days=2))
    fresh = await credentials.create_sign_in_link(connection, Role.VIEWER, NOW)
    assert await sessions.forget_sessions(connection, NOW) == 3
    assert (await sessions.find_session(connection, live, NOW)).role is Role.VIEWER
    assert await credentials.use_sign_in_link(connection, fresh, NOW) is Role.VIEWER
    assert await sessions.forget_sessions(connection, NOW) == 0


# ── who gets in ─────────────────────────────────────────────────────────────────────────────


async def test_a_page_sends_strangers_to_the_sign_in_page_and_back(site):
    stranger = site.client()
    assert (await stranger.get("/")).headers["Location"] == "/sign-in"
    for path, onward in (("/intake", "/intake"), ("/installations?seen=30d", "/installations%3Fseen%3D30d")):
        answer = await stranger.get(path)
        assert (answer.status, answer.headers["Location"]) == (303, f"/sign-in?next={onward}")
        page = await stranger.get(answer.headers["Location"])
        assert f'name="next" value="{path}"' in page.text


AUTHORIZATIONS = (None, "Bearer tlm_wrong", "Bearer", "Basic dGxtXzp4", "tlm_x", "Bearer \xff")


async def test_the_api_answers_strangers_with_a_problem_document(site):
    for path in API:
        for authorization in AUTHORIZATIONS:
            headers = {} if authorization is None else {"Authorization": authorization}
            answer = await site.client().get(path, **headers)
            assert (answer.status, answer.json["code"]) == (401, "unauthenticated")
            assert answer.headers["Content-Type"] == "application/problem+json"
            assert "WWW-Authenticate" in answer.headers


async def test_a_session_counts_beside_what_the_browser_shows_to_a_proxy(site):
    """A proxy with a password of its own passes on what the browser sends it."""
    person = await site.person(Role.ADMIN)
    shown_to_the_proxy = {"Authorization": "Basic b3BlcmF0b3I6c2VjcmV0"}
    for path in ("/", "/installations", "/api/v1/products"):
        assert (await person.get(path, **shown_to_the_proxy)).status == 200, path
    assert (await site.client().get("/", **shown_to_the_proxy)).headers["Location"] == "/sign-in"
    forged = await person.post("/sign-out", headers=shown_to_the_proxy)
    assert forged.status == 403
    answer = await person.post("/sign-out", headers=shown_to_the_proxy, csrf_token=csrf_token(person))
    assert answer.status == 303
    assert await site.execute("SELECT * FROM sessions") == []


async def test_a_token_counts_before_a_session(site):
    person = await site.person(Role.ADMIN)
    for path in ("/", "/api/v1/products"):
        assert (await person.get(path, Authorization="Bearer tlm_wrong")).status == 401


async def test_a_token_and_a_session_open_pages_and_api(site):
    program, person = await site.program(), await site.person()
    for path in ("/", "/installations", "/intake", "/api/v1/products"):
        assert (await program.get(path)).status == 200, path
        assert (await person.get(path)).status == 200, path


async def test_who_lacks_the_permission_of_a_route_reads_which_one(site):
    answer = await (await site.program()).get("/api/v1/customers")
    assert (answer.status, answer.json["code"]) == (403, "forbidden")
    assert "needs the permission customers" in answer.json["detail"]
    assert (await (await site.program(Role.ADMIN)).get("/api/v1/customers")).status == 200


@pytest.mark.parametrize(
    ("access", "permission"), [(Access.PERSON, None), (Access.PUBLIC, Permission.NUMBERS)]
)
def test_a_route_for_people_without_a_permission_cannot_be_served(access, permission):
    with pytest.raises(ValueError, match="name a permission"):
        guard(Route("GET", "/x", None, "", access, permission=permission))


# ── signing in ──────────────────────────────────────────────────────────────────────────────


async def test_looking_at_a_link_does_not_use_it_up(site):
    secret = await site.link()
    for _ in range(3):
        page = await site.client().get(f"/sign-in?token={secret}")
        assert (page.status, secret in page.text) == (200, True)
        assert "Set-Cookie" not in page.headers
    browser = site.client()
    answer = await browser.post("/sign-in", token=secret, next="/installations?seen=7d")
    assert (answer.status, answer.headers["Location"]) == (303, "/installations?seen=7d")
    assert (await browser.get("/")).status == 200


async def test_a_used_link_says_where_to_get_another(site):
    secret = await site.link()
    assert (await site.client().post("/sign-in", token=secret)).status == 303
    answer = await site.client().post("/sign-in", token=secret)
    assert answer.status == 403
    assert "telemetry-server sign-in" in answer.text
    assert "Set-Cookie" not in answer.headers


async def test_the_button_pressed_twice_is_no_error(site):
    secret, browser = await site.link(), site.client()
    assert (await browser.post("/sign-in", token=secret)).status == 303
    assert (await browser.post("/sign-in", token=secret)).status == 303


async def test_the_whole_link_can_be_pasted(site):
    secret = await site.link()
    answer = await site.client().post(
        "/sign-in", token=f"  http://127.0.0.1:8080/sign-in?token={secret}&x=1 "
    )
    assert answer.status == 303


async def test_the_cookie_is_kept_from_scripts_and_from_other_sites(site):
    answer = await site.client().post("/sign-in", token=await site.link())
    cookie = answer.headers["Set-Cookie"]
    assert cookie.startswith("session=")
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie
    assert "Path=/" in cookie
    assert "Secure" not in cookie
    assert "Domain" not in cookie


async def test_over_https_the_cookie_is_bound_to_host_and_encryption(open_site):
    async with open_site(public_url="https://telemetry.example.com") as site:
        answer = await site.client().post("/sign-in", token=await site.link())
        cookie = answer.headers["Set-Cookie"]
        assert cookie.startswith("__Host-session=")
        assert "Secure" in cookie
        assert "Path=/" in cookie
        name, _, value = cookie.partition(";")[0].partition("=")
        assert (await site.client(Cookie=f"{name}={value}").get("/")).status == 200
        assert (await site.client(Cookie=f"session={value}").get("/")).status == 303


async def test_signing_in_ends_the_session_before(site):
    browser = await site.person()
    before = browser.cookies["session"].value
    await browser.post("/sign-in", token=await site.link(Role.ADMIN))
    assert browser.cookies["session"].value != before
    assert [row["role"] for row in await site.execute("SELECT role FROM sessions")] == ["admin"]


async def test_the_database_never_sees_the_cookie(site):
    browser = await site.person()
    [row] = await site.execute("SELECT * FROM sessions")
    assert row["digest"] == credentials.digest(browser.cookies["session"].value)


# ── forged forms ────────────────────────────────────────────────────────────────────────────


def csrf_token(browser):
    return Viewer(Role.VIEWER, browser.cookies["session"].value).csrf_token


async def test_signing_out_ends_the_session_here_and_there(site):
    browser = await site.person()
    cookie = browser.cookies["session"].value
    assert f'value="{csrf_token(browser)}"' in (await browser.get("/")).text
    answer = await browser.post("/sign-out", csrf_token=csrf_token(browser))
    assert (answer.status, answer.headers["Location"]) == (303, "/sign-in")
    assert await site.execute("SELECT * FROM sessions") == []
    assert (await site.client(Cookie=f"session={cookie}").get("/")).status == 303


async def test_a_form_without_the_sessions_token_is_refused(site):
    browser = await site.person()
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    for token in ("", "wrong", "0" * 64, "%C3%BC", "%80"):
        body = f"csrf_token={token}".encode()
        answer = await browser.request("POST", "/sign-out", data=body, headers=headers)
        assert answer.status == (400 if token == "%80" else 403), token
    assert len(await site.execute("SELECT * FROM sessions")) == 1


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
    ],
)
async def test_a_form_from_another_site_is_refused(site, headers):
    browser = await site.person()
    answer = await browser.post("/sign-out", headers=headers, csrf_token=csrf_token(browser))
    assert answer.status == 403
    secret = await site.link()
    assert (await site.client().post("/sign-in", headers=headers, token=secret)).status == 403
    assert (await site.client().post("/sign-in", token=secret)).status == 303


async def test_a_form_of_the_own_site_is_taken(site):
    for headers in ({"Sec-Fetch-Site": "same-origin", "Origin": "null"}, {"Origin": site.url}):
        browser = await site.person()
        answer = await browser.post("/sign-out", headers=headers, csrf_token=csrf_token(browser))
        assert answer.status == 303


@pytest.mark.parametrize(
    ("headers", "body", "status"),
    [
        ({"Content-Type": "application/json"}, b"{}", 400),
        ({"Content-Type": "application/x-www-form-urlencoded"}, b"token=" + b"x" * 9000, 413),
        ({"Content-Type": "application/x-www-form-urlencoded"}, b"token=\xff\xfe", 400),
        ({"Content-Type": "application/x-www-form-urlencoded"}, b"token=%ff", 400),
        ({"Content-Type": "application/x-www-form-urlencoded"}, b"&".join([b"a=1"] * 30), 400),
        ({"Content-Type": "application/x-www-form-urlencoded"}, b"token=%00", 400),
        ({"Content-Type": "multipart/form-data; boundary=x"}, b"--x--", 400),
        (
            {"Content-Type": "multipart/form-data; boundary=x"},
            b'--x\r\nContent-Disposition: form-data; name="password"\r\n\r\n' + b"x" * 9000 + b"\r\n--x--",
            400,
        ),
    ],
)
async def test_a_bad_form_gets_a_clear_page(site, headers, body, status):
    answer = await site.client().request("POST", "/sign-in", data=body, headers=headers)
    assert answer.status == status
    assert answer.headers["Content-Type"].startswith("text/html")


# ── where it goes on ────────────────────────────────────────────────────────────────────────

FOREIGN = (
    "//evil.example", "https://evil.example", "\\\\evil.example", "/\\evil.example", "/\t/evil.example",
    "/\n/evil.example", "javascript:alert(1)", "evil.example", "", " /", "///evil.example", "/\u2028", "http:/x",
)  # fmt: skip


async def test_signing_in_never_leads_to_another_site(site):
    for path in FOREIGN:
        answer = await site.client().post("/sign-in", token=await site.link(), next=path)
        assert (answer.status, answer.headers["Location"]) == (303, "/"), path


@given(st.text())
def test_whatever_is_asked_for_stays_on_this_server(path):
    from yarl import URL

    went = URL("http://here.example/").join(URL(local_path(path), encoded=True))
    assert went.host == "here.example"


@pytest.mark.parametrize("path", ["/", "/installations?seen=30d&os_name=debian", "/installations/x#history"])
def test_a_page_of_this_server_is_where_it_goes_on(path):
    assert local_path(path) == path


# ── hostile forms of people who are signed in ───────────────────────────────────────────────

HOSTILE = ["9" * 400, "💥" * 300, "a\x07\u202eb", "' OR 1=1 --", "a\0b"]
COMMON_FIELDS = [
    "name",
    "email",
    "company",
    "key",
    "product",
    "seats",
    "status",
    "expires_at",
    "note",
    "reason",
    "fields",
    "version",
]
ENDS_THE_SESSION = {"/sign-out", "/account/sessions/end"}


async def test_no_form_of_a_signed_in_person_ends_in_a_server_error(site, product):
    browsers = [await colleague(site, "root@example.com", Role.ADMIN), await site.person(Role.ADMIN)]
    forms = [route for route in ROUTES if route.page and route.method == "POST" and route.permission]
    failed = []
    for browser in browsers:
        csrf = Viewer(Role.ADMIN, browser.cookies["session"].value).csrf_token
        for route in (each for each in forms if each.path not in ENDS_THE_SESSION):
            path = re.sub(r"\{slug\}", product.slug, route.path)
            path = re.sub(r"\{\w+\}", "019ab6f0-3c1e-7d2a-9b1e-5f0c2a7d9e11", path)
            typed = isinstance(route.body, type) and issubclass(route.body, Struct)
            names = [each.name for each in structs.fields(route.body)] if typed else []
            for text in HOSTILE:
                form = dict.fromkeys([*names, *COMMON_FIELDS], text)
                answer = await browser.post(path, **form | {"csrf_token": csrf})
                if answer.status >= 500:
                    failed.append((path, text[:20], answer.status))
    assert failed == []
