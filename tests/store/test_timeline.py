"""What the writer notes beside the pings: the present facts of an installation, and what changed when."""

from datetime import UTC, datetime, timedelta
from functools import partial
from uuid import uuid4

import asyncpg
import msgspec
import pytest
from checked_pings import make_checked_ping, make_signed_upload

from telemetry_server.check.filters.parser import parse_filter
from telemetry_server.model import Verdict
from telemetry_server.store.database import connect_writer
from telemetry_server.store.dimensions import ADDED
from telemetry_server.store.filtering import NOW as FILTERED_NOW
from telemetry_server.store.filtering import condition
from telemetry_server.store.ingest import projection as news_module
from telemetry_server.store.ingest import writer as writer_module
from telemetry_server.store.ingest.projection import catch_up, fill_added, project
from telemetry_server.store.ingest.writer import GroupWriter
from telemetry_server.store.registry.products import add_product
from telemetry_server.store.upkeep.retention import forget_changes

pytestmark = pytest.mark.every_postgres

NOW = datetime.now(UTC)


def facts(version="7.2.1", **sections):
    document = {
        "boot_id": "b1",
        "license": {"status": "licensed", "source": "direct", "key_hint": "7Q2K"},
        "service": {"version": version, "environment": "production"},
        "host": {"fingerprint": {"machine_id": "aa", "board": "bb"}},
        "virtualization": {"vm": "kvm", "container": None},
    } | sections
    return msgspec.json.encode(document).decode()


def ping(sequence, *, state=b"1", facts=facts(), key=b"k" * 32, verdict=Verdict.VALID, mismatch=False):  # noqa: B008
    return make_checked_ping(
        sequence,
        occurred_at=NOW,
        facts=facts,
        license_key_hash=key,
        state=state * 16,
        verdict=verdict,
        claim_mismatch=mismatch,
    )


@pytest.fixture
async def product(connection):
    product, _ = await add_product(connection, "Billing", interval_seconds=3600, now=NOW)
    return product


@pytest.fixture
async def writer(database):
    async with GroupWriter(partial(connect_writer, database)) as writer:
        yield writer


@pytest.fixture
def send(writer, product):
    async def send(installation, *pings, place="{}", address="192.0.2.7", through=writer):
        upload = make_signed_upload(installation, product.id, *pings, address=address, place=place)
        await through.write(upload, 100)

    return send


@pytest.fixture
def present(connection):
    async def present(installation):
        return await connection.fetchrow(
            "SELECT * FROM installation_facts WHERE installation_id = $1", installation
        )

    return present


@pytest.fixture
def changes(connection):
    async def changes(installation):
        rows = await connection.fetch(
            "SELECT sequence, field, before, after FROM changes WHERE installation_id = $1 ORDER BY 1, 2",
            installation,
        )
        return [tuple(row) for row in rows]

    return changes


async def test_the_first_ping_makes_a_new_installation_and_no_change(send, present, changes):
    one = uuid4()
    await send(one, ping(1), place='{"country":"DE","asn":64500,"hosting":true}')
    row = await present(one)
    assert (row["license_status"], row["version"], row["version_key"]) == ("licensed", "7.2.1", [7, 2, 1])
    assert (row["vm"], row["container"], row["cloud"]) == ("kvm", "none", "none")
    assert (row["os_name"], row["edition"]) == ("unknown", "unknown")
    assert (row["country"], row["asn"], row["hosting"]) == ("DE", "64500", True)
    assert (row["verdict"], row["life"], row["judge_again"]) == ("valid", "new", True)
    assert row["due_at"] == row["first_received_at"] + timedelta(hours=1)
    assert await changes(one) == []


async def test_what_was_not_told_is_unknown_and_what_was_not_found_is_none(send, present):
    one = uuid4()
    await send(one, ping(1, facts='{"license":{"status":"trial"}}'))
    row = await present(one)
    assert (row["vm"], row["license_source"], row["version_key"]) == ("unknown", "unknown", None)


async def test_a_change_is_told_field_by_field_and_once(send, present, changes):
    one = uuid4()
    await send(one, ping(1))
    moved = facts("7.3.0", host={"fingerprint": {"machine_id": "cc", "board": "bb"}})
    await send(one, ping(2, state=b"2", facts=moved))
    await send(one, ping(3, state=b"2", facts=moved))
    assert await changes(one) == [
        (2, "host.fingerprint.machine_id", "aa", "cc"),
        (2, "service.version", "7.2.1", "7.3.0"),
    ]
    assert (await present(one))["version"] == "7.3.0"


async def test_each_ping_of_an_upload_tells_its_own_change(send, changes):
    one = uuid4()
    versions = ["7.0", "7.0", "7.1", "7.2", "7.2"]
    pings = [ping(n, state=v[-1].encode(), facts=facts(v)) for n, v in enumerate(versions, 1)]
    await send(one, *pings)
    await send(one, ping(6, state=b"3", facts=facts("7.3")))
    assert await changes(one) == [
        (3, "service.version", "7.0", "7.1"),
        (4, "service.version", "7.1", "7.2"),
        (6, "service.version", "7.2", "7.3"),
    ]


async def test_another_key_another_place_and_another_address_are_told(send, present, changes, connection):
    one = uuid4()
    await send(one, ping(1), place='{"country":"DE","source":"A"}')
    await connection.execute("UPDATE installation_facts SET judge_again = false")
    await send(
        one, ping(2, state=b"2", key=b"j" * 32), place='{"country":"FR","source":"B"}', address="198.51.100.9"
    )
    assert await changes(one) == [
        (2, "client_address", "192.0.2.7", "198.51.100.9"),
        (2, "license.key", (b"k" * 32).hex(), (b"j" * 32).hex()),
        (2, "place.country", "DE", "FR"),
    ]
    assert (await present(one))["judge_again"]


async def test_an_address_within_the_network_that_is_left_of_it_is_no_change(send, changes, connection):
    one = uuid4()
    await send(one, ping(1))
    await connection.execute("UPDATE installations SET client_address = '192.0.2.0/24'")
    await send(one, ping(2))
    assert await changes(one) == []


async def test_a_late_ping_leaves_the_present_and_the_timeline_alone(send, present, changes):
    one = uuid4()
    await send(one, ping(5, state=b"2", facts=facts("7.3.0")))
    await send(one, ping(4, state=b"1", facts=facts("7.2.1"), verdict=Verdict.EXPIRED))
    assert await changes(one) == []
    assert ((await present(one))["version"], (await present(one))["verdict"]) == ("7.3.0", "valid")


async def test_a_repeated_upload_changes_nothing(send, connection, changes):
    one = uuid4()
    await send(one, ping(1))
    await send(one, ping(2, state=b"2", facts=facts("7.3.0")))
    before = await connection.fetch("SELECT *, xmin::text FROM installation_facts")
    await send(one, ping(2, state=b"2", facts=facts("7.3.0")))
    assert await connection.fetch("SELECT *, xmin::text FROM installation_facts") == before
    assert len(await changes(one)) == 1


async def test_another_verdict_is_told_and_kept_with_the_ping(send, present, changes, connection):
    one = uuid4()
    await send(one, ping(1))
    await send(one, ping(2, verdict=Verdict.EXPIRED, mismatch=True))
    assert await changes(one) == [(2, "verdict", "valid", "expired")]
    assert ((await present(one))["verdict"], (await present(one))["claim_mismatch"]) == ("expired", True)
    kept = await connection.fetch(
        "SELECT verdict_of(verdict_code), claim_mismatch FROM pings ORDER BY sequence"
    )
    assert [tuple(row) for row in kept] == [("valid", False), ("expired", True)]


@pytest.mark.parametrize(
    ("life", "then", "judged"), [("late", "active", True), ("lost", "returned", True), ("new", "new", False)]
)
async def test_a_ping_brings_an_installation_back(send, present, changes, connection, life, then, judged):
    one = uuid4()
    await send(one, ping(1))
    await connection.execute("UPDATE installation_facts SET life = $1, judge_again = false", life)
    await send(one, ping(2))
    row = await present(one)
    assert (row["life"], row["judge_again"]) == (then, judged)
    assert await changes(one) == ([(2, "life", life, then)] if life != then else [])


async def test_a_state_taken_up_again_needs_no_facts_from_the_wire(send, present, changes, database):
    """Two server processes: the first remembers that it wrote a state, and sends no facts with it."""
    one = uuid4()
    await send(one, ping(1))
    async with GroupWriter(partial(connect_writer, database)) as other:
        await send(one, ping(2, state=b"2", facts=facts("7.3.0")), through=other)
    await send(one, ping(3))
    assert (await present(one))["version"] == "7.2.1"
    assert await changes(one) == [
        (2, "service.version", "7.2.1", "7.3.0"),
        (3, "service.version", "7.3.0", "7.2.1"),
    ]


async def test_news_that_could_not_be_noted_cost_no_ping_and_are_noted_later(
    send, present, changes, connection, monkeypatch
):
    """As when the server is killed between the commit and the note, or PostgreSQL refuses the note."""
    one, other = uuid4(), uuid4()
    await send(one, ping(1))

    async def refused(*_):
        raise asyncpg.DeadlockDetectedError("made up")

    monkeypatch.setattr(writer_module, "project", refused)
    await send(one, ping(2, state=b"2", facts=facts("7.3.0")))
    await send(one, ping(3, state=b"3", facts=facts("7.4.0")))
    await send(other, ping(1))
    assert await connection.fetchval("SELECT count(*) FROM pings") == 4
    assert (await changes(one), await present(other)) == ([], None)
    assert await catch_up(connection) == 2
    assert await changes(one) == [
        (2, "service.version", "7.2.1", "7.3.0"),
        (3, "service.version", "7.3.0", "7.4.0"),
    ]
    assert ((await present(one))["version"], (await present(other))["life"]) == ("7.4.0", "new")
    assert await catch_up(connection) == 0


async def test_noting_twice_notes_once(send, present, changes, connection):
    one = uuid4()
    await send(one, ping(1))
    await send(one, ping(2, state=b"2", facts=facts("7.3.0")), address="198.51.100.9")
    before, told = await present(one), await changes(one)
    await connection.execute("UPDATE installation_facts SET sequence = 0, state = NULL")
    await project(connection, [one])
    assert (await present(one), await changes(one)) == (before, told)


async def test_a_copy_whose_news_cannot_be_noted_holds_up_nobody(send, present, connection, monkeypatch):
    ids = sorted(uuid4() for _ in range(5))
    for one in ids:
        await send(one, ping(1))
    await connection.execute("DELETE FROM installation_facts")

    async def noted(connection, installations):
        if ids[1] in installations:
            raise asyncpg.InvalidTextRepresentationError("made up")
        await project(connection, installations)

    monkeypatch.setattr(news_module, "project", noted)
    assert await catch_up(connection) == 4
    assert [await present(one) is not None for one in ids] == [True, False, True, True, True]


async def test_facts_in_the_timeline_are_kept_as_long_as_facts_are(send, changes, connection):
    one = uuid4()
    await send(one, ping(1))
    await send(one, ping(2, state=b"2", facts=facts("7.3.0"), verdict=Verdict.EXPIRED))
    assert await forget_changes(connection, datetime.now(UTC)) == 1
    assert await changes(one) == [(2, "verdict", "valid", "expired")]


async def test_columns_that_came_later_are_filled_from_the_state(connection, send, present):
    installations = [uuid4() for _ in range(3)]
    for one in installations:
        await send(one, ping(1, facts=facts(host={"arch": "arm64"})))
    await connection.execute(
        f"UPDATE installation_facts SET {', '.join(f'{one.column} = NULL' for one in ADDED)} WHERE installation_id <> $1",
        installations[0],
    )
    asked = await condition(connection, parse_filter("arch=unknown"), FILTERED_NOW, now=NOW, first=1)
    lacking = f"SELECT f.installation_id FROM installation_facts AS f WHERE {asked.sql}"
    assert len(await connection.fetch(lacking, *asked.values)) == 2
    assert await fill_added(connection) == 2
    assert {(await present(one))["arch"] for one in installations} == {"arm64"}
    assert {(await present(one))["license_source_detail"] for one in installations} == {"unknown"}
    assert await fill_added(connection) == 0
