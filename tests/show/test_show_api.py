"""The API: what comes out is what came in, page by page, and bad questions get clear answers."""

from datetime import UTC, datetime, timedelta
from urllib.parse import quote
from uuid import UUID

import pytest

from telemetry_server.check.fields import load_registry


async def all_items(program, path):
    items = []
    while path:
        page = (await program.get(path)).json
        items += page["items"]
        path = page["next"]
    return items


@pytest.fixture
async def program(site):
    return await site.program()


# ── paging ──────────────────────────────────────────────────────────────────────────────────


async def test_every_installation_comes_once_the_newest_identity_first(program, fleet):
    items = await all_items(program, "/api/v1/installations?limit=500")
    for limit in (1, 7):
        assert await all_items(program, f"/api/v1/installations?limit={limit}") == items
    ids = [UUID(item["installation_id"]) for item in items]
    assert ids == sorted(ids, reverse=True)
    known = {
        row["installation_id"]
        for row in await program.site.execute("SELECT installation_id FROM installations")
    }
    assert set(ids) == known
    assert len(ids) == len(known)


async def test_every_ping_comes_once_the_last_received_first(program, fleet):
    items = await all_items(program, "/api/v1/pings?limit=500")
    moments = [item["received_at"] for item in items]
    assert moments == sorted(moments, reverse=True)
    assert len({item["ping_id"] for item in items}) == len(items)
    assert len(items) == (await program.site.execute("SELECT count(*) FROM pings"))[0]["count"]


async def test_pings_received_at_the_same_moment_are_not_lost_between_pages(program, fleet):
    await program.site.execute("UPDATE pings SET received_at = date_trunc('day', received_at)")
    items = await all_items(program, "/api/v1/pings?limit=13&since=" + _days_ago(3))
    assert len({item["ping_id"] for item in items}) == len(items) > 30


async def test_every_change_comes_once_the_newest_first(program, fleet):
    items = await all_items(program, "/api/v1/changes?limit=500")
    assert await all_items(program, "/api/v1/changes?limit=3") == items
    moments = [item["changed_at"] for item in items]
    assert moments == sorted(moments, reverse=True)
    assert len(items) == (await program.site.execute("SELECT count(*) FROM changes"))[0]["count"] > 3


async def test_changes_are_found_by_installation_and_by_field(program, fleet):
    items = await all_items(program, "/api/v1/changes?limit=500")
    one, field = items[0]["installation_id"], items[0]["field"]
    of_one = await all_items(program, f"/api/v1/changes?installation_id={one}&limit=1")
    assert of_one == [item for item in items if item["installation_id"] == one]
    of_field = await all_items(program, f"/api/v1/changes?field={field}&limit=2")
    assert of_field == [item for item in items if item["field"] == field]
    assert (await program.get("/api/v1/changes?after=nonsense")).status == 400


async def test_an_installation_that_comes_later_does_not_shift_the_pages(program, fleet):
    first = (await program.get("/api/v1/installations?limit=10")).json
    await program.site.execute(
        "DELETE FROM installations WHERE installation_id = $1", UUID(first["items"][3]["installation_id"])
    )
    second = (await program.get(first["next"])).json
    assert not {i["installation_id"] for i in first["items"]} & {
        i["installation_id"] for i in second["items"]
    }


async def test_the_next_page_keeps_the_filters(program, fleet):
    path = "/api/v1/installations?license_status=licensed&limit=3"
    items = await all_items(program, path)
    assert len(items) > 3
    assert {item["license"]["status"] for item in items} == {"licensed"}


# ── filters ─────────────────────────────────────────────────────────────────────────────────


def told(item, section):
    """A copy that may not tell its system says nothing of it."""
    return item["privacy"]["level"] != "license" if section in {"os", "virtualization"} else True


FILTERS = {
    "product": lambda item: item["product"],
    "license_status": lambda item: item["license"]["status"],
    "license_source": lambda item: item["license"]["source"] or "unknown",
    "version": lambda item: item["service"]["version"] or "unknown",
    "country": lambda item: item["place"]["country"] or "unknown",
    "os_name": lambda item: item["os"]["name"] or "unknown",
    **{
        name: lambda item, name=name: (
            item["virtualization"][name] or ("none" if told(item, "os") else "unknown")
        )
        for name in ("vm", "container", "cloud")
    },
}


async def test_a_filter_gives_exactly_the_rows_of_its_value(program, fleet):
    everything = await all_items(program, "/api/v1/installations?limit=500")
    for name, value_of in FILTERS.items():
        for value in {value_of(item) for item in everything}:
            found = await all_items(program, f"/api/v1/installations?{name}={quote(value)}&limit=500")
            assert found == [item for item in everything if value_of(item) == value], (name, value)


async def test_filters_narrow_each_other(program, fleet):
    everything = await all_items(program, "/api/v1/installations?limit=500")
    wanted = [i for i in everything if i["os"]["name"] == "debian" and i["license"]["status"] == "licensed"]
    assert await all_items(program, "/api/v1/installations?os_name=debian&license_status=licensed") == wanted


async def test_a_filter_narrows_what_the_parameters_ask(program, fleet):
    everything = await all_items(program, "/api/v1/installations?limit=500")
    wanted = [
        i
        for i in everything
        if i["license"]["status"] == "licensed"
        and i["os"]["name"] in {"debian", "ubuntu"}
        and i["service"]["version"] >= "7.1.4"
    ]
    asked = quote("os=debian,ubuntu version>=7.1.4")
    found = await all_items(program, f"/api/v1/installations?license_status=licensed&filter={asked}&limit=3")
    assert found == wanted
    assert 0 < len(wanted) < len(everything)


async def test_a_filter_may_be_longer_than_another_value(program, fleet):
    many = quote("id!=" + ",".join(str(identity) for identity in fleet[:40]))
    assert len(many) > 1000
    left = await all_items(program, f"/api/v1/installations?filter={many}&limit=500")
    assert len(left) <= len(fleet) - 40


async def test_the_beginning_of_an_id_finds_it(program, fleet):
    one = str(fleet[5])
    for length in (1, 8, 13, 20, 36):
        items = await all_items(program, f"/api/v1/installations?q={one[:length]}&limit=500")
        assert one in {item["installation_id"] for item in items}
        assert all(item["installation_id"].startswith(one[:length]) for item in items)
    assert await all_items(program, "/api/v1/installations?q=" + "f" * 12) == []


async def test_attention_gives_what_is_missing_lost_and_forked(program, fleet):
    await program.site.execute("UPDATE installations SET lost = 2 WHERE installation_id = $1", fleet[0])
    everything = await all_items(program, "/api/v1/installations?limit=500")
    missing = await all_items(program, "/api/v1/installations?attention=missing&limit=500")
    assert missing == [item for item in everything if item["missing"]]
    lost = await all_items(program, "/api/v1/installations?attention=lost&limit=500")
    assert [item["installation_id"] for item in lost] == [str(fleet[0])]
    forked = await all_items(program, "/api/v1/installations?attention=forked&limit=500")
    rows = await program.site.execute("SELECT DISTINCT installation_id FROM forks")
    assert {item["installation_id"] for item in forked} == {str(row["installation_id"]) for row in rows}
    assert missing
    assert forked


async def test_seen_and_new_look_back_from_now(program, fleet):
    everything = await all_items(program, "/api/v1/installations?limit=500")
    start = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=6)
    recent = [i for i in everything if datetime.fromisoformat(i["last_received_at"]) >= start]
    assert await all_items(program, "/api/v1/installations?seen=7d&limit=500") == recent
    young = [i for i in everything if datetime.fromisoformat(i["first_received_at"]) >= start]
    assert await all_items(program, "/api/v1/installations?new=7d&limit=500") == young
    assert 0 < len(young) < len(recent) < len(everything)


async def test_pings_are_found_by_installation_and_time(program, fleet):
    one = str(fleet[0])
    everything = await all_items(program, "/api/v1/pings?limit=500")
    of_one = await all_items(program, f"/api/v1/pings?installation_id={one}&limit=7")
    assert of_one == [item for item in everything if item["installation_id"] == one]
    since, until = _days_ago(9), _days_ago(4)
    between = await all_items(program, f"/api/v1/pings?since={since}&until={until}&limit=500")
    assert between == [item for item in everything if since <= item["received_at"] < until]
    assert between


def _days_ago(days):
    return (datetime.now(UTC) - timedelta(days=days)).strftime("%Y-%m-%dT%H:%M:%SZ")


# ── what an item says ───────────────────────────────────────────────────────────────────────


async def test_an_installation_shows_every_declared_field(program, fleet):
    item = (await program.get(f"/api/v1/installations/{fleet[0]}")).json
    for field in load_registry().fields.values():
        if field.retention == "fact" and field.path not in {"license.key_digest", "boot_id"}:
            assert field.name in item[field.section]
    assert item["boot_id"] is None
    assert "key_digest" not in item["license"]


async def test_the_detail_adds_up(program, fleet):
    for identity in fleet[:20]:
        answer = await program.get(f"/api/v1/installations/{identity}")
        if answer.status == 404:  # its first ping never came
            continue
        item = answer.json
        pings = await all_items(program, f"/api/v1/pings?installation_id={identity}&limit=500")
        assert item["pings"] == len(pings) == sum(end - start for start, end in item["received_ranges"])
        assert item["missing"] == sum(end - start for start, end in item["missing_ranges"])
        assert item["last_sequence"] == max(ping["sequence"] for ping in pings)
        uses = {}
        for ping in pings:
            for name, count in ping["features"].items():
                uses[name] = uses.get(name, 0) + count
        assert item["features"] == uses
        newest = next(ping for ping in pings if ping["sequence"] == item["last_sequence"])
        for section in (
            "license",
            "service",
            "os",
            "host",
            "virtualization",
            "runtime",
            "privacy",
            "sdk",
            "place",
        ):
            assert item[section] == newest[section]


async def test_forks_and_relatives_are_told(program, fleet, product):
    [row, *_] = await program.site.execute("SELECT installation_id, sequence FROM forks ORDER BY 1")
    child = UUID(int=row["installation_id"].int ^ 1)
    await program.site.execute(
        "INSERT INTO lineage VALUES ($1, $2, $3, now(), NULL)", child, row["installation_id"], product.id
    )
    item = (await program.get(f"/api/v1/installations/{row['installation_id']}")).json
    assert item["fork_count"] == 1
    assert item["forks"][0]["sequence"] == row["sequence"]
    assert item["children"] == [str(child)]
    assert item["parent_id"] is None


async def test_a_shortened_address_is_shown_with_its_width(program, fleet):
    await program.site.execute(
        "UPDATE installations SET client_address = '203.0.113.0/24' WHERE installation_id = $1", fleet[0]
    )
    assert (await program.get(f"/api/v1/installations/{fleet[0]}")).json["client_address"] == "203.0.113.0/24"


async def test_products_tell_their_good_keys(program, fleet, product):
    [item] = (await program.get("/api/v1/products")).json["items"]
    assert item["slug"] == "billing-suite"
    assert item["installations"] == len(await all_items(program, "/api/v1/installations?limit=500"))
    assert len(item["product_keys"]) == 1
    await program.site.execute("UPDATE product_keys SET revoked_at = now()")
    assert (await program.get("/api/v1/products")).json["items"][0]["product_keys"] == []


async def test_answers_are_not_kept_by_anybody_on_the_way(program, fleet):
    for path in (
        "/api/v1/installations",
        "/api/v1/pings",
        "/api/v1/products",
        f"/api/v1/installations/{fleet[0]}",
    ):
        answer = await program.get(path)
        assert (answer.status, answer.headers["Cache-Control"]) == (200, "no-store")
        assert answer.headers["Content-Type"] == "application/json"


# ── bad questions ───────────────────────────────────────────────────────────────────────────

BAD = (
    ("/api/v1/installations?colour=red", "colour", "license_status"),
    ("/api/v1/installations?limit=0", "limit", "from 1 to 500"),
    ("/api/v1/installations?limit=501", "limit", "from 1 to 500"),
    ("/api/v1/installations?limit=ten", "limit", "integer"),
    ("/api/v1/installations?limit=%D9%A1", "limit", "integer"),
    ("/api/v1/installations?limit=" + "9" * 250, "limit", "integer"),
    ("/api/v1/installations?limit=1&limit=2", "limit", "more than once"),
    ("/api/v1/installations?license_status=fine", "license_status", "licensed, trial"),
    ("/api/v1/installations?after=x", "after", "UUID"),
    ("/api/v1/installations?q=xyz", "q", "text of the form"),
    ("/api/v1/installations?q=", "q", "text of the form"),
    ("/api/v1/installations?os_name=%00", "os_name", "text of the form"),
    ("/api/v1/installations?os_name=" + "x" * 257, "os_name", "longer than 256"),
    ("/api/v1/installations?seen=forever", "seen", "24h"),
    ("/api/v1/installations?filter=contry%3DDE", "contry", "did you mean country?"),
    ("/api/v1/installations?filter=os%3D%01%22", "At character 4", "can be in no value"),
    ("/api/v1/installations?filter=" + "x" * 2001, "filter", "longer than 2000"),
    ("/api/v1/pings?since=yesterday", "since", "2026-11-22T10:00:00Z"),
    ("/api/v1/pings?since=2026-11-22T10:00:00", "since", "offset"),
    ("/api/v1/pings?until=0001-01-01T00:00:00%2B14:00", "until", "offset"),
    ("/api/v1/pings?installation_id=1", "installation_id", "UUID"),
    ("/api/v1/pings?after=1~2~3", "after", "next"),
    ("/api/v1/pings?after=2026-13-45T99:99:99Z~019ab6ef-f2a0-7c44-8d53-1b6a0f4e7c90~1", "after", "next"),
    ("/api/v1/products?x=1", "x", "none are known"),
    ("/api/v1/installations/not-a-uuid", "installation_id", "UUID"),
)  # fmt: skip


async def test_a_bad_question_is_told_what_is_wrong(program):
    for path, name, hint in BAD:
        answer = await program.get(path)
        assert (answer.status, answer.headers["Content-Type"]) == (400, "application/problem+json"), path
        assert name in answer.json["detail"], path
        assert hint in answer.json["detail"], path


HOSTILE = (
    "'; DROP TABLE installations; --",
    "{{7*7}}",
    "<script>",
    "%",
    "_",
    "\\",
    "\u202e",
    "😀",
    "\udcff",
    "NULL",
    "\x7f",
)
NOWHERE = ("\u202e", "\x7f")  # characters that are kept in no value


async def test_a_hostile_value_is_only_a_value(program, product):
    for value in HOSTILE:
        quoted = quote(value.encode("utf-8", "surrogateescape"))
        for name in ("os_name", "edition", "vm"):
            answer = await program.get(f"/api/v1/installations?{name}={quoted}")
            if value in NOWHERE:
                assert (answer.status, answer.json["code"]) == (400, "bad_filter"), (name, value)
            else:
                assert (answer.status, answer.json) == (200, {"items": [], "next": None}), (name, value)
        for name in ("product", "country", "asn"):
            answer = await program.get(f"/api/v1/installations?{name}={quoted}")
            assert (answer.status, answer.json["code"]) == (400, "bad_filter"), (name, value)


async def test_an_unknown_installation_is_not_found(program):
    answer = await program.get("/api/v1/installations/019ab6ef-f2a0-7c44-8d53-1b6a0f4e7c90")
    assert (answer.status, answer.json["code"]) == (404, "not_found")


MOMENTS = (
    "2026-11-22T10:00:00Z",
    "2026-11-22T10:00:00+00:00",
    "2026-11-22T10:00:00.5%2B02:00",
    "9998-12-31T23:59:59Z",
    "0001-01-01T00:00:00Z",
)


async def test_moments_are_taken_with_any_offset(program):
    for moment in MOMENTS:
        assert (await program.get(f"/api/v1/pings?since={moment}")).status == 200, moment


async def test_a_question_that_takes_too_long_says_so(program, fleet, connection):
    async with connection.transaction():
        await connection.execute("LOCK TABLE states IN ACCESS EXCLUSIVE MODE")
        answer = await program.get("/api/v1/installations")
    assert (answer.status, answer.json["code"]) == (503, "too_slow")
    assert "narrow it down" in answer.json["detail"]
    assert (await program.get("/api/v1/installations")).status == 200
