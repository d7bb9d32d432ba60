"""A date of a license is a day in the product's time zone: verdicts, files, filters and lists agree on it."""

import io
from datetime import UTC, date, datetime, timedelta

import asyncpg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from telemetry_server.check.days import beginning, end, first_day, last_day, shown_end
from telemetry_server.check.filters.filter_fields import LICENSES
from telemetry_server.check.filters.parser import parse_filter
from telemetry_server.enrich.verdict import Claim, judge
from telemetry_server.keyring import open_keyring
from telemetry_server.model import Author, LicensePatch, LicenseRow
from telemetry_server.store.ingest import grant_cache
from telemetry_server.store.ingest.grant_cache import grant_of
from telemetry_server.store.migrate import migrate, released_migrations
from telemetry_server.store.registry.history import Entity, history
from telemetry_server.store.registry.license_changes import keep_licenses
from telemetry_server.store.registry.licenses import key_hashes, list_licenses
from telemetry_server.store.registry.products import BadTimeZone, add_product, change_time_zone
from telemetry_server.store.reports.export import Form, Wanted, What, export

pytestmark = pytest.mark.every_postgres

NOW = datetime(2026, 11, 22, 10, tzinfo=UTC)
BY = Author("cli:maria")
LAST = date(2026, 11, 29)
TICK = timedelta(microseconds=1)
# Of each zone, when 29 November 2026 is over.
ZONES = {
    "UTC": datetime(2026, 11, 30, tzinfo=UTC),
    "Pacific/Auckland": datetime(2026, 11, 29, 11, tzinfo=UTC),
    "America/New_York": datetime(2026, 11, 30, 5, tzinfo=UTC),
}


@pytest.fixture
def product(connection, tmp_path):
    """Makes a product in a time zone; gives how its keys are hashed."""
    keyring = open_keyring(tmp_path / "keyring.json")

    async def product(zone, slug="billing"):
        await add_product(connection, "Billing", slug=slug, time_zone=zone, now=NOW)
        return await key_hashes(connection, keyring, slug)

    return product


async def keep(connection, hashes, key="KEY-00001", **patch):
    row = LicenseRow(1, key, None, LicensePatch(**patch))
    batch = await keep_licenses(connection, hashes, [row], by=BY, now=NOW)
    return batch.rows[0]


async def verdict(connection, hashes, at, key="KEY-00001"):
    [row] = await connection.fetch(grant_cache.SQL["grants_of_keys"], [hashes.own(key)])
    grant = grant_of(row)
    claim = Claim(grant.product_id, True, "licensed", "unknown", "production", None, at)
    return judge(claim, grant, at).verdict


async def found(connection, text):
    wanted = parse_filter(text, LICENSES)
    return len(await list_licenses(connection, wanted, now=NOW))


async def rows_of(connection, dsn, form):
    file = io.BytesIO()

    async def write(piece):
        file.write(piece)

    exporting = await asyncpg.connect(dsn)
    try:
        await export(exporting, Wanted(What.LICENSES, form), write, now=NOW)
    finally:
        await exporting.close()
    return file.getvalue().decode("utf-8-sig")


@pytest.mark.parametrize("zone", ZONES)
async def test_verdict_filter_and_export_agree_on_the_last_day(connection, database, product, zone):
    hashes = await product(zone)
    await keep(connection, hashes, expires_at=LAST, starts_at=LAST)
    over = ZONES[zone]
    assert await verdict(connection, hashes, over - TICK) == "valid"
    assert await verdict(connection, hashes, over) == "expired"
    for text, count in {
        "expires=2026-11-29": 1,
        "expires=2026-11-28": 0,
        "expires=2026-11-30": 0,
        "expires<2026-11-29": 0,
        "expires<=2026-11-29": 1,
        "expires>2026-11-29": 0,
        "expires>=2026-11-29": 1,
        "expires<2026-11-30": 1,
        "starts=2026-11-29": 1,
        "starts<2026-11-29": 0,
        "starts>=2026-11-29": 1,
        "starts>2026-11-29": 0,
    }.items():
        assert await found(connection, text) == count, text
    assert '"last_day":"2026-11-29"' in await rows_of(connection, database, Form.NDJSON)
    [head, row] = (await rows_of(connection, database, Form.CSV)).splitlines()
    cells = dict(zip(head.split(","), row.split(","), strict=True))
    assert cells["last_day"] == cells["first_day"] == "2026-11-29"
    assert datetime.fromisoformat(cells["expires_at"]) == over


async def test_days_of_products_in_different_time_zones_are_told_apart(connection, product):
    """One moment is the end of the 29th here, and in the midst of the 30th there."""
    over = ZONES["UTC"]
    await keep(connection, await product("UTC"), "KEY-00001", expires_at=over)
    await keep(connection, await product("Pacific/Auckland", "there"), "KEY-00002", expires_at=over)
    assert await found(connection, "expires=2026-11-29") == 1
    assert await found(connection, "expires=2026-11-30") == 1
    assert await found(connection, "expires=2026-11-29 product=billing") == 1
    assert await found(connection, "expires!=2026-11-29 product=there") == 1


async def test_a_license_of_one_day_is_good_on_it(connection, product):
    hashes = await product("UTC")
    kept = await keep(connection, hashes, starts_at=LAST, expires_at=LAST)
    assert kept.problem is None
    wrong = await keep(connection, hashes, starts_at=LAST, expires_at=LAST - timedelta(days=1))
    assert wrong.problem.detail == "2026-11-28 is not after starts_at, 2026-11-29"


async def test_the_last_of_all_days_is_no_end(connection, product):
    hashes = await product("America/New_York")
    await keep(connection, hashes, expires_at=date.max)
    [license_] = await list_licenses(connection, now=NOW)
    assert license_.expires_at is None
    assert await found(connection, "expires<=2100-12-31") == 0


async def test_a_day_that_is_said_again_changes_nothing(connection, product):
    hashes = await product("Pacific/Auckland")
    await keep(connection, hashes, expires_at=LAST)
    assert (await keep(connection, hashes, expires_at=LAST)).outcome == "unchanged"


@given(
    st.dates(date(1990, 1, 1), date(2060, 1, 1)),
    st.sampled_from([*ZONES, "America/Sao_Paulo", "Asia/Beirut"]),
)
def test_days_are_read_back_as_they_were_said(day, zone):
    assert first_day(beginning(day, zone), zone) == day
    assert last_day(end(day, zone), zone) == day
    assert shown_end(end(day, zone), zone) == day
    assert end(day, zone) == beginning(day + timedelta(days=1), zone)


# ── another time zone ───────────────────────────────────────────────────────────────────────


async def test_with_another_time_zone_the_days_stay_and_the_moments_move(connection, product):
    hashes = await product("UTC")
    moment = datetime(2026, 12, 24, 10, tzinfo=UTC)
    dated = await keep(connection, hashes, "KEY-00001", starts_at=date(2026, 1, 1), expires_at=LAST)
    timed = await keep(connection, hashes, "KEY-00002", expires_at=moment)
    await change_time_zone(connection, "billing", "America/New_York", by=BY, now=NOW)
    there = {each.license_id: each for each in await list_licenses(connection, now=NOW)}
    assert there[dated.license_id].expires_at == ZONES["America/New_York"]
    assert there[dated.license_id].starts_at == datetime(2026, 1, 1, 5, tzinfo=UTC)
    assert there[timed.license_id].expires_at == moment
    assert await verdict(connection, hashes, ZONES["UTC"]) == "valid"
    newest, _ = await history(connection, Entity.LICENSE, str(dated.license_id))
    assert (newest.actor, newest.reason) == ("cli:maria", "the time zone is America/New_York")
    assert newest.before == {"starts_at": "2026-01-01T00:00:00Z", "expires_at": "2026-11-30T00:00:00Z"}
    assert newest.after == {"starts_at": "2026-01-01T05:00:00Z", "expires_at": "2026-11-30T05:00:00Z"}
    assert len(await history(connection, Entity.LICENSE, str(timed.license_id))) == 1


@pytest.mark.parametrize("name", ["", "Berlin", "Europe", "../UTC", "/etc/localtime", "CEST+2", "x\0y"])
async def test_a_time_zone_that_is_none_is_refused(connection, product, name):
    with pytest.raises(BadTimeZone):
        await product(name)


# ── from the version before ─────────────────────────────────────────────────────────────────


async def test_dates_of_the_version_before_become_whole_days(cluster):
    await cluster.drop("dated")
    await cluster.make("dated")
    connection = await asyncpg.connect(cluster.dsn("dated"))
    try:
        released = released_migrations()
        await migrate(connection, [each for each in released if each.version < 12])
        await connection.execute("""
            INSERT INTO products (product_id, slug, name, created_at) VALUES (gen_random_uuid(), 'acme', 'ACME', now());
            INSERT INTO licenses (license_id, product_id, key_hash, key_hint, expires_at, addresses, created_at, updated_at, stale)
            SELECT gen_random_uuid(), product_id, sha256(t.hint::bytea), t.hint, t.at, t.addresses, now(), now(), false
            FROM products, (VALUES ('date', '2026-11-29 00:00+00'::timestamptz, '{}'::inet[]),
                                   ('time', '2026-11-29 10:00+00', '{10.0.0.5}'),
                                   ('last', '9999-12-31 00:00+00', '{}'),
                                   ('none', NULL, '{}')) AS t (hint, at, addresses)
        """)
        await migrate(connection)
        rows = await connection.fetch("SELECT key_hint, expires_at, stale FROM licenses")
        assert {row["key_hint"]: (row["expires_at"], row["stale"]) for row in rows} == {
            "date": (datetime(2026, 11, 30, tzinfo=UTC), True),
            "time": (datetime(2026, 11, 29, 10, tzinfo=UTC), True),
            "last": (None, True),
            "none": (None, False),
        }
        changes = await connection.fetch("SELECT actor, before, after FROM registry_changes ORDER BY after")
        assert {(row["actor"], row["after"]) for row in changes} == {
            ("migration 0012", '{"expires_at": "2026-11-30T00:00:00Z"}'),
            ("migration 0012", '{"expires_at": null}'),
        }
    finally:
        await connection.close()
        await cluster.drop("dated")
