"""Seats over time, licenses over their seats, expiry, and the spread of unknown keys, on rows as the writer writes them."""

from datetime import date, datetime, timedelta
from functools import partial

import pytest
from judged_fleet import JudgedFleet

from telemetry_server.check.filters.filter_fields import INSTALLATIONS, LICENSES
from telemetry_server.check.filters.parser import parse_filter
from telemetry_server.keyring import open_keyring
from telemetry_server.store.database import connect_writer, make_pool
from telemetry_server.store.fleet import keys
from telemetry_server.store.ingest.writer import GroupWriter
from telemetry_server.store.registry import seats
from telemetry_server.store.registry.licenses import NoSuchLicense
from telemetry_server.store.registry.products import add_product
from telemetry_server.uuid7 import LOWEST

DAY = timedelta(days=1)
ALL = parse_filter("", LICENSES)


@pytest.fixture
async def fleet(database, connection, tmp_path):
    product, _ = await add_product(connection, "Billing", now=datetime.now().astimezone())
    async with GroupWriter(partial(connect_writer, database)) as writer:
        yield JudgedFleet(connection, writer, open_keyring(tmp_path / "keyring.json"), product)


@pytest.fixture
async def pool(database, fleet):
    async with make_pool(database) as pool:
        yield pool


async def _license_id(fleet):
    return await fleet.connection.fetchval("SELECT license_id FROM licenses")


async def test_seats_over_time_and_since_when_there_are_too_many(fleet, pool):
    fleet.passed = -6 * DAY
    await fleet.license(seats=1)
    first = await fleet.copy()
    fleet.passed = -4 * DAY
    second = await fleet.copy()
    fleet.passed = -3 * DAY
    await fleet.copy(environment="staging")
    fleet.passed = -2 * DAY
    await fleet.copy("OTHER", of=first)
    fleet.passed = -DAY
    third = await fleet.copy()
    over_at = (await fleet.row(third))["first_received_at"]
    fleet.passed = timedelta(0)
    await fleet.judge()
    today = fleet.now.date()
    rows = await seats.seats_over_time(pool, await _license_id(fleet), today - 7 * DAY, today, now=fleet.now)
    assert [row["used"] for row in rows] == [0, 1, 1, 2, 2, 1, 2, 2]
    assert {row["seats"] for row in rows} == {1}
    [over] = await seats.over_seats(pool, ALL, now=fleet.now, limit=10)
    assert (over["seats"], over["seats_used"], over["over_since"], over["total"]) == (1, 2, over_at, 1)
    assert (
        await seats.over_seats(
            pool, parse_filter("product=billing seats>1", LICENSES), now=fleet.now, limit=9
        )
        == []
    )
    assert (await fleet.row(second))["verdict"] == "over_seats"


async def test_more_seats_end_it_and_fewer_begin_it_anew(fleet, pool):
    fleet.passed = -3 * DAY
    await fleet.license(seats=1)
    for _ in range(2):
        await fleet.copy()
    await fleet.judge()
    fleet.passed = -2 * DAY
    await fleet.license(seats=2)
    await fleet.judge()
    assert await fleet.connection.fetchval("SELECT over_since FROM v_licenses") is None
    fleet.passed = -DAY
    await fleet.license(seats=1)
    since = await fleet.connection.fetchval("SELECT max(changed_at) FROM registry_changes")
    fleet.passed = timedelta(0)
    await fleet.judge()
    assert await fleet.connection.fetchval("SELECT over_since FROM v_licenses") == since
    today = fleet.now.date()
    rows = await seats.seats_over_time(pool, await _license_id(fleet), today - 3 * DAY, today, now=fleet.now)
    assert [(row["used"], row["seats"]) for row in rows] == [(2, 1), (2, 2), (2, 1), (2, 1)]


async def test_of_an_unknown_license_there_are_no_seats(pool, fleet):
    with pytest.raises(NoSuchLicense):
        await seats.seats_over_time(pool, LOWEST, date(2026, 1, 1), date(2026, 1, 2), now=fleet.now)


async def test_licenses_that_expire_and_how_many_of_them_are_in_use(fleet, pool):
    today = fleet.now.date()
    for number, days in enumerate((3, 3, 20, 40)):
        await fleet.license(f"LICENSE-KEY-{number}", expires_at=today + days * DAY)
    for _ in range(2):
        await fleet.copy("LICENSE-KEY-1")
    await fleet.copy("LICENSE-KEY-3")
    await fleet.judge()
    now = fleet.now
    assert await seats.expiring(pool, ALL, now=now) == seats.Expiring(licenses=3, in_use=1, copies=2)
    rows = await seats.expiring_licenses(pool, ALL, now=now, limit=2)
    assert [(row["last_day"], row["total"]) for row in rows] == 2 * [(today + 3 * DAY, 3)]
    [used] = await seats.expiring_licenses(pool, ALL, now=now, in_use=True, limit=9)
    assert (used["key_hint"], used["seats_used"]) == ("EY-1", 2)


async def test_how_far_a_key_has_spread(fleet):
    for address in ("192.0.2.7", "192.0.2.8", "198.51.100.1", "2001:db8::1", "2001:db8:0:5::1"):
        await fleet.copy("LEAKED", address=address)
    await fleet.copy("ONCE")
    await fleet.license()
    await fleet.copy()
    await fleet.judge()
    everything = parse_filter("", INSTALLATIONS)
    leaked, once = await keys.unknown_keys(fleet.connection, everything, now=fleet.now, limit=9)
    counted = ("installations", "reporting", "networks", "countries", "operators", "total")
    assert [leaked[name] for name in counted] == [5, 5, 3, 0, 0, 2]
    assert (leaked["key_hint"], once["key_hint"], once["installations"]) == ("AKED", "ONCE", 1)
    assert leaked["key_hash"] == fleet.keyring.hash_of_key("billing", "LEAKED").hex()
    assert await keys.unknown_key_total(fleet.connection, everything, now=fleet.now) == 2
