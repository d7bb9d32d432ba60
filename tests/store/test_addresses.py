"""Addresses: in full as long as was said, then as networks, or never kept at all."""

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address, ip_network
from uuid import uuid4

import asyncpg
import pytest
from installation import Installation, post
from places import ROOT

from telemetry_server.jobs.retention import shorten_addresses
from telemetry_server.store.upkeep import addresses

pytestmark = pytest.mark.every_postgres

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
DAY = timedelta(days=1)
OLD, YOUNG = NOW - 91 * DAY, NOW - 89 * DAY


class Traces:
    """Puts addresses wherever there are any, and reads them from there."""

    def __init__(self, connection):
        self.connection = connection

    async def ping(self, address, at=OLD):
        await self.connection.execute(
            "INSERT INTO pings (received_at, installation_id, sequence, ping_id, occurred_at, time_suspect,"
            " client_address, state, details) VALUES ($1, $2, 1, $2, $1, false, $3::text::inet, 'x', '{}')",
            *(at, uuid4(), address),
        )

    async def change(self, before, after, at=OLD):
        await self.connection.execute(
            "INSERT INTO changes VALUES ($1, $2, 7, 'client_address', $3, $4)", uuid4(), at, before, after
        )

    async def installation(self, address, at=OLD):
        await self.connection.execute(
            "INSERT INTO installations (installation_id, product_id, received, received_before, first_received_at,"
            " last_received_at, last_sequence, last_occurred_at, client_address, state)"
            " VALUES ($1, $1, '{[1,2)}', '{}', $2, $2, 1, $2, $3::text::inet, '0123456789abcdef')",
            *(uuid4(), at, address),
        )

    async def fork(self, address, at=OLD):
        await self.connection.execute(
            "INSERT INTO forks VALUES ($1, 1, $1, $2, $3, $3, $4::text::inet, '{}', '{}', '{}')",
            *(uuid4(), uuid4(), at, address),
        )

    async def lineage(self, address, at=OLD):
        await self.connection.execute(
            "INSERT INTO lineage VALUES ($1, $2, $2, $3, $4::text::inet)", uuid4(), uuid4(), at, address
        )

    async def hostname(self, address):
        await self.connection.execute(
            "INSERT INTO hostnames VALUES ($1::text::inet, 'host.example.net', $2)", address, NOW
        )

    async def everywhere(self, address, at=OLD):
        for put in (self.ping, self.installation, self.fork, self.lineage):
            await put(address, at)
        await self.change("192.0.2.99", address, at)

    async def kept(self):
        return sorted(
            await self.connection.fetch(
                "SELECT 'pings', text(client_address) FROM pings WHERE client_address IS NOT NULL UNION ALL"
                " SELECT 'installations', text(client_address) FROM installations WHERE client_address IS NOT NULL UNION ALL"
                " SELECT 'forks', text(client_address) FROM forks WHERE client_address IS NOT NULL UNION ALL"
                " SELECT 'lineage', text(client_address) FROM lineage WHERE client_address IS NOT NULL UNION ALL"
                " SELECT 'changes', after FROM changes UNION ALL"
                " SELECT 'hostnames', text(address) FROM hostnames"
            )
        )

    async def pings(self):
        rows = await self.connection.fetch("SELECT text(client_address) FROM pings ORDER BY received_at")
        return [row[0] for row in rows]


@pytest.fixture
def traces(connection):
    return Traces(connection)


WHERE = ("changes", "forks", "installations", "lineage", "pings")


async def test_full_addresses_become_networks_wherever_they_are_when_they_are_old(traces, connection):
    await traces.everywhere("203.0.113.77")
    assert await shorten_addresses(90)(connection, NOW) == "shortened 5 addresses older than 90 days"
    assert await traces.kept() == [(place, "203.0.113.0/24") for place in WHERE]
    await traces.everywhere("2001:db8:1:2::3")
    await shorten_addresses(90)(connection, NOW)
    shortened = [(place, "2001:db8:1::/48") for place in WHERE] + [
        (place, "203.0.113.0/24") for place in WHERE
    ]
    assert await traces.kept() == sorted(shortened)
    assert await shorten_addresses(90)(connection, NOW) == "shortened 0 addresses older than 90 days"


async def test_younger_ones_stay_as_they_are(traces, connection):
    await traces.everywhere("203.0.113.77", YOUNG)
    before = await traces.kept()
    assert await shorten_addresses(90)(connection, NOW) == "shortened 0 addresses older than 90 days"
    assert await traces.kept() == before


async def test_in_the_timeline_both_sides_are_shortened_and_networks_stay(traces, connection):
    await traces.change("192.0.2.7", "2001:db8:1:2::3")
    await traces.change("203.0.113.0/24", "192.0.2.7", OLD - DAY)
    await connection.execute(
        "INSERT INTO changes VALUES ($1, $2, 7, 'service.version', '7.2', '7.3')", uuid4(), OLD
    )
    await shorten_addresses(90)(connection, NOW)
    rows = await connection.fetch("SELECT before, after FROM changes ORDER BY changed_at, field")
    assert [tuple(row) for row in rows] == [
        ("203.0.113.0/24", "192.0.2.0/24"),
        ("192.0.2.0/24", "2001:db8:1::/48"),
        ("7.2", "7.3"),
    ]


async def test_the_timeline_outlives_the_pings_and_its_addresses_do_not(traces, connection):
    await traces.change(None, "192.0.2.7", NOW - 500 * DAY)
    await traces.ping("192.0.2.8", YOUNG)
    await shorten_addresses(90)(connection, NOW)
    assert await connection.fetchval("SELECT after FROM changes") == "192.0.2.0/24"


async def test_a_name_goes_with_its_address(traces, connection):
    await traces.installation("203.0.113.77")
    await traces.installation("198.51.100.7", YOUNG)
    for address in ("203.0.113.77", "198.51.100.7", "192.0.2.7"):
        await traces.hostname(address)
    await shorten_addresses(90)(connection, NOW)
    assert [row[1] for row in await traces.kept() if row[0] == "hostnames"] == ["198.51.100.7/32"]


# ── what a run has seen it need not see again, and what it has not it must ───────────────────


async def test_a_shorter_retention_reaches_what_lies_between(traces, connection):
    """By when the job last ran alone, all that is between 90 and 30 days old would be left out."""
    for days in (80, 60, 31, 29):
        await traces.ping("192.0.2.7", NOW - days * DAY)
    await shorten_addresses(90)(connection, NOW)
    assert await traces.pings() == ["192.0.2.7/32"] * 4
    await shorten_addresses(30)(connection, NOW)
    assert await traces.pings() == ["192.0.2.0/24"] * 3 + ["192.0.2.7/32"]


async def test_a_longer_retention_and_a_pause_leave_nothing_out(traces, connection):
    for days in range(0, 60, 5):
        await traces.ping("192.0.2.7", NOW - days * DAY)
    await shorten_addresses(30)(connection, NOW)
    await shorten_addresses(90)(connection, NOW + 10 * DAY)
    await shorten_addresses(30)(connection, NOW + 40 * DAY)
    assert await traces.pings() == ["192.0.2.0/24"] * 12


async def test_a_run_that_was_killed_goes_on_where_it_was(traces, connection, monkeypatch):
    for days in range(91, 100):
        await traces.ping("192.0.2.7", NOW - days * DAY)
    reach, marks = addresses.reach, []

    async def reach_three_times(connection, name, reached_at):
        await reach(connection, name, reached_at)
        marks.append(reached_at)
        if len(marks) == 3:
            raise asyncpg.ConnectionDoesNotExistError

    monkeypatch.setattr(addresses, "reach", reach_three_times)
    with pytest.raises(asyncpg.ConnectionDoesNotExistError):
        await shorten_addresses(90)(connection, NOW)
    assert (await traces.pings()).count("192.0.2.0/24") == 3
    assert await shorten_addresses(90)(connection, NOW) == "shortened 6 addresses older than 90 days"


# ── never ───────────────────────────────────────────────────────────────────────────────────


async def test_with_0_days_none_is_left_of_those_that_were_kept_before(traces, connection, monkeypatch):
    monkeypatch.setattr(addresses, "_BATCH", 2)
    await traces.everywhere("192.0.2.7", OLD)
    await shorten_addresses(90)(connection, NOW)
    for address in ("192.0.2.7", "2001:db8::7", "203.0.113.9", "198.51.100.1"):
        await traces.everywhere(address, YOUNG)
        await traces.hostname(address)
    assert await shorten_addresses(0)(connection, NOW) == "erased 25 addresses"
    assert await traces.kept() == []
    assert await shorten_addresses(0)(connection, NOW) == "erased 0 addresses"


async def test_with_0_days_what_a_server_with_an_older_setting_still_kept_goes_too(traces, connection):
    await shorten_addresses(0)(connection, NOW)
    await traces.everywhere("192.0.2.7", NOW + timedelta(minutes=1))
    await shorten_addresses(0)(connection, NOW + DAY)
    assert await traces.kept() == []


SENT_FROM = ["203.0.113.9", "198.51.100.77", "2001:db8:7:8::9"]


async def texts(connection):
    """Every value of every table, as text."""
    tables = await connection.fetch(
        "SELECT oid::regclass::text AS name FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'"
    )
    for table in tables:
        for row in await connection.fetch(f"SELECT to_jsonb(t)::text AS row FROM {table['name']} AS t"):
            yield table["name"], row["row"]


def addresses_in(text):
    """What of a JSON text is an address or a network, however it is written."""

    def values(document):
        if isinstance(document, dict | list):
            for each in document.values() if isinstance(document, dict) else document:
                yield from values(each)
        elif isinstance(document, str):
            yield document

    networks = [
        ip_network(f"{address}/{24 if ip_address(address).version == 4 else 48}", strict=False)
        for address in SENT_FROM
    ]
    for value in values(json.loads(text)):
        if value.startswith("\\x"):
            yield from (
                address for address in SENT_FROM if address in bytes.fromhex(value[2:]).decode("latin-1")
            )
        try:
            found = ip_network(value, strict=False)
        except ValueError:
            continue
        yield from (
            value for network in networks if network.version == found.version and found.overlaps(network)
        )


@pytest.mark.parametrize("days", [0, 90])
async def test_with_0_days_no_address_is_in_any_table_whatever_copies_do(make_server, days):
    """With 90 days the same search finds them, in every table that has any: so it would find them with 0."""
    server = make_server(address_retention_days=days, trusted_proxies="127.0.0.0/8")
    copy = await Installation.enrolled(server)

    async def send(body, address, path="/v1/pings"):
        headers = {"Telemetry-Signature": copy.sign(body, path), "X-Forwarded-For": address}
        return await post(f"{server.url}{path}", body, headers | {"Content-Type": "application/json"})

    for address in SENT_FROM:
        assert (await send(copy.upload(copy.ping(), copy.ping()), address)).status == 200
    copy.sequence = 1
    assert (await send(copy.upload(copy.ping()), SENT_FROM[0])).json["results"][0]["status"] == "forked"
    forked = json.dumps({"forked_from": copy.id}).encode()
    key = {"Authorization": f"Bearer {server.product_key}", "X-Forwarded-For": SENT_FROM[1]}
    signed = {"Telemetry-Signature": copy.sign(forked, "/v1/enroll"), "Content-Type": "application/json"}
    assert (await post(f"{server.url}/v1/enroll", forked, key | signed)).status == 201
    server.command("run", "watch", "deadlines")

    connection = await asyncpg.connect(server.database)
    found = {table for table, text in [each async for each in texts(connection)] if list(addresses_in(text))}
    if days == 0:
        assert found == set()
    else:
        month = next(table for table in found if table.startswith("pings_"))
        assert found == {"installations", "changes", "forks", "lineage", month}
        done = [sys.executable, "-m", "telemetry_server", "run", "shorten", "addresses"]
        environment = {"TELEMETRY_DATABASE_URL": server.database, "TELEMETRY_ADDRESS_RETENTION_DAYS": "0"}
        subprocess.run(done, env=environment, cwd=ROOT, check=True, capture_output=True)
        left = {
            table for table, text in [each async for each in texts(connection)] if list(addresses_in(text))
        }
        assert left == set()
    await connection.close()
    assert not any(address in server.errors() for address in SENT_FROM)
