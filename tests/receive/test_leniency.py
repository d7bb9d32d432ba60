"""What encoders of other languages send is taken, and kept as our own clients would have sent it."""

import gzip
import json

import pytest
from installation import Installation, post


@pytest.fixture
def server(common_server):
    return common_server


@pytest.fixture
async def installation(server):
    return await Installation.enrolled(server)


def with_member(ping, path, value):
    section, _, name = path.rpartition(".")
    (ping.setdefault(section, {}) if section else ping)[name] = value
    return ping


OTHERS = {
    ".NET's largest time": ("license.expires_at", "9999-12-31T23:59:59.9999999Z"),
    "Go's largest time": ("license.expires_at", "9999-12-31T23:59:59.999999999Z"),
    "a leap second": ("occurred_at", "2016-12-31T23:59:60Z"),
    "PHP: no feature was used": ("usage.features", []),
    "PHP: a section without members": ("virtualization", []),
    "PHP: no fingerprint": ("host.fingerprint", []),
    "a section that is null": ("usage", None),
    "an optional field that is null": ("reason", None),
}


@pytest.mark.parametrize("name", OTHERS)
async def test_a_ping_of_another_language_is_accepted(installation, name):
    path, value = OTHERS[name]
    answer = await installation.send(with_member(installation.ping(), path, value))
    assert (answer.status, answer.statuses) == (200, ["accepted"]), answer.body


@pytest.mark.parametrize(
    "around",
    [{"sent_at": "9999-12-31T23:59:59.9999999Z"}, {"sdk": None}, {"sdk": []}, {"upload_id": None}],
    ids=str,
)
async def test_what_stands_around_the_pings_costs_no_upload(installation, around):
    answer = await installation.send_bytes(json.dumps(around | {"pings": [installation.ping()]}).encode())
    assert (answer.status, answer.statuses) == (200, ["accepted"]), answer.body


async def test_x_gzip_is_gzip_and_the_empty_enrolment_of_php_is_one(server, installation):
    body = gzip.compress(installation.upload(installation.ping()))
    signed = {"Telemetry-Signature": installation.sign(body), "Content-Encoding": "x-gzip"}
    answer = await post(f"{server.url}/v1/pings", body, signed)
    assert (answer.status, answer.statuses) == (200, ["accepted"])
    enrolled = await post(f"{server.url}/v1/enroll", b"[]", {"Authorization": f"Bearer {server.product_key}"})
    assert enrolled.status == 201


async def test_what_is_kept_is_what_our_own_clients_would_have_sent(server, installation):
    ping = installation.ping(
        os={"name": "Debian", "version": "12"},
        virtualization={"vm": "none", "container": "none", "cloud": []},
        occurred_at="2016-12-31T23:59:60.25Z",
        usage={"features": []},
    )
    refused = await installation.send(ping)
    assert refused.json["results"][0]["detail"] == "virtualization.cloud: must be a string"
    ping["virtualization"]["cloud"] = None
    assert (await installation.send(ping)).statuses == ["accepted"]
    [row] = await server.fetch(
        "SELECT facts, features, occurred_at, os_name, virtualization_vm FROM v_pings WHERE installation_id = $1",
        installation.id,
    )
    assert (row["os_name"], row["virtualization_vm"], json.loads(row["features"])) == ("debian", None, {})
    assert row["occurred_at"].isoformat() == "2016-12-31T23:59:59.250000+00:00"
    assert json.loads(row["facts"])["virtualization"] == {}
    plain = installation.ping(os={"name": "debian", "version": "12"}, virtualization={"vm": None})
    assert (await installation.send(plain)).statuses == ["accepted"]
    states = "SELECT count(DISTINCT state) FROM pings WHERE installation_id = $1"
    assert await server.fetchval(states, installation.id) == 1


async def test_a_number_of_any_size_in_an_unknown_field_is_ignored_with_it(installation):
    for number in (b"1e999", b"-1e400", b"9" * 5_000, b"0." + b"1" * 5_000):
        text = json.dumps({"pings": [installation.ping(score="@")]}).encode().replace(b'"@"', number)
        answer = await installation.send_bytes(text)
        assert (answer.status, answer.statuses) == (200, ["accepted"]), answer.body
    text = json.dumps({"pings": [installation.ping() | {"sequence": "@"}]}).encode().replace(b'"@"', b"1e999")
    answer = await installation.send_bytes(text)
    assert (answer.json["results"][0]["code"], answer.json["results"][0]["sequence"]) == (
        "out_of_range",
        None,
    )
