"""Verdicts at ingest: stored with the ping, and never told to who sent it."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from installation import Installation, post

from telemetry_server.keyring import license_key_digest, open_keyring
from telemetry_server.model import Author, LicensePatch, LicenseRow, LicenseStatus, LicenseType, Verdict
from telemetry_server.store.registry.license_changes import keep_licenses
from telemetry_server.store.registry.licenses import key_hashes
from telemetry_server.store.registry.products import add_product

pytestmark = pytest.mark.every_postgres

NOW = datetime.now(UTC)
ELSEWHERE = ("198.51.100.0/24",)
# The test's address is 127.0.0.1, which is no evidence of a wrong place: a trusted proxy names another.
PROXIED = {"trusted_proxies": "127.0.0.0/8", "jobs": "off"}  # a job would count the seats
FORWARDED = {"X-Forwarded-For": "203.0.113.7"}
LICENSES = {
    "valid": {},
    "trial": {"type": LicenseType.TRIAL},
    "over_seats": {"seats": 1},
    "expired": {"expires_at": NOW - timedelta(days=1)},
    "suspended": {"status": LicenseStatus.SUSPENDED},
    "revoked": {"status": LicenseStatus.REFUNDED},
    "wrong_place": {"addresses": ELSEWHERE},
}


@pytest.fixture
async def registered(make_server, connection):
    return await with_licenses(make_server(**PROXIED), connection)


async def with_licenses(server, connection):
    """The server, with a license for each verdict, the key of which is the verdict's name."""
    await add_product(connection, "Other", now=NOW)
    keyring = open_keyring(server.data / "keyring.json")
    for slug, keys in ((server.product_slug, LICENSES), ("other", {"wrong_product": {}})):
        hashes = await key_hashes(connection, keyring, slug)
        rows = [
            LicenseRow(n, key, None, LicensePatch(**patch)) for n, (key, patch) in enumerate(keys.items())
        ]
        await keep_licenses(connection, hashes, rows, by=Author("a test"), now=NOW)
    await connection.execute("UPDATE licenses SET seats_used = 2, stale = false WHERE seats = 1")
    return server


def license_of(server, key):
    return {"status": "licensed", "key_digest": key and license_key_digest(server.product_slug, key)}


async def send(installation, ping, upload_id):
    body = json.dumps({"upload_id": upload_id, "pings": [ping]}).encode()
    headers = {"Telemetry-Signature": installation.sign(body), "Content-Type": "application/json"} | FORWARDED
    answer = await post(f"{installation.url}/v1/pings", body, headers)
    assert answer.headers["Telemetry-Receipt"] == installation.receipt(body, answer.body)
    return answer


async def test_every_verdict_is_given_and_none_shows_in_the_answer(registered):
    """What a copy could learn here would tell a forger which key works."""
    upload_id, answers = "019ab6f0-3c1e-7d2a-9b1e-5f0c2a7d9e11", {}
    for verdict in Verdict:
        installation = await Installation.enrolled(registered)
        key = None if verdict == "no_key" else verdict
        ping = installation.ping(license=license_of(registered, key), ping_id=upload_id)
        answers[verdict] = await send(installation, ping, upload_id)
        [row] = await registered.fetch(
            "SELECT g.verdict, f.verdict AS today, g.claim_mismatch FROM v_pings AS g JOIN installation_facts AS f USING (installation_id) WHERE installation_id = $1",
            installation.id,
        )
        assert (row["verdict"], row["today"]) == (verdict, verdict)
    assert {answer.status for answer in answers.values()} == {200}
    assert len({_but_for_the_time(answer) for answer in answers.values()}) == 1


def _but_for_the_time(answer):
    """The answer as it came, without its time and what is made of its bytes."""
    body = answer.body.replace(answer.json["server_time"].encode(), b"<time>")
    headers = {
        name: value for name, value in answer.headers.items() if name not in {"Date", "Telemetry-Receipt"}
    }
    length = headers.pop("Content-Length")
    assert int(length) == len(answer.body)
    return body, tuple(sorted(headers.items()))


async def test_each_ping_of_an_upload_has_the_verdict_of_its_own_key(registered):
    installation = await Installation.enrolled(registered)
    keys = ["valid", "expired", "nobody's", None]
    await installation.send(*(installation.ping(license=license_of(registered, key)) for key in keys))
    rows = await registered.fetch("SELECT verdict FROM v_pings ORDER BY sequence")
    assert [row["verdict"] for row in rows] == ["valid", "expired", "unknown_key", "no_key"]


async def test_claim_and_source_are_compared_at_ingest(registered, connection):
    await connection.execute("UPDATE licenses SET source = 'reseller'")
    installation = await Installation.enrolled(registered)
    await installation.send(
        installation.ping(license=license_of(registered, "valid") | {"status": "invalid", "source": "gift"})
    )
    [row] = await registered.fetch("SELECT verdict, claim_mismatch, source_mismatch FROM v_pings")
    assert tuple(row) == ("valid", True, True)


async def test_an_address_that_is_never_kept_is_no_evidence(make_server, connection):
    server = await with_licenses(make_server(**PROXIED, address_retention_days=0), connection)
    installation = await Installation.enrolled(server)
    ping = installation.ping(license=license_of(server, "wrong_place"))
    await send(installation, ping, "019ab6f0-3c1e-7d2a-9b1e-5f0c2a7d9e11")
    [row] = await server.fetch("SELECT verdict, client_address FROM v_pings")
    assert tuple(row) == ("valid", None)


async def test_a_license_is_known_to_the_running_server_soon_after_it_was_imported(server, connection):
    """The job looks every twenty seconds; run by hand it need not be waited for."""
    installation = await Installation.enrolled(server)
    await installation.send(installation.ping(license=license_of(server, "KEY")))
    assert await server.fetchval("SELECT verdict FROM installation_facts") == "unknown_key"
    hashes = await key_hashes(connection, open_keyring(server.data / "keyring.json"), server.product_slug)
    row = LicenseRow(1, "KEY", None, LicensePatch())
    await keep_licenses(connection, hashes, [row], by=Author("a test"), now=NOW)
    server.command("run", "judge", "installations")
    assert await server.fetchval("SELECT verdict FROM installation_facts") == "valid"
    assert await server.fetchval("SELECT verdict FROM v_pings") == "unknown_key"
