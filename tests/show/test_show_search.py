"""One text searched in everything, by people with and without the right to see what it finds."""

from datetime import UTC, datetime
from urllib.parse import quote

import pytest

from telemetry_server.keyring import open_keyring
from telemetry_server.model import Author, CustomerPatch, LicensePatch, LicenseRow, Role
from telemetry_server.permissions import Permission
from telemetry_server.store.access.credentials import Limits, create_token
from telemetry_server.store.counts.active_days import replace_operators
from telemetry_server.store.registry.license_changes import keep_licenses
from telemetry_server.store.registry.licenses import key_hashes


@pytest.fixture
async def program(site, fleet):
    return await site.program(Role.ADMIN)


async def found(program, text):
    answer = await program.get(f"/api/v1/search?q={quote(text)}")
    assert answer.status == 200, answer.text
    return answer.json


async def filters(program, text):
    return {
        hit["filter"]: hit["count"] for hit in (await found(program, text))["suggestions"] if hit["filter"]
    }


async def counted(program, text):
    rows = (await program.get(f"/api/v1/installations?limit=500&filter={quote(text)}")).json["items"]
    return len(rows)


async def keep_license(site, tmp_path, key, **patch):
    async def keep(connection):
        [product, *_] = await connection.fetch("SELECT slug FROM products")
        hashes = await key_hashes(connection, open_keyring(tmp_path / "another.json"), product["slug"])
        row = LicenseRow(1, key, None, LicensePatch(**patch))
        batch = await keep_licenses(connection, hashes, [row], by=Author("a test"), now=datetime.now(UTC))
        return batch.rows[0].license_id

    return str(await site.with_database(keep))


async def test_an_installation_is_found_by_its_id_and_by_its_beginning(program, fleet):
    answer = await found(program, str(fleet[0]).upper())
    assert (answer["taken_for"], answer["exact"]["kind"], answer["exact"]["id"]) == (
        "id",
        "installation",
        str(fleet[0]),
    )
    beginning = str(fleet[0])[:13]
    assert (await filters(program, beginning))[f"id={beginning}"] == await counted(program, f"id={beginning}")


@pytest.mark.parametrize(
    ("text", "taken_for", "term"),
    [
        ("revoked", "value", "verdict=revoked"),
        ("unlicensed", "value", "status=unlicensed"),
        ("debian", "words", "os=debian"),
        ("DE", "value", "country=DE"),
        ("AS24940", "number of an operator", "asn=24940"),
        ("7.2.1", "version", "version=7.2.1"),
        ("7.2.*", "version", "version=7.2.*"),
        ("version:7.2.*", "filter", "version=7.2.*"),
    ],
)
async def test_values_suggest_the_installations_that_have_them(program, fleet, text, taken_for, term):
    count = await counted(program, term)
    answer = await found(program, text)
    if count:
        assert answer["taken_for"] == taken_for
    assert (await filters(program, text)).get(term, 0) == count


async def test_an_address_and_its_network(program, site, fleet):
    await site.execute(
        "UPDATE installations SET client_address = '198.51.100.77' WHERE installation_id = $1", fleet[0]
    )
    assert await filters(program, "198.51.100.77") == {"address=198.51.100.77": 1}
    network = "network=198.51.100.64/26"
    assert await filters(program, "198.51.100.64/26") == {network: await counted(program, network)}
    await site.execute("INSERT INTO hostnames VALUES ('198.51.100.77', 'Box.Example.net', now())")
    assert await filters(program, "example.net") == {"address=198.51.100.77": 1}
    assert await filters(program, "xample.net") == {}


async def test_an_operator_is_found_by_a_part_of_its_name(program, site, fleet):
    await site.with_database(replace_operators)
    [row] = await site.execute(
        "SELECT asn, organisation, installations FROM operators ORDER BY installations DESC LIMIT 1"
    )
    part = row["organisation"].split()[0]
    assert (await filters(program, part))[f"asn={row['asn']}"] == await counted(program, f"asn={row['asn']}")


async def test_licenses_and_customers(program, site, fleet, tmp_path):
    customer = CustomerPatch(email="ann@example.org", company="Example Hosting GmbH", name="Ann Lee")
    license_id = await keep_license(site, tmp_path, "ABCD-7Q2M", customer=customer, order_reference="R-77 b")
    assert (await found(program, license_id))["exact"]["kind"] == "license"
    for text in ("7Q2M", "R-77 b"):
        assert license_id in {hit["id"] for hit in (await found(program, text))["suggestions"]}
    for text in ("ann@example.org", "@example.org", "example.org", "host exam", "Lee", "gmbh"):
        hits = (await found(program, text))["suggestions"]
        assert ("customer", "Example Hosting GmbH", 1) in {
            (hit["kind"], hit["label"], hit["count"]) for hit in hits
        }
    assert (await found(program, "ann@example.org"))["exact"]["kind"] == "customer"
    assert (await found(program, "ting"))["suggestions"] == []


async def test_who_may_not_see_it_does_not_find_by_it(site, fleet, tmp_path):
    customer = CustomerPatch(email="ann@example.org", company="Example Hosting GmbH")
    license_id = await keep_license(site, tmp_path, "ABCD-7Q2M", customer=customer)
    await site.execute(
        "UPDATE installations SET client_address = '198.51.100.77' WHERE installation_id = $1", fleet[0]
    )
    await site.execute("INSERT INTO hostnames VALUES ('198.51.100.77', 'box.example.net', now())")
    limits = Limits(scopes=frozenset({Permission.INSTALLATIONS}))
    token = await site.with_database(create_token, Role.ADMIN, "x", None, limits, now=datetime.now(UTC))
    program = site.client(Authorization=f"Bearer {token}")
    for text in (
        license_id,
        "7Q2M",
        "ann@example.org",
        "Example",
        "198.51.100.77",
        "198.51.100.64/26",
        "example.net",
    ):
        assert (await found(program, text))["suggestions"] == [], text
    for text in ("address=198.51.100.77", "network=198.51.100.64/26"):
        assert (await found(program, text))["suggestions"] == []
        answer = await program.get(f"/api/v1/installations?filter={quote(text)}")
        assert (answer.status, answer.json["code"]) == (400, "bad_filter")
    assert (await program.get("/api/v1/installations?filter=network%3D198.51.100.0/24")).status == 200
    assert (await found(program, str(fleet[0])))["exact"]["id"] == str(fleet[0])


async def test_a_search_is_recorded_and_one_without_a_text_finds_nothing(program, site, fleet):
    assert await found(program, " ") == {"taken_for": None, "exact": None, "suggestions": []}
    assert (await program.get("/api/v1/search")).json["suggestions"] == []
    [action] = await site.execute("SELECT DISTINCT action FROM audit_entries WHERE action LIKE 'search%'")
    assert action["action"] == "search.list"


@pytest.mark.parametrize(
    "text", ["'; DROP TABLE pings; --", "a & b | !", "%_%", "\\", "<script>", "x" * 200, "::1", "*"]
)
async def test_any_text_may_be_searched(program, fleet, text):
    await found(program, text)
