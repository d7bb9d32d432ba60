"""The pages: numbers that lead to their rows, hostile words that stay words, and nothing inline."""

import asyncio
import json
import re
from datetime import UTC, datetime, timedelta
from html import unescape
from html.parser import HTMLParser
from types import SimpleNamespace
from uuid import UUID

import pytest
from installation import Installation, make_ping
from patience import patient, until

from telemetry_server.errors import Unavailable
from telemetry_server.jobs.clear_up import list_what_to_clear_up
from telemetry_server.programs import command_of
from telemetry_server.store.counts import overview
from telemetry_server.store.database import make_pool
from telemetry_server.store.reading import reading
from telemetry_server.store.registry.products import add_product


class Page(HTMLParser):
    """What a browser sees of a page: its text, links, elements and their attributes."""

    def __init__(self, html):
        super().__init__(convert_charrefs=True)
        self.elements, self.words, self._open = [], [], []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self._open.append(tag)

    def handle_data(self, data):
        self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture
async def person(site):
    return await site.person()


async def look(person, path):
    answer = await person.get(path)
    assert answer.status == 200, answer.text
    return Page(answer.text)


def shown_total(page):
    return int(
        re.search(r"([\d,]+) installations?(?: match(?:es)?)?, the newest first", page.text)[1].replace(
            ",", ""
        )
    )


# ── the first start ─────────────────────────────────────────────────────────────────────────


async def test_without_a_product_the_overview_says_how_to_make_one(person):
    page = await look(person, "/")
    assert "telemetry-server product add" in page.text


async def test_before_the_first_ping_the_overview_says_how_to_send_it(open_site, database):
    async with open_site(public_url="https://telemetry.example.com") as site:
        _, key = await site.with_database(add_product, "Billing Suite", now=datetime.now(UTC))
        page = await look(await site.program(), "/")
    assert f"license-telemetry send --endpoint https://telemetry.example.com --product-key {key}" in page.text


async def test_without_a_public_url_the_command_names_the_address_of_the_page(open_site, database):
    async with open_site(listen="0.0.0.0:8080") as site:
        _, key = await site.with_database(add_product, "Billing Suite", now=datetime.now(UTC))
        page = await look(await site.program(), "/")
    assert f"{command_of('license-telemetry')} send --endpoint {site.url} --product-key {key}" in page.text


async def test_the_empty_list_leads_to_how_to_begin(person, product):
    page = await look(person, "/installations")
    assert "No installation has sent a ping yet" in page.text
    page = await look(person, "/installations?os_name=beos")
    assert "No installation matches" in page.text


# ── the overview ────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("path", ["/", "/?range=7d", "/?range=90d&product=billing-suite", "/?range=24h"])
async def test_every_number_leads_to_exactly_its_rows(person, fleet, path):
    """The number beside a link to the list is how many the list then counts, and how many it shows."""
    program, html = await person.site.program(), (await person.get(path)).text
    numbers = _linked_numbers(html)
    assert len(numbers) > 15
    for href, number in numbers:
        assert shown_total(await look(person, href)) == number, href
        asked = re.sub(
            r"(?<=[?&])(range|from|to|compare|step)=[^&]*&?", "", href
        )  # it travels with every link
        api = (
            await program.get(asked.replace("/installations?", "/api/v1/installations?") + "&limit=500")
        ).json
        assert len(api["items"]) == number, href


def _linked_numbers(html):
    rows = re.findall(
        r'<tr[^>]*>\s*<th[^>]*><a href="(/installations\?[^"]*)">.*?</th>.*?<td[^>]*class="count">([\d,]+)</td>',
        html,
        re.DOTALL,
    )
    tiles = re.findall(r'<a class="figure" href="(/installations\?[^"]*)"[^>]*>([\d,]+)</a>', html)
    looks = re.findall(r'<a href="(/installations\?[^"]*)"><span class="count">([\d,]+)</span>', html)
    return [
        (unescape(href), int(number.replace(",", "")))
        for href, number in rows + tiles + looks
        if number != "0"
    ]


async def test_the_chart_counts_every_ping(person, counted_fleet):
    page = (await person.get("/?range=90d")).text
    pings = (await person.site.execute("SELECT count(*) FROM pings"))[0]["count"]
    assert f'aria-label="Pings: {pings:,} in all.' in page
    figures = re.findall(
        r'<th scope="row">\d{4}-\d\d-\d\d(?: so far)?</th><td class="count">([\d,]+)</td>', page
    )
    assert len(figures) == 90
    assert sum(int(f.replace(",", "")) for f in figures) == pings
    rows = (await person.get("/?range=90d&csv=pings")).text.splitlines()
    assert [row.split(",")[1] for row in rows[1:]] == [f.replace(",", "") for f in reversed(figures)]


async def test_what_needs_a_look_is_told_and_leads_on(person, fleet, product):
    page = await look(person, "/")
    assert "with an identity that two copies continued" in page.text
    assert "with missing pings" in page.text
    today = datetime.now(UTC).date()
    await person.site.execute(
        "INSERT INTO ingest_counts VALUES ($1, $2, 'rejected:too_long', 7)", today, product.id
    )
    await person.site.execute(
        "INSERT INTO ingest_counts VALUES ($1, $2, 'rejected:too_deep', 4)", today, product.id
    )
    await person.site.execute(
        "INSERT INTO quarantine VALUES ($1, 1, $1, $2, now(), '22P05', 'UntranslatableCharacterError', 'x')",
        fleet[0],
        product.id,
    )
    page = await look(person, "/")
    assert "11 pings rejected today" in page.text
    assert "1 ping in quarantine" in page.text
    intake = await look(person, "/intake")
    assert "UntranslatableCharacterError" in intake.text
    assert "rejected: too long 7 7" in intake.text


async def test_all_is_clear_only_when_every_copy_is_covered(person, product):
    copy = await _one_ping(person.site)
    page = await look(person, "/")
    assert "No forks, no gaps, nothing refused." in page.text
    assert "Not looked at yet" in page.text
    assert "100.0 % 1 copy" in page.text
    assert re.search("(No|Unknown) key 1", (await _listed(person)).text)
    await person.site.execute("UPDATE installation_facts SET verdict = 'valid', claim_mismatch = false")
    assert "Every active copy is covered, no claim contradicts" in (await _listed(person)).text
    await person.site.execute("UPDATE installation_facts SET claim_mismatch = true")
    assert "Contradicting claim 1" in (await _listed(person)).text
    assert copy.id in (await person.get("/installations?filter=claim_mismatch=true")).text
    await person.site.execute("UPDATE installation_facts SET claim_mismatch = false")
    await _listed(person)
    await person.site.execute("UPDATE installation_facts SET verdict = 'expired'")
    page = await look(person, "/")
    assert "will be listed within five minutes" in page.text
    assert "Every active copy is covered" not in page.text


async def _listed(person):
    """The overview, after the job."""
    await person.site.with_database(list_what_to_clear_up, datetime.now(UTC))
    return await look(person, "/")


async def test_products_are_told_apart(person, fleet):
    other, _ = await person.site.with_database(add_product, "Panel", now=datetime.now(UTC))
    moved = (await person.site.execute("SELECT installation_id FROM installations ORDER BY 1 LIMIT 4"))[0:4]
    for table in ("installations", "installation_facts"):
        await person.site.execute(
            f"UPDATE {table} SET product_id = $1 WHERE installation_id = ANY ($2)",
            other.id,
            [r[0] for r in moved],
        )
    assert "of 4 known" in (await look(person, "/?product=panel&range=90d")).text
    assert shown_total(await look(person, "/installations?product=panel")) == 4
    links = {a.get("href") for a in (await look(person, "/?product=panel")).all("a")}
    assert {"/?product=billing-suite", "/?product=panel", "/installations?product=panel"} <= links


async def test_a_slow_question_costs_its_card_and_not_the_page(person, fleet, connection):
    async with connection.transaction():
        await connection.execute("LOCK TABLE installation_facts IN ACCESS EXCLUSIVE MODE")
        page = await look(person, "/")
    assert "This takes too long just now" in page.text
    assert "Pings per day" in page.text
    assert "Features" in page.text


async def test_features_add_up_over_the_pings_they_are_from(person, counted_fleet):
    page = await look(person, "/?range=90d")
    [row] = await person.site.execute(
        "SELECT sum(f.value::bigint)::bigint AS uses FROM v_pings, jsonb_each_text(features) AS f WHERE f.key = 'api.call'"
    )
    assert f"api.call {row['uses']:,}" in page.text


async def test_days_that_are_still_being_counted_are_marked(person, counted_fleet):
    def open_days(html):
        return re.findall(r'<tr data-day="(\d{4}-\d\d-\d\d)" class="open">', html)

    now = datetime.now(UTC)
    today, earlier = now.date(), now.date() - timedelta(days=9)
    assert set(open_days((await person.get("/")).text)) == {str(today)}
    await person.site.execute("INSERT INTO days_due SELECT product_id, $1, now() FROM products", earlier)
    assert str(earlier) in open_days((await person.get("/")).text)
    await person.site.execute("UPDATE rollup_marks SET reached_at = $1", now - timedelta(days=3))
    html = (await person.get("/")).text
    assert {str(today - timedelta(days=days)) for days in (0, 1, 2, 3, 9)} <= set(open_days(html))
    assert html.count("Counts include pings up to") == 2  # the days, the features


async def test_before_the_first_roll_up_the_page_says_that_it_is_being_made(person, product):
    await _one_ping(person.site)
    page = await look(person, "/")
    assert page.text.count("The first pings are being counted") == 2


@pytest.mark.parametrize("asked", ["", "&product=billing-suite", "&product=panel"])
async def test_clocks_far_off_are_counted_by_when_they_were_received(person, fleet, asked):
    await person.site.with_database(add_product, "Panel", now=datetime.now(UTC))
    await person.site.execute(
        "UPDATE pings SET time_suspect = true WHERE received_at < now() - interval '20 days'"
    )
    await person.site.execute("UPDATE pings SET time_suspect = true WHERE sequence = 1")
    since = datetime.now(UTC) - timedelta(days=7)
    [row] = await person.site.execute(
        "SELECT count(*) FROM pings WHERE time_suspect AND received_at >= $1", since
    )
    shown = f"{row['count']} pings with a wrong clock"
    assert (shown in (await look(person, f"/?range=7d{asked}")).text) == (asked != "&product=panel")


async def test_no_more_clocks_far_off_are_counted_than_somebody_looks_at(person, fleet, monkeypatch):
    await person.site.execute("UPDATE pings SET time_suspect = true")
    path = "/intake?range=90d"
    everybody = [row for row in (await look(person, path)).all("tr") if "data-row" in row]
    monkeypatch.setattr(overview, "MOST_SUSPECT", 2)
    assert "2+ pings with a wrong clock" in (await look(person, "/?range=90d")).text
    page = await look(person, path)
    assert "Only the newest 2 are counted here." in page.text
    assert len([row for row in page.all("tr") if "data-row" in row]) < len(everybody)


# ── the list ────────────────────────────────────────────────────────────────────────────────


async def test_the_list_can_be_paged_to_its_end(person, fleet):
    seen, path = [], "/installations"
    while path:
        page = await look(person, path)
        seen += [a["title"] for a in page.all("a") if a.get("href", "").startswith("/installations/")]
        path = next((a["href"] for a in page.all("a") if a.get("rel") == "next"), None)
    rows = await person.site.execute("SELECT installation_id::text AS id FROM installations ORDER BY 1 DESC")
    assert seen == [row["id"] for row in rows]
    assert len(seen) > 50


async def test_what_a_form_leaves_empty_leaves_the_address(person, product):
    answer = await person.get("/installations?q=&os_name=debian&vm=&seen=")
    assert (answer.status, answer.headers["Location"]) == (303, "/installations?os_name=debian")


async def test_each_filter_in_use_can_be_taken_out(person, fleet):
    page = await look(person, "/installations?license_status=licensed&os_name=debian&seen=30d")
    assert "status licensed" in page.text
    assert "seen within 30 days" in page.text
    assert "/installations?license_status=licensed&seen=30d" in [a.get("href") for a in page.all("a")]
    assert [i["value"] for i in page.all("input") if i.get("name") == "os_name"] == ["debian"]


async def test_each_term_of_a_filter_can_be_taken_out(person, fleet):
    page = await look(person, "/installations?filter=os=debian%20status=licensed,trial%20last_seen%3C30d")
    assert shown_total(page) > 0
    assert "os =debian" in page.text
    assert "status =licensed,trial" in page.text
    assert "/installations?filter=os%3Ddebian+last_seen%3C30d" in [a.get("href") for a in page.all("a")]
    assert [i["value"] for i in page.all("input") if i.get("name") == "filter"] == [
        "os=debian status=licensed,trial last_seen<30d"
    ]
    page = await look(person, "/installations?filter=os=debian")
    assert "/installations" in [
        a.get("href") for a in page.all("a") if a.get("title") == "Remove this filter"
    ]


async def test_a_filter_that_is_none_is_told_beside_what_was_typed(person, fleet):
    answer = await person.get("/installations?filter=contry=DE")
    page = Page(answer.text)
    assert answer.status == 400
    assert "there is no field 'contry' (did you mean country?)" in page.text
    assert [i["value"] for i in page.all("input") if i.get("name") == "filter"] == ["contry=DE"]
    assert page.all("tbody") == []


async def test_a_product_that_is_not_there_is_told_and_breaks_no_page(person, fleet):
    for asked in ("product=bling", "filter=product=bling"):
        answer = await person.get(f"/installations?{asked}")
        assert answer.status == 400
        assert "There is no product bling. The products are billing-suite." in answer.text
    assert (await person.get("/?product=bling")).status == 200


async def test_the_beginning_of_an_id_in_the_filter_finds_it(person, fleet):
    answer = await person.get(f"/installations?filter={str(fleet[0])[:13]}")
    assert (answer.status, answer.headers["Location"]) == (303, f"/installations?q={str(fleet[0])[:13]}")


async def test_the_list_suggests_the_values_there_are(person, fleet):
    page = await look(person, "/installations")
    suggested = {a.get("href", "").partition("?")[2] for a in page.all("a")}
    assert {
        "os_name=debian", "version=7.2.1", "country=DE", "asn=24940",
        "edition=business", "vm=kvm",
    } <= suggested  # fmt: skip


async def test_the_number_above_the_list_is_exact_beyond_its_page(person, fleet):
    page = await look(person, "/installations?filter=verdict!=valid")
    assert f"{len(fleet)} installations match, the newest first" in page.text
    assert f"{len(fleet)} installations, the newest first" in (await look(person, "/installations")).text


@pytest.mark.parametrize(("path", "status", "hint"), [
    ("/installations?colour=red", 400, "There is no parameter"),
    ("/installations?after=x", 400, "after must be a UUID"),
    ("/?range=never", 400, "range must be one of"),
    ("/installations/019ab6ef-f2a0-7c44-8d53-1b6a0f4e7c90", 404, "No installation has this id"),
    ("/installations/x", 400, "must be a UUID"),
    ("/installations/019ab6ef-f2a0-7c44-8d53-1b6a0f4e7c90?before=0", 400, "before must be an integer"),
])  # fmt: skip
async def test_a_wrong_address_gets_a_page_that_says_so(person, path, status, hint):
    answer = await person.get(path)
    assert (answer.status, answer.headers["Content-Type"]) == (status, "text/html; charset=utf-8")
    assert hint in unescape(answer.text)


# ── one installation ────────────────────────────────────────────────────────────────────────


async def test_a_history_shows_changes_gaps_and_clocks(person, product):
    copy = await _enrolled(person.site)
    await copy.send(copy.ping())
    await copy.send(
        copy.ping(service={"version": "8.0.0"}, os={"type": "linux", "name": "debian", "version": "13"})
    )
    copy.sequence += 3
    await copy.send(copy.ping(occurred_at="1970-01-01T00:00:00Z"))
    path = f"/installations/{copy.id}"
    page = await look(person, f"{path}?tab=pings")
    assert "service.version 7.2.1 → became 8.0.0" in page.text
    assert "os.version 12 → became 13" in page.text
    assert "os.kernel 6.1.0-31-amd64 → became nothing" in page.text
    assert "3 numbers missing: 3 to 5" in page.text
    assert "its clock said 1970-01-01 00:00:00 UTC" in page.text
    assert "3 pings missing" in page.text
    evidence = await look(person, f"{path}?tab=evidence")
    assert "Numbers received 1 to 2, 6 to 6" not in evidence.text
    assert "Numbers received 1 to 2, 6" in evidence.text
    assert "Missing 3: 3 to 5" in evidence.text
    drawn = await look(person, f"{path}?tab=timeline")
    marks = [one["class"] for one in drawn.all("circle") if "%" in one["cx"]]
    assert sorted(marks) == ["ping hollow"] * 3 + ["ping ping"] * 2 + ["ping suspect"]


async def test_a_long_history_is_paged_and_no_change_is_lost_between_pages(person, product):
    copy = await _enrolled(person.site)
    pings = [copy.ping(service={"version": f"1.0.{number // 30}"}) for number in range(200)]
    await copy.send(*pings)
    changes, path, numbers = [], f"/installations/{copy.id}?tab=pings", []
    told = re.compile(r"service\.version</span> <del><bdi>([\d.]+)</bdi></del>.*?<ins><bdi>([\d.]+)</bdi>")
    timeline = (await person.get(f"/installations/{copy.id}?tab=timeline")).text
    assert told.findall(timeline) == [(f"1.0.{n - 1}", f"1.0.{n}") for n in range(6, 0, -1)]
    while path:
        html = (await person.get(path)).text
        changes += told.findall(html.partition('id="history"')[2])
        numbers += [int(n) for n in re.findall(r'id="ping-(\d+)"', html)]
        path = next(
            (a["href"].partition("#")[0] for a in Page(html).all("a") if a.get("rel") == "next"), None
        )
    assert numbers == list(range(200, 0, -1))
    assert changes == [(f"1.0.{n - 1}", f"1.0.{n}") for n in range(6, 0, -1)]


async def test_forks_parents_and_children_are_shown(person, product):
    copy = await _enrolled(person.site)
    await copy.send(copy.ping(), copy.ping())
    assert (await copy.send(make_ping(2))).statuses == ["forked"]
    child = UUID(int=UUID(copy.id).int ^ 1)
    await person.site.execute(
        "INSERT INTO lineage VALUES ($1, $2, $3, now(), NULL)", child, UUID(copy.id), product.id
    )
    assert "shared identity" in (await look(person, f"/installations/{copy.id}")).text
    page = await look(person, f"/installations/{copy.id}?tab=evidence")
    assert "1 ping with a number already taken" in page.text
    assert f"Copies since the fork {child}" in page.text
    assert copy.id[:13] in (await look(person, "/intake")).text


async def test_what_a_copy_may_not_tell_is_told_apart_from_what_it_does_not_have(person, product):
    full, bare = await _enrolled(person.site), await _enrolled(person.site)
    await full.send(full.ping(virtualization={"vm": None, "container": None, "cloud": None}))
    await bare.send(bare.ping(privacy={"level": "license"}))
    assert (
        "hypervisor none container none cloud none" in (await look(person, f"/installations/{full.id}")).text
    )
    assert "Virtualization Not reported." in (await look(person, f"/installations/{bare.id}")).text
    for name in ("vm", "container", "cloud"):
        assert full.id in (await person.get(f"/installations?{name}=none")).text
        assert bare.id in (await person.get(f"/installations?{name}=unknown")).text


# ── hostile words ───────────────────────────────────────────────────────────────────────────

HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "{{7*7}}{% raw %}",
    "'; DROP TABLE pings; --",
    "javascript:alert(1)",
    "\u202egnp.exe\u2066\u200f\u061c",
    "\x1b[31m\x07\x08\r\n\t\x7f\x85\u2028",
    "&lt;b&gt;&amp;",
    "</title></svg></style></textarea><!--",
    "😀\u0301\u0301",
    "W" * 64,
)  # fmt: skip


@pytest.fixture
async def hostile(person, product):
    """Installations that say such things wherever they may; the ids of all."""
    copies = []
    for words in HOSTILE:
        copy, short = await _enrolled(person.site), words[:60]
        answer = await copy.send(
            copy.ping(
                boot_id=short,
                privacy={"level": "usage", "notice_version": short},
                license={
                    "status": "licensed",
                    "key_hint": words[:8],
                    "source": "reseller",
                    "source_detail": words * 3,
                    "edition": short,
                },
                service={"version": short, "build": words, "environment": short},
                os={"type": "linux", "name": short, "version": short, "kernel": words},
                runtime={"name": short, "version": short},
            ),
            copy.ping(os={"type": "linux", "name": "now " + short[:50]}, service={"version": short[::-1]}),
        )
        assert answer.statuses == ["accepted", "accepted"]
        copies.append(copy.id)
    place = {
        "country": HOSTILE[0],
        "organisation": HOSTILE[1],
        "region": HOSTILE[6],
        "city": HOSTILE[7],
        "asn": 1,
    }
    await person.site.execute("UPDATE states SET place = $1", json.dumps(place))
    await person.site.execute("UPDATE products SET name = $1", HOSTILE[0])
    return copies


ALLOWED = {
    *(
        [
            "html",
            "head",
            "meta",
            "title",
            "link",
            "script",
            "body",
            "a",
            "header",
            "img",
            "span",
            "nav",
            "div",
            "button",
            "svg",
            "circle",
            "path",
            "form",
            "input",
            "main",
            "h1",
            "h2",
            "p",
        ]
    ),
    *(
        [
            "section",
            "ul",
            "li",
            "ol",
            "table",
            "caption",
            "colgroup",
            "col",
            "thead",
            "tbody",
            "tr",
            "th",
            "td",
            "bdi",
            "rect",
            "g",
            "line",
            "text",
            "figure",
            "details",
            "summary",
            "dl",
            "dt",
            "dd",
            "use",
            "b",
            "small",
            "h3",
        ]
    ),
    *(
        [
            "footer",
            "dialog",
            "kbd",
            "code",
            "label",
            "select",
            "option",
            "datalist",
            "time",
            "del",
            "ins",
            "pre",
            "em",
        ]
    ),
}


async def test_hostile_words_stay_words(person, hostile):
    paths = [
        "/",
        "/?range=24h",
        "/installations",
        "/intake",
        "/map?show=active",
        *(f"/installations/{identity}" for identity in hostile),
        *(f"/installations/{hostile[0]}?tab={tab}" for tab in ("timeline", "pings", "features", "evidence")),
    ]
    for path in paths:
        answer = await person.get(path)
        assert answer.status == 200
        page = Page(answer.text)
        assert {tag for tag, _ in page.elements} <= ALLOWED
        for tag, attributes in page.elements:
            assert not [name for name in attributes if name.startswith("on") or name in {"style", "srcdoc"}]
            assert tag != "script" or attributes["src"].startswith("/static/")
            for name in ("href", "src", "action", "formaction"):
                assert attributes.get(name, "/").startswith(("/", "#")), (path, attributes)
        assert "49" not in re.findall(r"\b49\b", page.text)
        outside_links = re.sub(r'(href|value)="[^"]*"', "", answer.text)
        steering = [
            c for c in outside_links if c in "\u202e\u2066\u200f\u061c\x1b\x07\x08\x7f\x85\u2028\u200b"
        ]
        assert steering == [], path


async def test_a_hostile_value_can_be_filtered_by(person, hostile):
    numbers = [
        pair
        for pair in _linked_numbers((await person.get("/")).text)
        if "version=" in pair[0] or "os_name=" in pair[0]
    ]
    assert len(numbers) >= 14
    for href, number in numbers:
        assert shown_total(await look(person, href)) == number


# ── what every page keeps to ────────────────────────────────────────────────────────────────


async def test_every_page_forbids_whatever_it_does_not_need(person, fleet):
    for path in (
        "/",
        "/installations",
        f"/installations/{fleet[0]}",
        "/intake",
        "/sign-in",
        "/installations?x=1",
    ):
        headers = (await person.get(path)).headers
        policy = headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "same-origin"
        assert headers["Cache-Control"] == "no-store"


async def test_every_page_has_what_a_screen_reader_needs(person, fleet):
    for path in ("/", "/installations?os_name=debian", f"/installations/{fleet[0]}", "/intake", "/sign-in"):
        page = await look(person, path)
        assert len(page.all("h1")) == 1
        assert len(page.all("main")) == 1
        assert page.all("html") == [{"lang": "en"}]
        assert len(page.all("table")) == len(page.all("caption"))
        assert all("scope" in attributes for attributes in page.all("th"))
        assert all("alt" in attributes for attributes in page.all("img"))
        assert all({"aria-hidden", "aria-label", "role", "y"} & svg.keys() for svg in page.all("svg"))
        ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
        assert len(set(ids)) == len(ids)


async def test_the_source_of_places_is_named_where_its_license_asks_for_it(site, product, monkeypatch):
    from telemetry_server.enrich.places.databases import Attribution
    from telemetry_server.enrich.places.place import Atlas

    owed = (Attribution("IP Geolocation by DB-IP", "https://db-ip.com"),)
    monkeypatch.setattr(Atlas, "attributions", property(lambda _: owed))
    await _one_ping(site)
    program = await site.program()
    for path in ("/", "/installations"):
        page = await look(program, path)
        assert "IP Geolocation by DB-IP" in page.text
        assert "https://db-ip.com" in [a["href"] for a in page.all("a")]


async def test_when_postgresql_is_away_a_page_says_so(open_site, wire):
    async with open_site(through=wire.dsn) as site:
        person = await site.person()
        await wire.cut(site)
        for path in ("/", "/installations"):
            answer = await person.get(path)
            assert answer.status == 503
            assert "PostgreSQL is away" in answer.text
        wire.mend()
        assert (await person.get("/")).status == 200


async def test_when_postgresql_hangs_each_page_says_so_within_seconds(open_site, relay):
    async with open_site(through=relay.dsn) as site:
        person, program, link = await site.person(), await site.program(), await site.link()
        asked = [(person, "/"), (person, "/installations"), (program, "/api/v1/installations")]
        for client, path in asked:
            assert (await client.get(path)).status == 200
        relay.passes.clear()
        async with asyncio.timeout(patient(15)):  # PostgreSQL itself is given thirty seconds
            answers = await asyncio.gather(
                *(client.get(path) for client, path in asked * 4), site.client().post("/sign-in", token=link)
            )
        assert {answer.status for answer in answers} == {503}
        assert all("PostgreSQL does not answer" in answer.text for answer in answers)
        assert all(int(answer.headers["Retry-After"]) > 0 for answer in answers)
        relay.passes.set()
        await until(lambda: _is_shown(person, "/"))


async def _is_shown(person, path):
    return (await person.get(path)).status == 200


async def test_a_question_is_given_up_when_postgresql_begins_to_hang_under_it(relay):
    async with make_pool(relay.dsn) as pool, asyncio.timeout(patient(15)):
        with pytest.raises(Unavailable):
            async with reading(pool, seconds=0.5) as connection:
                relay.passes.clear()
                await connection.fetchval("SELECT 1")
        relay.passes.set()
        async with reading(pool) as connection:
            assert await connection.fetchval("SELECT 1") == 1


async def _enrolled(site):
    [row] = await site.execute("SELECT product_key FROM product_keys")
    return await Installation.enrolled(SimpleNamespace(url=site.url, product_key=row["product_key"]))


async def _one_ping(site):
    copy = await _enrolled(site)
    await copy.send(copy.ping())
    return copy
