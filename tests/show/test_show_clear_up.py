"""The page "To clear up": items of the real fleet, their states, in bulk and with undo."""

import csv
import io
import re
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from registry_pages import copies, fill_in, hidden, license_adder, words

from telemetry_server.enrich.verdict import UNCOVERED, WORST_FIRST
from telemetry_server.jobs.clear_up import list_what_to_clear_up
from telemetry_server.model import Role
from telemetry_server.store.fleet import clear_up
from telemetry_server.store.fleet.clear_up_facts import VERDICTS, ClearUpKind
from telemetry_server.store.json_rows import as_json

NOW = datetime.now(UTC)


@pytest.fixture
async def admin(site, product):
    return await site.person(Role.ADMIN)


@pytest.fixture
async def add(site, product):
    return await license_adder(site, product)


async def list_it(site, later=timedelta(0)):
    return await site.with_database(list_what_to_clear_up, datetime.now(UTC) + later)


async def judged(site):
    from telemetry_server.jobs.verdicts import judge_installations

    for _ in range(2):
        await site.with_database(judge_installations, datetime.now(UTC))


async def items(site):
    rows = await site.execute(
        "SELECT kind, size, closed_at IS NULL AS open FROM clear_up_items ORDER BY kind"
    )
    return [(row["kind"], row["size"], row["open"]) for row in rows]


def boxes(html):
    return re.findall(r'name="(item_[^"]+)"', html)


@pytest.fixture
async def all_kinds(site, product, add):
    """One item of each kind."""
    soon = (NOW + timedelta(days=10)).date().isoformat()
    past = (NOW - timedelta(days=10)).date().isoformat()
    licenses = {
        "OVER-0001": await add("OVER-0001", seats=1),
        "REVOKED-0002": await add("REVOKED-0002", status="revoked"),
        "SUSPENDED-0003": await add("SUSPENDED-0003", status="suspended"),
        "EXPIRED-0004": await add("EXPIRED-0004", expires_at=past),
        "PLACE-0005": await add("PLACE-0005", addresses=["198.51.100.0/24"]),
        "SOURCE-0006": await add("SOURCE-0006", source="reseller"),
        "SOON-0007": await add("SOON-0007", expires_at=soon),
    }
    await copies(site, product, "OVER-0001", 2)
    for key in [*licenses][1:]:
        await copies(site, product, key, 1, **({"source": "direct"} if "SOURCE" in key else {}))
    [one, *_] = await copies(site, product, "UNKNOWN-0008", 2)
    await site.execute(
        "UPDATE installation_facts SET verdict = 'wrong_place' WHERE license_id = $1", licenses["PLACE-0005"]
    )
    await site.execute(
        "INSERT INTO forks SELECT installation_id, sequence, $2, ping_id, received_at, occurred_at, client_address,"
        " '{}', '{}', '{}' FROM pings WHERE installation_id = $1",
        one,
        uuid4(),
    )
    await list_it(site)
    return licenses


async def test_each_kind_of_doubt_is_one_row_with_its_evidence(site, admin, all_kinds):
    assert await items(site) == [
        ("expired_in_use", 1, True),
        ("expiring_in_use", 1, True),
        ("over_seats", 2, True),
        ("revoked_in_use", 1, True),
        ("shared_identity", 1, True),
        ("suspended_in_use", 1, True),
        ("unknown_key", 2, True),
        ("wrong_place", 1, True),
        ("wrong_source", 1, True),
    ]
    page = await admin.get("/to-clear-up")
    text = words(page.text)
    assert "All 9" in text
    assert (
        text.index("Revoked, in use …0002") < text.index("Over seats …0001") < text.index("Unknown key …0008")
    )
    assert "2 of 1 seats used" in text
    assert "1 copy says direct, the registry says reseller" in text
    assert "1 ping under numbers that were taken" in text
    for kind in ("over_seats", "unknown_key"):
        one = await admin.get(f"/to-clear-up?kind={kind}")
        assert len(boxes(one.text)) == 1
        [box] = boxes(one.text)
        detail = await admin.get(f"/to-clear-up/{box.removeprefix('item_')}")
        assert detail.status == 200
    assert len(re.findall('<a href="/installations/', detail.text)) == 2  # both copies with the unknown key
    rows = list(csv.DictReader(io.StringIO((await admin.get("/to-clear-up/export")).text)))
    assert len(rows) == 9


async def test_the_overview_and_the_page_count_the_same(site, product, admin, all_kinds):
    await copies(site, product, None, 2)
    await list_it(site)
    overview = (await admin.get("/")).text
    rows = re.findall(
        r'<a href="/to-clear-up\?kind=(\w+)">.*?<td class="count" data-label="Rows">(\d+)</td>', overview
    )
    tabs = re.findall(
        r'<a href="/to-clear-up\?kind=(\w+)">[^<]* <span class="faint">(\d+)</span>',
        (await admin.get("/to-clear-up")).text,
    )
    assert len(rows) == 10
    assert rows == tabs  # in the same order, the worst first
    assert ("no_key", "1") in rows


def test_doubts_about_verdicts_are_in_the_order_of_verdicts():
    verdicts = [VERDICTS[kind] for kind in ClearUpKind if kind in VERDICTS]
    assert verdicts == [verdict for verdict in WORST_FIRST if verdict in verdicts]
    assert set(verdicts) == set(UNCOVERED)


async def test_the_key_without_a_license_leads_to_its_row(site, admin, all_kinds):
    keys = (await admin.get("/licenses?show=unknown")).text
    href = re.search(r'<th scope="row"><a href="(/to-clear-up\?subject=[^"]+)"', keys)[1]
    page = await admin.get(href)
    assert len(boxes(page.text)) == 1
    assert "Unknown key …0008" in words(page.text)


async def test_the_job_has_few_facts_in_memory_at_once(site, product, admin, monkeypatch):
    written = []
    monkeypatch.setattr(clear_up, "_AT_ONCE", 2)
    monkeypatch.setattr(clear_up, "as_json", lambda rows: (written.append(len(rows)), as_json(rows))[1])
    for number in range(5):
        await copies(site, product, f"UNKNOWN-{number}", 1)
    assert await list_it(site) == "opened 5, updated 0 and closed 0 items"
    assert written == [2, 2, 1]
    await site.execute("UPDATE installation_facts SET life = 'lost'")
    assert await list_it(site) == "opened 0, updated 0 and closed 5 items"


async def test_an_item_closes_by_itself_and_is_opened_again_with_its_facts(site, product, admin, add):
    made = await add("OVER-0001", seats=1)
    await copies(site, product, "OVER-0001", 2)
    await list_it(site)
    assert await items(site) == [("over_seats", 2, True)]
    await add.change(made, seats=5)
    await judged(site)
    await list_it(site)
    assert await items(site) == [("over_seats", 2, False)]
    assert "Nothing to clear up" in (await admin.get("/to-clear-up")).text
    assert len(boxes((await admin.get("/to-clear-up?state=closed")).text)) == 1
    await add.change(made, seats=1)
    await judged(site)
    await list_it(site)
    assert await items(site) == [("over_seats", 2, True)]
    assert await list_it(site) == "opened 0, updated 0 and closed 0 items"


async def test_what_is_explained_is_out_of_sight_until_its_day(site, product, admin, add):
    await add("OVER-0001", seats=1)
    await copies(site, product, "OVER-0001", 2)
    await list_it(site)
    [box] = boxes((await admin.get("/to-clear-up")).text)
    until = (datetime.now(UTC).date() + timedelta(days=30)).isoformat()
    answer = await fill_in(
        admin,
        "/to-clear-up",
        "/to-clear-up",
        action="explained",
        until=until,
        reason="a test system",
        **{box: "1"},
    )
    assert answer.status == 303
    assert boxes((await admin.get("/to-clear-up")).text) == []
    assert f"explained until {until}" in words((await admin.get("/to-clear-up?state=explained")).text)
    assert "a test system" in (await admin.get(f"/to-clear-up/{box.removeprefix('item_')}")).text
    await site.execute("UPDATE clear_up_items SET explained_until = current_date - 1")
    assert boxes((await admin.get("/to-clear-up")).text) == [box]


async def test_an_action_on_many_rows_is_taken_back_at_once(site, admin, all_kinds):
    page = await admin.get("/to-clear-up")
    chosen = dict.fromkeys(boxes(page.text), "1")
    assert len(chosen) == 9
    answer = await fill_in(admin, "/to-clear-up", "/to-clear-up", action="asked", **chosen)
    back = await admin.get(answer.headers["Location"])
    assert "9 rows changed." in words(back.text)
    states = "SELECT DISTINCT state FROM clear_up_items"
    assert [row["state"] for row in await site.execute(states)] == ["asked"]
    undo = hidden(back.text, "/to-clear-up/undo")
    assert (await admin.post("/to-clear-up/undo", **undo)).status == 303
    assert [row["state"] for row in await site.execute(states)] == ["open"]
    assert (await admin.post("/to-clear-up/undo", **undo)).status == 409


async def test_undo_leaves_alone_what_someone_else_changed_since(site, product, admin, add):
    await add("OVER-0001", seats=1)
    await copies(site, product, "OVER-0001", 2)
    await list_it(site)
    [box] = boxes((await admin.get("/to-clear-up")).text)
    answer = await fill_in(admin, "/to-clear-up", "/to-clear-up", action="asked", **{box: "1"})
    undo = hidden((await admin.get(answer.headers["Location"])).text, "/to-clear-up/undo")
    await fill_in(admin, "/to-clear-up", "/to-clear-up", action="take", **{box: "1"})
    await admin.post("/to-clear-up/undo", **undo)
    [row] = await site.execute("SELECT state, owner FROM clear_up_items")
    assert (row["state"], row["owner"]) == ("asked", "api:browser")


async def test_who_only_reads_is_offered_no_state_and_nothing_without_rows_is_done(site, admin, all_kinds):
    viewer = await site.person(Role.VIEWER)
    page = await viewer.get("/to-clear-up")
    assert page.status == 200
    assert boxes(page.text) == []
    assert (await viewer.post("/to-clear-up", action="asked")).status == 403
    for fields in ({"action": "asked"}, {"action": "explained", "item_" + str(uuid4()): "1"}):
        assert (await fill_in(admin, "/to-clear-up", "/to-clear-up", **fields)).status == 400


async def test_people_of_other_products_cannot_touch_an_item(site, product, all_kinds):
    from telemetry_server.model import Author
    from telemetry_server.store.fleet.clear_up import ClearUpState, Wanted, change_items

    ids = [row["clear_up_id"] for row in await site.execute("SELECT clear_up_id FROM clear_up_items")]
    wanted, by = Wanted(ClearUpState.ASKED), Author("a test")
    _, count = await site.with_database(
        change_items, ids, wanted, products={"another"}, by=by, now=datetime.now(UTC)
    )
    assert count == 0
    _, count = await site.with_database(
        change_items, ids, wanted, products={product.slug}, by=by, now=datetime.now(UTC)
    )
    assert count == 9


async def test_the_copies_behind_a_row_are_as_many_as_its_size(site, admin, all_kinds):
    rows = await admin.get("/to-clear-up?kind=over_seats")
    href = re.search(r'data-label="Size"><a href="([^"]+)"', rows.text)[1].replace("&amp;", "&")
    assert "2 installations match" in words((await admin.get(href)).text)


async def test_a_fork_is_forgotten_after_ninety_days(site, product):
    [copy] = await copies(site, product, "UNKNOWN-0008", 1)
    await site.execute(
        "INSERT INTO forks SELECT installation_id, sequence, $2, ping_id, received_at, occurred_at, client_address,"
        " '{}', '{}', '{}' FROM pings WHERE installation_id = $1",
        copy,
        uuid4(),
    )
    await list_it(site)
    assert ("shared_identity", 1, True) in await items(site)
    await list_it(site, timedelta(days=91))
    assert ("shared_identity", 1, False) in await items(site)
