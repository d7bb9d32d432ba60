"""The copies at the end of each day, features by value, seats and keys in the API, held against the rows."""

from datetime import UTC, datetime, timedelta
from urllib.parse import quote

import pytest

from telemetry_server.check.fields import load_registry
from telemetry_server.jobs.active import count_active_copies
from telemetry_server.keyring import open_keyring
from telemetry_server.model import Author, LicensePatch, LicenseRow, Role
from telemetry_server.store.registry.license_changes import keep_licenses
from telemetry_server.store.registry.licenses import key_hashes

TODAY = datetime.now(UTC).date()


@pytest.fixture
async def program(site, counted_fleet):
    await site.with_database(count_active_copies(load_registry()), datetime.now(UTC))
    return await site.program(Role.ADMIN)


async def items(program, path):
    answer = await program.get(f"/api/v1/{path}")
    assert answer.status == 200, answer.text
    return answer.json["items"]


async def test_the_last_day_has_the_copies_of_now(program, site):
    for by, column in (
        ("verdict", "verdict"),
        ("version", "version"),
        ("country", "country"),
        ("life", "life"),
    ):
        rows = await site.execute(
            f"SELECT {column} AS value, count(*) FROM installation_facts WHERE life <> 'lost' OR $1 GROUP BY 1",
            by == "life",
        )
        found = await items(program, f"active?by={by}&limit=500")
        last = max(item["day"] for item in found)
        assert {each["value"]: each["installations"] for each in found if each["day"] == last} == dict(rows)
        assert (TODAY - datetime.fromisoformat(last).date()).days <= 1


async def test_days_without_a_ping_count_too(program):
    """The copies that are there are more than those that sent a ping."""
    there = {item["day"]: item["installations"] for item in await items(program, "active")}
    heard = {item["day"]: item["installations"] for item in await items(program, "fleet?step=day")}
    assert all(there[day] >= heard[day] for day in heard if day in there)
    assert sum(there.values()) > sum(heard.values())


async def test_what_is_not_counted_together_is_said(program):
    answer = await program.get(f"/api/v1/active?by=country&filter={quote('version=7.2.1')}")
    assert (answer.status, answer.json["code"]) == (400, "only_now")


async def test_features_by_version_are_those_of_the_features(program):
    total = {each["feature"]: each["uses"] for each in await items(program, "features?limit=500")}
    for by in ("all", "version", "edition", "verdict", "life"):
        found = await items(program, f"feature-use?by={by}&limit=500")
        for feature, uses in total.items():
            assert sum(each["uses"] for each in found if each["feature"] == feature) == uses
        assert all(0 < each["used_by"] <= each["reports"] for each in found)


async def test_unknown_keys_are_those_of_the_view(program, site):
    rows = await site.execute("SELECT key_hash, installations FROM v_unknown_keys")
    found = await items(program, "unknown-keys?limit=500")
    assert {each["key_hash"]: each["installations"] for each in found} == dict(rows)


async def test_seats_and_expiry_of_a_license(program, site, tmp_path):
    async def keep(connection):
        [product, *_] = await connection.fetch("SELECT slug FROM products")
        hashes = await key_hashes(connection, open_keyring(tmp_path / "another.json"), product["slug"])
        patch = LicensePatch(seats=1, expires_at=TODAY + timedelta(days=9))
        batch = await keep_licenses(
            connection,
            hashes,
            [LicenseRow(1, "LICENSE-KEY", None, patch)],
            by=Author("a test"),
            now=datetime.now(UTC),
        )
        return batch.rows[0].license_id

    license_id = await site.with_database(keep)
    await site.execute("UPDATE licenses SET seats_used = 3, over_since = now()")
    days = await items(program, f"licenses/{license_id}/seats")
    assert len(days) == 90
    assert days[-1] == {"day": TODAY.isoformat(), "used": 0, "seats": 1}
    [over] = await items(program, "licenses-over-seats")
    assert (over["license_id"], over["seats_used"], over["seats"]) == (str(license_id), 3, 1)
    answer = (await program.get("/api/v1/licenses-expiring?in_use=true")).json
    assert (answer["total"], answer["in_use"]) == (1, 1)
    assert answer["items"][0]["last_day"] == (TODAY + timedelta(days=9)).isoformat()
    assert (await items(program, "licenses-expiring?days=5")) == []
    assert (await program.get(f"/api/v1/licenses/{license_id}")).json["over_since"] is not None
    answer = await program.get(f"/api/v1/licenses/{license_id}/seats?from=2026-01-02&to=2026-01-01")
    assert answer.status == 400
