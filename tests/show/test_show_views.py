"""Saved views, share links and notes on charts."""

import re
from datetime import UTC, date, datetime, timedelta
from html import unescape
from urllib.parse import urlsplit

import pytest
from registry_pages import fill_in, words

from telemetry_server.check.fields import load_registry
from telemetry_server.jobs.active import count_active_copies
from telemetry_server.model import Role
from telemetry_server.permissions import Permission, permissions_of
from telemetry_server.show.pages import share_links
from telemetry_server.store.access.sessions import create_session
from telemetry_server.store.registry.products import add_product

TODAY = datetime.now(UTC).date()


class Someone:
    """A person with an account and a browser."""

    def __init__(self, site, person_id, browser):
        self.site, self.id, self.get, self.post = site, person_id, browser.get, browser.post

    async def keep(self, page, name, seen_by="me"):
        return await fill_in(self, page, "/views", name=name, seen_by=seen_by)

    async def rail(self, page="/"):
        """The saved views there: name and address."""
        nav = (await self.get(page)).text.partition('aria-label="Pages"')[2].partition("</nav>")[0]
        section = nav.partition("<h2>Saved views</h2>")[2].partition("<h2>")[0]
        found = re.findall(r'<a href="([^"]*)"(?![^>]*data-go).*?<span>(.*?)</span>', section)
        return {unescape(name): unescape(href) for href, name in found}


@pytest.fixture
def person(site):
    async def made(role=Role.ANALYST, products=None):
        now = datetime.now(UTC)
        [row] = await site.execute(
            "INSERT INTO people (person_id, email, name, role, product_ids, created_at)"
            " SELECT v.id, v.id || '@example.com', '', $1, $2, $3 FROM (SELECT gen_random_uuid() AS id) AS v"
            " RETURNING person_id",
            *(role.value, products, now),
        )
        secret = await site.with_database(
            create_session, role, now, now + timedelta(hours=1), person_id=row["person_id"]
        )
        return Someone(site, row["person_id"], site.client(Cookie=f"session={secret}"))

    return made


# ── saved views ─────────────────────────────────────────────────────────────────────────────


async def test_a_view_keeps_the_page_with_all_that_is_chosen_there(person, fleet):
    ann, bob = await person(), await person(Role.VIEWER)
    page = "/?range=90d&compare=none"
    answer = await ann.keep(page, "Quarter")
    assert (answer.status, answer.headers["Location"]) == (303, page)
    await ann.keep("/installations?filter=country%3DDE", "<b>Germany", "everyone")
    assert await ann.rail() == {"Quarter": page, "<b>Germany": "/installations?filter=country%3DDE"}
    assert await bob.rail() == {"<b>Germany": "/installations?filter=country%3DDE"}
    assert "<b>Germany" not in (await bob.get("/")).text


async def test_a_view_is_renamed_shared_and_deleted_by_its_person(site, person, fleet):
    ann, bob = await person(), await person()
    await ann.keep("/map", "World")
    [row] = await site.execute("SELECT view_id FROM saved_views")
    action = f"/views/{row['view_id']}"
    token = {"csrf_token": re.search(r'name="csrf_token" value="(\w+)"', (await bob.get("/views")).text)[1]}
    assert (await bob.post(action, name="Mine", seen_by="me", **token)).status == 404
    assert (await fill_in(ann, "/views", action, name="Earth", seen_by="everyone")).status == 303
    assert await bob.rail() == {"Earth": "/map"}
    assert (await bob.post(action, action="delete", **token)).status == 404
    assert (await fill_in(ann, "/views", action, action="delete")).status == 303
    assert await ann.rail() == {}
    found = await site.execute(
        "SELECT action, subject_id FROM audit_entries WHERE action LIKE 'saved_view.%'"
    )
    assert [each["action"] for each in found if each["action"] != "saved_view.list"] == [
        "saved_view.create",
        "saved_view.change",
        "saved_view.delete",
    ]


async def test_an_administrator_deletes_views_of_everyone(site, person, fleet):
    ann, admin = await person(), await person(Role.ADMIN)
    await ann.keep("/map", "World", "everyone")
    [row] = await site.execute("SELECT view_id FROM saved_views")
    assert (await fill_in(admin, "/views", f"/views/{row['view_id']}", action="delete")).status == 303
    assert await ann.rail() == {}


async def test_views_lead_only_to_what_their_viewer_may_see(site, person, fleet):
    [mine] = await site.execute("SELECT product_id FROM products")
    await site.with_database(add_product, "Other Suite", now=datetime.now(UTC))
    ann, viewer, limited = (
        await person(),
        await person(Role.VIEWER),
        await person(products=[mine["product_id"]]),
    )
    await ann.keep("/licenses", "Licenses", "everyone")
    await ann.keep("/?product=other-suite", "Other", "everyone")
    await ann.keep("/map", "World", "everyone")
    assert set(await ann.rail()) == {"Licenses", "Other", "World"}
    assert set(await viewer.rail()) == {"Other", "World"}
    assert set(await limited.rail()) == {"Licenses", "World"}
    assert "All views" not in (await viewer.get("/")).text
    for address in (
        "//evil.example",
        "https://evil.example",
        "/nowhere",
        "/people",
        "/?product=x\n",
        "/sign-out",
    ):
        refused = await fill_in(limited, "/map", "/views", name="x", address=address)
        assert refused.status == 400, address
    for name in ("", " ", "x" * 81, "a\u202eb"):
        assert (await fill_in(ann, "/map", "/views", name=name)).status == 400


# ── share links ─────────────────────────────────────────────────────────────────────────────


async def shared_by(someone, **fields):
    """The path of a new link."""
    answer = await fill_in(someone, "/links", "/links", **{"label": "Sales", "days": "7"} | fields)
    assert answer.status == 200, answer.text
    made = unescape(re.search(r'id="once".*?<code>(.*?)</code>', answer.text, re.DOTALL)[1])
    parts = urlsplit(made)
    return f"{parts.path}?{parts.query}" if parts.query else parts.path


@pytest.fixture
async def charted(site, counted_fleet):
    """A fleet whose copies at the end of each day are counted."""
    await site.with_database(count_active_copies(load_registry()), datetime.now(UTC))


PLANTED = {
    "customer": ("Ada Lovelace", "ada@customer.example", "Lovelace Widgets", "DE123456789"),
    "hostname": ("mail.lovelace-widgets.example",),
    "operator": ("Lovelace Private Network", "AS64511"),
    "address": ("203.0.113.77", "203.0.113.0/24"),
    "key": ("Z9X8",),
    "reseller": ("lovelace-resale",),
    "author": ("note about Lovelace Widgets",),
}


OF_PEOPLE = (
    "To clear up",
    "Saved views",
    "Save this view",
    "Licenses over seats",
    "Expire within",
    'id="palette"',
    'id="panel"',
    'name="filter"',
)
"""Parts of pages that no link shows."""


@pytest.fixture
async def personal(site, person, charted):
    """A fleet with personal data of each kind in its rows."""
    name, email, company, tax = PLANTED["customer"]
    for sql, *values in (
        (
            (
                "INSERT INTO customers (customer_id, email, name, company, tax_id, custom, created_at, updated_at)"
                " VALUES (gen_random_uuid(), $1, $2, $3, $4, '{}', now(), now())"
            ),
            *(email, name, company, tax),
        ),
        ("UPDATE installations SET client_address = '203.0.113.77'",),
        (
            "INSERT INTO hostnames (address, hostname, looked_up_at) VALUES ('203.0.113.77', $1, now())",
            PLANTED["hostname"][0],
        ),
        (
            (
                "UPDATE states SET place = place || jsonb_build_object('asn', 64511, 'organisation', $1::text),"
                " facts = jsonb_set(jsonb_set(facts, '{license,key_hint}', '\"Z9X8\"'),"
                " '{license,source_detail}', '\"lovelace-resale\"')"
            ),
            PLANTED["operator"][0],
        ),
    ):
        await site.execute(sql, *values)
    maker = await person()
    answer = await fill_in(maker, "/", "/notes", note=PLANTED["author"][0], day=str(TODAY))
    assert answer.status == 303
    return maker


async def test_nothing_personal_can_be_reached_from_a_link(site, personal, counted_fleet):
    ids = [str(one) for one in counted_fleet]
    ids += [str(row[0]) for row in await site.execute("SELECT customer_id FROM customers")]
    planted = [text for each in PLANTED.values() for text in each] + ids + [str(personal.id)]
    shown = (await personal.get("/")).text
    assert PLANTED["author"][0] in shown  # they are there for people
    stranger, start = site.client(), await shared_by(personal)
    waiting, seen = [start, f"{start}/map?show=active", f"{start}?network=asn&license=source_detail"], set()
    while waiting:
        path = waiting.pop()
        site.app[share_links.LIMITER]._free_at.clear()  # a crawl is faster than people
        answer = await stranger.get(path)
        seen |= {path, *choices(path)}
        assert answer.status == 200, (path, answer.text)
        assert "noindex" in answer.headers["X-Robots-Tag"]
        assert [text for text in planted if text in answer.text] == [], path
        assert [text for text in OF_PEOPLE if text in answer.text] == [], path
        if answer.headers["Content-Type"].startswith("text/html"):
            found = {unescape(href) for href in re.findall(r'(?:href|action)="([^"#][^"]*)"', answer.text)}
            inside = {href for href in found if not href.startswith("/static/")}
            assert {href for href in inside if not href.startswith(start)} == set(), path
            waiting += [href for href in inside if not choices(href) <= seen and href not in waiting]
            waiting = [href for href in waiting if not choices(href) <= seen]
    pages = {path.removeprefix(start) for path, *_ in (one for one in seen if isinstance(one, tuple))}
    assert pages == {"", "/features", "/releases", "/map"}
    assert any("csv=" in str(one) for one in seen)


GUESSES = (
    "filter=life%3Dlost",
    "filter=asn%3D64511",
    "filter=address%3D203.0.113.77",
    "filter=(",
)
OTHERS = (
    "q=0&seen=24h&country=DE&license_source_detail=lovelace-resale&columns=customer&sort=customer"
    "&subject=Z9X8&kind=unknown_key&installation_id=019ab6f0-3c1e-7d2a-9b1e-5f0c2a7d9e11&after=1&page=2"
)


def numbers(html):
    """What the page shows, without the times that pass."""
    return re.sub(r"<time.*?</time>", "", html.partition("<main")[2].partition("</main>")[0], flags=re.DOTALL)


async def test_a_link_answers_no_guess(site, personal):
    assert numbers((await personal.get(f"/?{GUESSES[0]}")).text) != numbers((await personal.get("/")).text)
    stranger, start = site.client(), await shared_by(personal)
    for page in ("?compare=none", "/map?show=active", "/features?by=edition", "/releases?range=7d"):
        site.app[share_links.LIMITER]._free_at.clear()
        without = await stranger.get(f"{start}{page}")
        assert without.status == 200
        for guess in GUESSES:
            answer = await stranger.get(f"{start}{page}&{guess}&{OTHERS}")
            assert (answer.status, numbers(answer.text)) == (200, numbers(without.text)), (page, guess)
    files = [(await stranger.get(f"{start}?csv=pings{guess}")).text for guess in ("", f"&{GUESSES[0]}")]
    assert files[0] == files[1] != ""


def choices(href):
    """A page, and each single choice there: a crawl that makes every one of them, and not all together.

    One day stands for all: "previous period" has no end soon.
    """
    parts = urlsplit(re.sub(r"\d{4}-\d\d-\d\d", "day", href))
    return {(parts.path,)} | {(parts.path, each) for each in parts.query.split("&") if each}


async def test_a_link_is_dead_when_it_is_revoked_expired_or_its_maker_may_no_longer_share(
    site, person, fleet
):
    stranger, ann = site.client(), await person()
    start = await shared_by(ann, label="<i>Sales")
    assert (await stranger.get(start)).status == 200
    listed = await ann.get("/links")
    assert "<i>Sales" not in listed.text
    assert str(TODAY) in words(listed.text)  # last used
    assert start.rpartition("/")[2] not in listed.text

    async def is_dead():
        answers = [
            await stranger.get(path) for path in (start, f"{start}/map", f"{start}/features?csv=features")
        ]
        return {answer.status for answer in answers} == {404}

    for change, back in (
        ("UPDATE people SET role = 'viewer'", "UPDATE people SET role = 'analyst'"),
        ("UPDATE people SET deactivated_at = now()", "UPDATE people SET deactivated_at = NULL"),
        (
            "UPDATE share_links SET created_at = now() - interval '2 days', expires_at = now() - interval '1 s'",
            "UPDATE share_links SET created_at = now(), expires_at = now() + interval '1 day'",
        ),
    ):
        await site.execute(change)
        assert await is_dead(), change
        await site.execute(back)
        assert not await is_dead()
    [row] = await site.execute("SELECT link_id, digest FROM share_links")
    assert start.rpartition("/")[2].encode() not in row["digest"]
    bob, admin = await person(), await person(Role.ADMIN)
    assert str(row["link_id"]) not in (await bob.get("/links")).text
    assert (await fill_in(admin, "/links", f"/links/{row['link_id']}")).status == 303
    assert await is_dead()


async def test_a_link_shows_the_products_of_its_maker_or_fewer(site, person, fleet):
    other, _ = await site.with_database(add_product, "Other Suite", now=datetime.now(UTC))
    stranger, limited, ann = site.client(), await person(products=[other.id]), await person()
    start = await shared_by(limited)
    assert "Billing Suite" not in (await stranger.get(start)).text
    assert (await stranger.get(f"{start}?product=billing-suite")).status == 400
    refused = await fill_in(limited, "/links", "/links", label="x", days="1", products="billing-suite")
    assert refused.status == 403
    start = await shared_by(ann, products="billing-suite")
    assert "Other Suite" not in (await stranger.get(start)).text
    await site.execute("UPDATE people SET product_ids = $1 WHERE person_id = $2", [other.id], ann.id)
    assert "Billing Suite" not in (await stranger.get(start)).text


async def test_a_link_needs_an_end_and_opens_the_page_it_was_made_on(site, person, fleet):
    ann = await person()
    for days in ("", "0", "367", "-1", "1.5", "٣", "9" * 50):
        assert (await fill_in(ann, "/links", "/links", label="x", days=days)).status == 400, days
    shown = await ann.get("/links?opens=/map?show=active")
    assert "/map?show=active" in shown.text
    path = await shared_by(ann, opens="/map?show=active")
    assert path.endswith("/map?show=active")
    path = await shared_by(ann, opens="/map?filter=country%3DDE&show=active")
    assert path.endswith("/map?show=active")
    assert "All active" in (await site.client().get(path)).text
    assert "/installations" not in await shared_by(ann, opens="/installations")


async def test_a_link_is_rationed_and_its_use_is_not_recorded_each_time(site, person, fleet):
    start, stranger = await shared_by(await person()), site.client()
    site.app[share_links.LIMITER]._cost = 20  # three in a minute
    before = await site.execute("SELECT count(*) FROM audit_entries")
    answers = [(await stranger.get(f"{start}/map?show=active")).status for _ in range(4)]
    assert answers[0] == 200
    assert answers[-1] == 429
    assert await site.execute("SELECT count(*) FROM audit_entries") == before
    wrong = [(await stranger.get("/shared/wrong")).status for _ in range(4)]
    assert (wrong[0], wrong[-1]) == (404, 429)


def test_no_token_makes_links_or_views():
    for scope in (Permission.SHARE, Permission.VIEWS):
        assert scope in permissions_of(Role.ANALYST, person=True)
        assert scope not in permissions_of(Role.VIEWER, person=True)


# ── notes ───────────────────────────────────────────────────────────────────────────────────


async def test_a_note_stands_on_the_axis_in_the_table_and_in_the_csv(person, charted):
    ann, bob, day = await person(), await person(Role.VIEWER), TODAY - timedelta(days=3)
    evil = "<script>alert(1)</script> =1+1"
    answer = await fill_in(ann, "/", "/notes", note=evil, day=str(day), product="billing-suite")
    assert (answer.status, answer.headers["Location"]) == (303, "/")
    page = (await bob.get("/?product=billing-suite")).text
    assert "<script>alert" not in page
    assert page.count('class="note-mark"') >= 2
    row = page.partition(f'data-day="{day}"')[2].partition("</tr>")[0]
    assert f"{evil} ({ann.id}@example.com)" in unescape(row)
    assert 'action="/notes' not in page
    csv = (await bob.get("/?product=billing-suite&csv=turned")).text
    assert "releases and notes" in csv.splitlines()[0]
    assert evil in csv
    assert evil not in unescape((await bob.get(f"/?from={TODAY}&to={TODAY}")).text)


async def test_a_note_is_changed_and_deleted_and_recorded_without_its_text(site, person, counted_fleet):
    ann = await person()
    await fill_in(ann, "/", "/notes", note="outage of the shop", day=str(TODAY), product="")
    [row] = await site.execute("SELECT note_id FROM chart_notes")
    action = f"/notes/{row['note_id']}"
    assert (await fill_in(ann, "/", action, note="outage, 2 h", day=str(TODAY))).status == 303
    assert "outage, 2 h" in (await ann.get("/")).text
    for note, day in (
        ("", TODAY),
        ("x" * 121, TODAY),
        ("a\u202eb", TODAY),
        ("x", "soon"),
        ("x", date(1999, 1, 1)),
    ):
        assert (await fill_in(ann, "/", action, note=note, day=str(day))).status == 400
    assert (await fill_in(ann, "/", action, action="delete")).status == 303
    assert "outage" not in (await ann.get("/")).text
    found = await site.execute(
        "SELECT * FROM audit_entries WHERE action LIKE 'chart_note.%' ORDER BY recorded_at"
    )
    assert [each["action"] for each in found] == [
        "chart_note.create",
        "chart_note.change",
        "chart_note.delete",
    ]
    assert "outage" not in str(found)


async def test_people_of_some_products_see_and_write_notes_about_these_only(site, person, counted_fleet):
    other, _ = await site.with_database(add_product, "Other Suite", now=datetime.now(UTC))
    ann, limited = await person(), await person(products=[other.id])
    for note, product in (
        ("about all", ""),
        ("about billing", "billing-suite"),
        ("about other", "other-suite"),
    ):
        await fill_in(ann, "/", "/notes", note=note, day=str(TODAY), product=product)
    page = (await limited.get("/")).text
    assert ("about other" in page, "about all" in page, "about billing" in page) == (True, False, False)
    for product in ("", "billing-suite"):
        refused = await fill_in(limited, "/", "/notes", note="x", day=str(TODAY), product=product)
        assert refused.status == 403
    [billing] = await site.execute("SELECT note_id FROM chart_notes WHERE note = 'about billing'")
    token = {"csrf_token": re.search(r'name="csrf_token" value="(\w+)"', page)[1]}
    gone = await limited.post(f"/notes/{billing['note_id']}", action="delete", **token)
    assert gone.status == 404
