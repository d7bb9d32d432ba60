"""Protocol version 1 against a real server process."""

import asyncio
import base64
import gzip
import json
import zlib
from datetime import UTC, datetime, timedelta
from uuid import UUID

import aiohttp
import pytest
from installation import Installation, make_ping, post
from patience import until

pytestmark = pytest.mark.every_postgres


@pytest.fixture
def server(common_server):
    return common_server


@pytest.fixture
async def installation(server):
    return await Installation.enrolled(server)


async def kept(server, installation, which="true"):
    """The number of pings stored of this installation, of those which `which` is true of."""
    rows = f"SELECT count(*) FROM pings WHERE installation_id = $1 AND {which}"
    return await server.fetchval(rows, installation.id)


async def test_an_enrolment_gives_an_identity_and_writes_no_row(server):
    answer = await post(f"{server.url}/v1/enroll", b"{}", {"Authorization": f"Bearer {server.product_key}"})
    assert answer.status == 201
    assert set(answer.json) == {
        "installation_id",
        "secret",
        "key",
        "product",
        "next_ping_seconds",
        "notice",
        "server_time",
    }
    assert len(base64.urlsafe_b64decode(answer.json["secret"] + "=")) == 32
    written = "SELECT count(*) FROM installations WHERE installation_id = $1"
    assert await server.fetchval(written, answer.json["installation_id"]) == 0


@pytest.mark.parametrize(
    "authorization", ["", "Bearer pk_example_wrongwrongwrongwrong", "Basic abc", "Bearer \x01"]
)
async def test_a_wrong_product_key_is_refused_with_what_to_do(server, authorization):
    answer = await post(
        f"{server.url}/v1/enroll",
        b"{}",
        {"Authorization": authorization} if authorization.isprintable() else {},
    )
    assert answer.status == 401
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert "product key" in answer.json["detail"]


async def test_a_ping_is_accepted_and_in_the_database_before_the_answer(server, installation):
    answer = await installation.send()
    assert (answer.status, answer.statuses) == (200, ["accepted"])
    assert answer.json["missing"] == []
    assert answer.json["next_ping_seconds"] == 86400
    [row] = await server.fetch("SELECT * FROM v_pings WHERE installation_id = $1", installation.id)
    assert str(row["installation_id"]) == installation.id
    assert (row["os_name"], row["virtualization_vm"], row["virtualization_cloud"]) == ("debian", "kvm", "aws")
    assert (row["license_status"], row["license_source"]) == ("licensed", "marketplace")
    assert str(row["client_address"]) == "127.0.0.1/32" or str(row["client_address"]) == "127.0.0.1"
    assert json.loads(row["features"]) == {"invoice.created": 12}


async def test_the_license_key_digest_is_nowhere_in_the_database(server, installation):
    await installation.send()
    for table in ("pings", "states", "installations"):
        text = " ".join(str(dict(row)) for row in await server.fetch(f"SELECT t.*::text FROM {table} t"))
        assert "9f" * 32 not in text


async def test_the_four_outcomes_side_by_side(installation):
    first = installation.ping()
    assert (await installation.send(first)).statuses == ["accepted"]
    assert (await installation.send(first)).statuses == ["duplicate"]
    assert (await installation.send(make_ping(1))).statuses == ["forked"]
    assert (await installation.send(make_ping(4))).json["missing"] == [[2, 4]]


async def test_one_bad_ping_never_costs_a_good_one(server, installation):
    pings = [installation.ping() for _ in range(500)]
    pings[250]["license"] = {"status": "pirated"}
    answer = await installation.send(*pings)
    assert answer.statuses.count("accepted") == 499
    bad = answer.json["results"][250]
    assert (bad["status"], bad["code"], bad["sequence"]) == ("rejected", "unknown_value", 251)
    assert "license.status" in bad["detail"]
    assert await kept(server, installation) == 499


async def test_results_come_in_the_order_sent(installation):
    pings = [installation.ping() for _ in range(20)]
    answer = await installation.send(*pings)
    assert [r["ping_id"] for r in answer.json["results"]] == [p["ping_id"] for p in pings]


async def test_numbers_that_do_not_rise_are_refused_one_by_one(server, installation):
    one, two, three = make_ping(1), make_ping(2), make_ping(3)
    answer = await installation.send(one, three, two, three)
    assert answer.statuses == ["accepted", "accepted", "rejected", "duplicate"]
    assert answer.json["results"][2]["code"] == "out_of_order"
    assert await kept(server, installation) == 2


async def test_gzip_is_the_same_as_plain(server, installation):
    answer = await installation.send(installation.ping(), installation.ping(), compress=True)
    assert answer.statuses == ["accepted", "accepted"]
    assert await kept(server, installation) == 2


async def test_fields_above_the_level_are_not_stored_and_are_counted(make_server):
    server = make_server()
    installation = await Installation.enrolled(server)
    await installation.send(installation.ping(privacy={"level": "license"}, hobby="chess"))
    [row] = await server.fetch("SELECT facts, features, details FROM v_pings")
    facts = json.loads(row["facts"])
    assert not {"os", "host", "virtualization", "runtime"} & set(facts)
    assert row["features"] is None
    assert "hobby" not in facts | json.loads(row["details"])
    await asyncio.sleep(0)
    assert server.terminate() == 0  # counts are written down at the latest when the server stops
    counts = {
        row["outcome"]: row["count"] for row in await server.fetch("SELECT outcome, count FROM ingest_counts")
    }
    assert counts["unknown_field"] == 1
    assert counts["stripped_field"] >= 8


async def test_a_clock_far_off_is_marked_and_never_refused(server, installation):
    times = [
        "1970-01-01T00:00:00Z",
        "2199-12-31T23:59:59Z",
        "0001-01-01T00:00:00+14:00",
        "9999-12-31T23:59:59-12:00",
    ]
    answer = await installation.send(*(installation.ping(occurred_at=time) for time in times))
    assert answer.statuses == ["accepted"] * 4
    assert await kept(server, installation, "time_suspect") == 4


# ── signatures ──────────────────────────────────────────────────────────────────────────────


async def test_a_signature_is_bound_to_every_byte_and_to_the_installation(server, installation):
    body = installation.upload(installation.ping())
    other = await Installation.enrolled(server)
    good = installation.sign(body)
    forged = [
        good.replace(installation.id, other.id),
        good[:-1] + ("0" if good[-1] != "0" else "1"),
        good.replace("product=example", "product=nothing"),
        good.replace("key=k1", "key=k9"),
        installation.sign(body, path="/v1/enroll"),
        installation.sign(body, method="PUT"),
        installation.sign(body + b" "),
        other.sign(body).replace(other.id, installation.id),
        good.upper(),
        "",
        "v1",
        "v2" + good[2:],
    ]
    for signature in forged:
        answer = await post(f"{server.url}/v1/pings", body, {"Telemetry-Signature": signature})
        assert answer.status == 401, signature
    assert [await kept(server, each) for each in (installation, other)] == [0, 0]


@pytest.mark.parametrize("name", ["not json", "no pings", "one large ping", "not gzip", "brotli"])
async def test_a_refusal_of_what_was_signed_bears_a_receipt(server, installation, name):
    body, headers, status = HOSTILE[name]
    signed = headers | {"Telemetry-Signature": installation.sign(body)}
    answer = await post(f"{server.url}/v1/pings", body, signed)
    assert (answer.status, answer.json["status"]) == (status, status)
    assert answer.headers["Telemetry-Receipt"] == installation.receipt(body, answer.body)


@pytest.mark.parametrize("name", ["not json", "10 MB", "brotli"])
async def test_whoever_did_not_sign_gets_no_receipt(server, installation, name):
    body, headers, _ = HOSTILE[name]
    for signature in ("", installation.sign(b"something else")):
        answer = await post(f"{server.url}/v1/pings", body, headers | {"Telemetry-Signature": signature})
        assert answer.status in {401, 413}
        assert "Telemetry-Receipt" not in answer.headers


async def test_a_parent_can_be_named_only_with_its_own_secret(server, installation):
    body = json.dumps({"forked_from": installation.id}).encode()
    thief = await Installation.enrolled(server)
    authorization = {"Authorization": f"Bearer {server.product_key}"}
    stolen = await post(
        f"{server.url}/v1/enroll",
        body,
        authorization | {"Telemetry-Signature": thief.sign(body, "/v1/enroll")},
    )
    unsigned = await post(f"{server.url}/v1/enroll", body, authorization)
    assert (stolen.status, unsigned.status) == (401, 401)
    proven = await post(
        f"{server.url}/v1/enroll",
        body,
        authorization | {"Telemetry-Signature": installation.sign(body, "/v1/enroll")},
    )
    assert proven.status == 201
    rows = await server.fetch(
        "SELECT installation_id::text FROM lineage WHERE parent_id = $1", installation.id
    )
    assert [row["installation_id"] for row in rows] == [proven.json["installation_id"]]


async def test_an_identity_that_never_sends_a_ping_keeps_its_parent_for_30_days(make_server):
    server = make_server()
    installation = await Installation.enrolled(server)
    body = json.dumps({"forked_from": installation.id}).encode()
    headers = {
        "Authorization": f"Bearer {server.product_key}",
        "Telemetry-Signature": installation.sign(body, "/v1/enroll"),
    }
    enrolments = [(await post(f"{server.url}/v1/enroll", body, headers)).json for _ in range(3)]
    used, unused, recent = (Installation(server.url, enrolment) for enrolment in enrolments)
    assert (await used.send()).statuses == ["accepted"]
    await server.fetch(
        "UPDATE lineage SET enrolled_at = $2 WHERE installation_id = ANY ($1)",
        [UUID(used.id), UUID(unused.id)],
        datetime.now(UTC) - timedelta(days=31),
    )
    done = await asyncio.to_thread(server.command, "run", "forget enrolments")
    assert done["done"] == "removed 1 parents of identities that never sent a ping"
    kept = {str(row["installation_id"]) for row in await server.fetch("SELECT installation_id FROM lineage")}
    assert kept == {used.id, recent.id}


async def test_a_new_master_key_is_for_new_installations_and_the_old_one_goes_on(make_server):
    server = make_server()
    installation = await Installation.enrolled(server)
    assert installation.key == "k1"
    server.command("keyring", "rotate")
    assert (await installation.send()).status == 200

    async def with_the_new_key():
        copy = await Installation.enrolled(server)
        return copy.key == "k2" and copy

    newer = await until(with_the_new_key, every=0.1)
    assert (await newer.send()).status == 200
    assert (await installation.send()).status == 200


async def test_a_product_added_while_the_server_runs_is_served_at_once(server):
    added = server.command("product", "add", "Second Product")
    answer = await post(f"{server.url}/v1/enroll", b"{}", {"Authorization": f"Bearer {added['product_key']}"})
    assert (await Installation(server.url, answer.json).send()).statuses == ["accepted"]


# ── hostile bodies ──────────────────────────────────────────────────────────────────────────


def bomb():
    return gzip.compress(bytes(64 * 2**20))


HOSTILE = {
    "empty": (b"", {}, 400),
    "not json": (b"<xml/>", {}, 400),
    "not utf-8": (b'{"pings": ["\xff"]}', {}, 400),
    "NaN": (b'{"pings": [NaN]}', {}, 400),
    "infinity": (b'{"pings": [Infinity]}', {}, 400),
    "lone surrogate": (b'{"pings": ["\\ud800"]}', {}, 400),
    "deep": (b'{"pings": ' + b"[" * 200_000 + b"]" * 200_000 + b"}", {}, 400),
    "deep, and no upload": (b"[" * 200_000 + b"]" * 200_000, {}, 422),
    "array": (b"[]", {}, 422),
    "no pings": (b"{}", {}, 422),
    "empty pings": (b'{"pings": []}', {}, 422),
    "501 pings": (json.dumps({"pings": [{}] * 501}).encode(), {}, 422),
    "bad upload id": (b'{"pings": [{}], "upload_id": "x"}', {}, 422),
    "10 MB": (b" " * 10 * 2**20, {}, 413),
    "one large ping": (json.dumps({"pings": [{"x": "y" * 70_000}]}).encode(), {}, 413),
    "gzip bomb": (bomb(), {"Content-Encoding": "gzip"}, 413),
    "not gzip": (b"{}", {"Content-Encoding": "gzip"}, 400),
    "cut gzip": (gzip.compress(b"{}")[:-4], {"Content-Encoding": "gzip"}, 400),
    "two gzip members": (gzip.compress(b"{}") * 2, {"Content-Encoding": "gzip"}, 400),
    "zlib": (zlib.compress(b"{}"), {"Content-Encoding": "gzip"}, 400),
    "brotli": (b"{}", {"Content-Encoding": "br"}, 415),
}


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("path", ["/v1/pings", "/v1/enroll"])
async def test_a_hostile_body_gets_a_problem_document(server, installation, path, name):
    body, headers, status = HOSTILE[name]
    headers = headers | {
        "Telemetry-Signature": installation.sign(body, path),
        "Authorization": f"Bearer {server.product_key}",
    }
    answer = await post(server.url + path, body, headers)
    if path == "/v1/enroll":
        assert answer.status in {201, 400, 413, 415, 422}
        return
    assert answer.status == status, answer.body
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert {"type", "title", "status", "detail", "code"} <= set(answer.json)
    assert (await installation.send()).status == 200


NASTY = [
    "\u0000",
    "a\u0000b",
    "\u202e",
    "💥" * 100,
    "'; DROP TABLE pings; --",
    "{{7*7}}",
    "<script>alert(1)</script>",
    "x" * 10_000,
]


@pytest.mark.parametrize("text", NASTY, ids=range(len(NASTY)))
async def test_a_hostile_string_in_any_text_field_is_kept_whole_or_refused(server, installation, text):
    answer = await installation.send(
        installation.ping(boot_id=text),
        installation.ping(os={"name": text}),
        installation.ping(service={"version": text}),
        installation.ping(license={"status": "licensed", "source_detail": text}),
        installation.ping(usage={"features": {text: 1}}),
        installation.ping(**{f"x{text}": text}),
    )
    assert answer.status == 200
    assert set(answer.statuses) <= {"accepted", "rejected"}
    rows = await server.fetch("SELECT sequence FROM pings WHERE installation_id = $1", installation.id)
    assert {row["sequence"] for row in rows} == {
        r["sequence"] for r in answer.json["results"] if r["status"] == "accepted"
    }


@pytest.mark.parametrize("number", [0, -1, 2**53, 2**64, 1.5, True, "1", None, 1e308])
async def test_a_hostile_sequence_number_is_refused(installation, number):
    body = json.dumps({"pings": [make_ping(1) | {"sequence": number}]}).encode()
    answer = await installation.send_bytes(body)
    assert answer.statuses == ["rejected"]


async def test_the_largest_sequence_number_is_a_number(installation):
    answer = await installation.send(make_ping(2**53 - 1))
    assert answer.statuses == ["accepted"]
    assert answer.json["missing"] == [[1, 2**53 - 1]]


# ── sockets ─────────────────────────────────────────────────────────────────────────────────


async def raw(server, data, wait=8.0):
    host, port = server.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(data)
    try:
        return await asyncio.wait_for(reader.read(65536), wait)
    except TimeoutError:
        return None
    except ConnectionError:
        return b""
    finally:
        writer.close()


async def test_headers_that_take_longer_than_five_seconds_end_the_connection(server):
    answer = await raw(server, b"POST /v1/pings HTTP/1.1\r\nHost: x\r\nX-Slow")
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"\r\nConnection: close\r\n" in answer


async def test_a_body_that_does_not_come_is_answered_after_ten_seconds(server):
    head = b"POST /v1/pings HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{"
    answer = await raw(server, head, wait=14)
    assert answer.startswith(b"HTTP/1.1 408 ")


@pytest.mark.parametrize(
    "head",
    [
        b"POST /v1/pings HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        b"POST /v1/pings HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /v1/pings HTTP/1.1\r\nHost : x\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"POST /v1/pings HTTP/1.1\r\nHost: x\r\n" + b"X: y\r\n" * 5000 + b"\r\n",
        b"POST /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    ],
)
async def test_a_request_that_is_not_http_is_refused_and_the_server_goes_on(server, installation, head):
    answer = await raw(server, head)
    assert answer == b"" or (answer.startswith(b"HTTP/1.") and b" 4" in answer[:14])
    assert (await installation.send()).status == 200


async def test_unknown_paths_and_methods_are_problem_documents(server):
    async with aiohttp.ClientSession() as session:
        async with session.get(f"{server.url}/v1/pings") as answer:
            assert (answer.status, answer.headers["Content-Type"]) == (405, "application/problem+json")
            assert answer.headers["Allow"] == "POST"
        async with session.get(f"{server.url}/v2/nothing") as answer:
            assert (answer.status, answer.headers["Content-Type"]) == (404, "application/problem+json")


# ── rations and addresses ───────────────────────────────────────────────────────────────────


async def test_over_its_ration_an_installation_is_told_when_to_come_back(make_server):
    server = make_server(uploads_per_minute=5)
    installation = await Installation.enrolled(server)
    answers = [await installation.send() for _ in range(6)]
    assert [answer.status for answer in answers] == [200] * 5 + [429]
    assert 1 <= int(answers[5].headers["Retry-After"]) <= 12
    assert "Telemetry-Receipt" in answers[5].headers
    assert (await (await Installation.enrolled(server)).send()).status == 200


async def test_the_body_cannot_say_where_it_comes_from(server, installation):
    body = installation.upload(installation.ping(client_address="198.51.100.1", place={"country": "XX"}))
    headers = {
        "Telemetry-Signature": installation.sign(body),
        "X-Forwarded-For": "198.51.100.1",
        "Forwarded": "for=198.51.100.1",
    }
    assert (await post(f"{server.url}/v1/pings", body, headers)).status == 200
    assert await kept(server, installation, "host(client_address) = '127.0.0.1'") == 1


async def test_a_configured_proxy_is_believed_from_the_right(make_server):
    server = make_server(trusted_proxies="127.0.0.0/8, 10.0.0.0/8")
    installation = await Installation.enrolled(server)
    body = installation.upload(installation.ping())
    headers = {
        "Telemetry-Signature": installation.sign(body),
        "X-Forwarded-For": "198.51.100.1, 203.0.113.9, 10.1.2.3",
    }
    assert (await post(f"{server.url}/v1/pings", body, headers)).status == 200
    assert await server.fetchval("SELECT host(client_address) FROM pings") == "203.0.113.9"


async def test_addresses_are_never_stored_when_the_operator_says_so(make_server):
    server = make_server(address_retention_days=0)
    installation = await Installation.enrolled(server)
    assert (await installation.send()).status == 200
    assert await server.fetchval("SELECT count(client_address) FROM pings") == 0
    assert await server.fetchval("SELECT count(client_address) FROM installations") == 0
