"""The page "Live": what arrives, for whom, from any server process, and what a followed copy sends."""

import asyncio
import re
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from html import unescape

import pytest
from installation import Installation

from telemetry_server import app_keys
from telemetry_server.check.fields import Level, load_registry
from telemetry_server.check.sent import Dropped, told_apart
from telemetry_server.model import Role
from telemetry_server.show import live_feed
from telemetry_server.show.live_feed import LIVE, LiveFeed, LookedAt
from telemetry_server.store.ingest.followed import FollowedPings
from telemetry_server.store.registry.products import add_product, good_keys


@pytest.fixture
async def copy(site):
    """An installation that sent one ping."""
    return await enrolled(site, "Billing Suite")


async def enrolled(site, name):
    product, _ = await site.with_database(add_product, name, now=datetime.now(UTC))
    site.product_key = (await site.with_database(good_keys))[product.id][0]
    copy = await Installation.enrolled(site)
    assert (await copy.send()).statuses == ["accepted"]
    return copy


@asynccontextmanager
async def streamed(client, path="/live/stream"):
    """The events as they come: (name, text)."""
    async with client.session.get(client.site.url + path, headers={"Accept": "text/event-stream"}) as answer:
        assert answer.status == 200
        yield answer


async def events_until(answer, wanted):
    """The events up to the first with the text `wanted` in it."""
    found = []
    while not any(wanted in text for _, text in found):
        name, lines = "", []
        while line := (await answer.content.readline()).decode().rstrip("\n"):
            if line.startswith("event: "):
                name = line.removeprefix("event: ")
            elif line.startswith("data: "):
                lines.append(line.removeprefix("data: "))
        assert not answer.content.at_eof()
        found.append((name, "\n".join(lines)))
    return found


async def test_a_ping_stands_on_the_page_and_the_next_ones_come_by_themselves(site, copy):
    person = await site.person()
    page = await person.get("/live")
    assert page.text.count(f'href="/installations/{copy.id}"') == 1
    assert 'data-live="/live/stream"' in page.text
    async with streamed(person) as answer:
        assert answer.headers["X-Accel-Buffering"] == "no"
        await events_until(answer, "#1<")
        await copy.send()
        name, text = (await events_until(answer, "#2<"))[-1]
        assert (name, text.count("<tr")) == ("pings", 1)


async def test_pings_that_another_process_took_come_too(open_site, site, copy):
    async with open_site() as other, streamed(await other.person()) as answer:
        await copy.send()
        await events_until(answer, "#2<")


async def test_a_followed_copy_shows_what_it_sent_and_what_was_dropped(site, copy):
    person = await site.person()
    path = f"/live?installation_id={copy.id}"
    assert "As it was sent" in (await person.get(path)).text
    async with streamed(person, path.replace("/live", "/live/stream")) as answer:
        await events_until(answer, "#1<")
        sequence = 1
        while True:  # the chore of each process learns within two seconds whom someone follows
            sequence += 1
            await copy.send(copy.ping(secret_plans="<b>evil</b>", os={"type": "linux", "name": "plan9"}))
            found = await events_until(answer, f"#{sequence}<")
            if sent := [text for name, text in found if name == "sent"]:
                break
    text = unescape(sent[-1])
    assert '"plan9"' in text
    assert "secret_plans" in text
    assert "not a declared field" in text
    assert "evil" not in text
    assert "accepted" in text
    assert "9f9f" not in text  # the digest of the key
    shown = (await person.get(path)).text
    assert "secret_plans" in shown


async def test_what_was_kept_is_forgotten_when_no_one_looks(site, copy):
    await (await site.person()).get(f"/live?installation_id={copy.id}")
    assert len(await site.execute("SELECT FROM followed_installations")) == 1
    await site.execute("UPDATE followed_installations SET followed_until = now() - interval '1 second'")
    await site.with_database(lambda connection: FollowedPings(load_registry()).exchange(connection))
    assert await site.execute("SELECT FROM followed_installations") == []


def test_dropped_are_fields_that_are_not_declared_or_above_the_level_of_the_copy():
    ping = {
        "sequence": 1,
        "privacy": {"level": "license"},
        "license": {"status": "licensed", "key_digest": "9f" * 32, "colour": "red"},
        "os": {"name": "de\u202ebian"},
        "moon": {"phase": 1},
    }
    kept, dropped = told_apart(ping, load_registry())
    assert kept["license"] == {"status": "licensed", "key_digest": "(digest)"}
    assert "os" not in kept
    assert Dropped("os.name", "above the level license of this copy") in dropped
    assert {each.path for each in dropped} == {"license.colour", "os.name", "moon"}
    kept, _ = told_apart(ping | {"privacy": {"level": "usage"}}, load_registry())
    assert kept["os"] == {"name": "de\\u202ebian"}
    kept, _ = told_apart(ping | {"privacy": {"level": "usage"}}, load_registry(), Level.LICENSE)
    assert "os" not in kept


async def test_a_viewer_gets_shortened_addresses_and_an_investigator_full_ones(site, copy):
    for role, shown in ((Role.ANALYST, "127.0.0.0/24"), (Role.INVESTIGATOR, "127.0.0.1<")):
        text = (await (await site.program(role)).get("/live/stream")).text
        assert shown in text
        assert (">127.0.0.1<" in text) == (role is Role.INVESTIGATOR)


async def test_a_stream_is_recorded_as_a_list_of_installations(site, copy):
    await (await site.program()).get(f"/live/stream?installation_id={copy.id}")
    [found] = await site.execute(
        "SELECT action, subject_id FROM audit_entries WHERE action LIKE 'installation.%'"
    )
    assert (found["action"], found["subject_id"]) == ("installation.list", copy.id)


async def test_only_pings_of_the_chosen_product_come(site, copy):
    other = await enrolled(site, "Other Suite")
    program = await site.program()
    text = (await program.get("/live/stream?product=other-suite")).text
    assert (other.id in text, copy.id in text) == (True, False)
    assert (await program.get(f"/live/stream?installation_id={copy.id[:-1]}0")).status == 404


async def test_all_who_see_the_same_share_one_query_and_no_one_looking_makes_none(monkeypatch):
    asked = []

    async def newest(_, what, __):
        asked.append(what)
        return what

    monkeypatch.setattr(live_feed, "newest", newest)
    monkeypatch.setattr(live_feed, "SECONDS", 0)
    feed, what = LiveFeed(None), LookedAt(None)
    async with feed.watching(what) as one, feed.watching(what) as two, feed.watching(what) as three:
        assert await asyncio.gather(one(), two(), three()) == [what] * 3
        assert asked == [what]
    assert (feed._viewers, feed._flights) == ({}, {})


async def test_one_viewer_too_many_is_refused(site, copy, monkeypatch):
    monkeypatch.setattr(live_feed, "MOST_VIEWERS", 1)
    person = await site.person()
    async with streamed(person) as answer:
        await events_until(answer, "#1<")
        refused = await person.get("/live/stream", Accept="text/event-stream")
        assert (refused.status, refused.json["code"]) == (503, "too_many_look")
        assert "Retry-After" in refused.headers


async def test_a_stream_ends_when_the_server_stops(open_site, database):
    async with open_site() as site:
        copy = await enrolled(site, "Billing Suite")
        person = await site.person()
        answer = await person.session.get(f"{site.url}/live/stream", headers={"Accept": "text/event-stream"})
        await events_until(answer, copy.id)
        feed = site.app[LIVE]
        assert sum(feed._viewers.values()) == 1
        site.app[app_keys.LEAVING].set()
        rest = await answer.content.read()
        assert not re.search(rb"Error|Traceback", rest)
        assert feed._viewers == {}


async def test_hostile_text_stays_text_in_an_event(site, copy):
    evil = "</tr>\r\ndata: x\n\nevent: evil<script>alert(1)</script>"
    await copy.send(copy.ping(service={"version": evil[:60]}, os={"type": "linux", "name": evil[:60]}))
    text = (await (await site.program()).get("/live/stream")).text
    assert "<script" not in text
    assert {line.partition(":")[0] for line in text.splitlines() if line} <= {"event", "data"}
    assert "event: evil" not in text.splitlines()
