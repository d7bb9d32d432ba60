"""The frame of the pages: its rail, the scope that travels with links, times, compression, search."""

import gzip
import re
from datetime import UTC, datetime, timedelta
from html import unescape

import pytest
from aiohttp.test_utils import make_mocked_request
from yarl import URL

from telemetry_server.model import Role
from telemetry_server.show.time_zone import short_time, zone_of


@pytest.fixture
async def person(site):
    return await site.person()


def hrefs(html):
    return [unescape(href) for href in re.findall(r'href="([^"]*)"', html)]


async def shown(client, path, **headers):
    answer = await client.get(path, **headers)
    assert answer.status == 200, answer.text
    return answer.text


# ── rail and scope ──────────────────────────────────────────────────────────────────────────


async def test_the_rail_has_what_there_is_and_the_viewer_may_see(site, fleet):
    viewer, admin = await site.person(), await site.person(Role.ADMIN)
    rails = [set(re.findall(r'data-go="(\w)"', await shown(one, "/"))) for one in (viewer, admin)]
    assert {"o", "i", "m", "t"} <= rails[0] < rails[1]
    assert rails[1] - rails[0] >= {"p", "k", "a"}


async def test_what_is_chosen_travels_with_the_links_that_take_it(person, fleet):
    chosen = "product=billing-suite&range=7d&compare=none"
    found = hrefs(await shown(person, f"/?{chosen}"))
    for path in ("/installations", "/intake", "/map", "/"):
        assert f"{path}?{chosen}" in found, path
    assert f"/?{chosen}&software=edition" in found
    assert "/audit" not in {URL(href).path for href in found if URL(href).query}
    found = hrefs(await shown(person, f"/installations?{chosen}&filter=country%3DDE"))
    assert f"/?{chosen}" in found


async def test_days_can_be_chosen_and_moved(person, counted_fleet):
    today = datetime.now(UTC).date()
    first, last = today - timedelta(days=19), today - timedelta(days=10)
    page = await shown(person, f"/?from={first}&to={last}")
    assert re.findall(r'<tr data-day="([\d-]+)"', page)[-1] == str(first)
    assert f"/?from={first - timedelta(days=10)}&to={last - timedelta(days=10)}" in hrefs(page)
    assert f"/?from={first + timedelta(days=10)}&to={last + timedelta(days=10)}" in hrefs(page)
    assert "/?range=7d" in hrefs(page)
    for wrong in (
        f"from={today}&to={first}",
        "from=2020-01-01",
        "range=2d",
        f"from={today + timedelta(days=9)}",
    ):
        assert (await person.get(f"/?{wrong}")).status == 400


# ── times ───────────────────────────────────────────────────────────────────────────────────


async def test_times_are_in_the_zone_that_the_browser_names(person, fleet):
    assert "All times are UTC." in await shown(person, "/installations")
    person.session.cookie_jar.update_cookies({"tz": "Europe/Berlin"}, URL(person.site.url))
    page = await shown(person, "/installations")
    assert "Times are in Europe/Berlin; days are UTC." in page
    for name in ("Mars/Phobos", "../../etc/passwd", "/etc/passwd", "x" * 3000, ""):
        person.session.cookie_jar.update_cookies({"tz": name}, URL(person.site.url))
        assert "All times are UTC." in await shown(person, "/installations")


def test_a_time_is_as_short_as_it_can_be():
    request = make_mocked_request("GET", "/", headers={"Cookie": "tz=Asia/Kolkata"})
    now, zone = datetime(2026, 11, 30, 12, tzinfo=UTC), zone_of(request)
    assert short_time(now, now, zone) == "17:30"
    assert short_time(now - timedelta(hours=18), now, zone) == "29 Nov 23:30"
    assert short_time(now - timedelta(days=400), now, zone) == "26 Oct 2025"


# ── on the wire ─────────────────────────────────────────────────────────────────────────────


async def test_pages_and_files_are_compressed_for_who_accepts_it(person, fleet):
    page = await shown(person, "/installations")
    files = [href for href in hrefs(page) if href.startswith("/static/")]
    for path in ("/installations", *files):
        sizes = {}
        for coding in ("gzip", "identity", "br, gzip;q=0"):
            async with person.session.get(
                person.site.url + path, headers={"Accept-Encoding": coding}, auto_decompress=False
            ) as answer:
                body = await answer.read()
                assert answer.headers["Vary"] == "Accept-Encoding"
                assert (answer.headers.get("Content-Encoding") == "gzip") == (coding == "gzip")
                sizes[coding] = len(body)
                if coding == "gzip":
                    assert gzip.decompress(body)
        assert sizes["identity"] == sizes["br, gzip;q=0"] or path == "/installations"
        assert sizes["gzip"] < sizes["identity"] or sizes["identity"] < 512


async def test_the_same_page_has_many_lengths_so_that_none_tells_what_it_holds(person, fleet):
    lengths = set()
    for _ in range(12):
        async with person.session.get(
            f"{person.site.url}/people", headers={"Accept-Encoding": "gzip"}, auto_decompress=False
        ) as answer:
            lengths.add(len(await answer.read()))
    assert len(lengths) > 3


async def test_an_unknown_address_is_a_page_for_people_and_a_problem_for_programs(site, person, fleet):
    answer = await person.get("/licences", Accept="text/html,application/xhtml+xml")
    assert (answer.status, answer.headers["Content-Type"]) == (404, "text/html; charset=utf-8")
    assert 'type="search"' in answer.text
    assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'")
    stranger = await site.client().get("/licences", Accept="text/html")
    assert stranger.status == 404
    assert 'class="rail"' not in stranger.text
    assert (await person.get("/licences")).json["code"] == "not_found"


# ── the list ────────────────────────────────────────────────────────────────────────────────


async def rows_of(person, path):
    return re.findall(r'<a href="/installations/([^"?]+)" title', await shown(person, path))


async def test_the_list_sorts_by_any_column_both_ways_and_pages(person, fleet):
    everyone = set()
    for column in ("verdict", "license", "version", "system", "place", "life", "last", "first"):
        for direction in ("", "-"):
            first = await rows_of(person, f"/installations?sort={direction}{column}")
            second = await rows_of(person, f"/installations?sort={direction}{column}&page=2")
            assert len(first) == 50
            assert len({*first, *second}) == len(first) + len(second) == 60
            everyone |= {*first, *second}
    assert everyone == {str(one) for one in fleet}
    newest = await rows_of(person, "/installations?sort=-last")
    rows = await person.site.execute(
        "SELECT installation_id::text AS id FROM installations ORDER BY last_received_at DESC, 1 DESC"
    )
    assert newest == [row["id"] for row in rows[:50]]
    page = await shown(person, "/installations?sort=-last")
    assert 'aria-sort="descending"' in page
    assert {"/installations?sort=last", "/installations?sort=-last&page=2"} <= set(hrefs(page))


async def test_a_filter_can_be_turned_round(person, fleet):
    found = hrefs(await shown(person, "/installations?filter=os=debian%20version%3E7"))
    assert "/installations?filter=os%21%3Ddebian+version%3E7" in found
    assert "/installations?filter=os%3Ddebian+version%3C7" not in found


# ── search ──────────────────────────────────────────────────────────────────────────────────


async def test_the_search_box_opens_what_it_names_and_lists_what_it_may_be(person, fleet):
    answer = await person.get(f"/search?q={fleet[0]}")
    assert (answer.status, answer.headers["Location"]) == (303, f"/installations/{fleet[0]}")
    assert "/installations?filter=country%3DDE" in hrefs(await shown(person, "/search?q=germany"))
    assert "/installations?range=7d&filter=country%3DDE" in hrefs(
        await shown(person, "/search?q=Germany&range=7d")
    )
    assert "Nothing found" in await shown(person, "/search?q=nothing-at-all-like-this")
    answer = await person.get("/search?q=%20")
    assert (answer.status, answer.headers["Location"]) == (303, "/search")
    assert 'class="find"' in await shown(person, "/search")


# ── the map ─────────────────────────────────────────────────────────────────────────────────


async def test_the_map_counts_what_the_list_counts(person, fleet):
    page = await shown(person, "/map?show=active")
    numbers = re.findall(
        r'<th[^>]*><a href="(/installations\?[^"]*country=\w\w)">.*?<td class="count">([\d,]+)',
        page,
        re.DOTALL,
    )
    assert len(numbers) > 3
    for href, number in numbers:
        assert len(await rows_of(person, unescape(href))) == int(number)
    assert page.count('tabindex="-1"') >= len(numbers)
    assert (await person.get("/map?filter=country%3DDE")).status == 400
