"""Places as people see them: approximate, with where the knowledge is from; on pages, in the API, in exports."""

import json
import os
from datetime import UTC, datetime
from ipaddress import ip_network
from types import SimpleNamespace

import pytest
from installation import Installation, post

PLACE = {
    "country": "DE",
    "region": "Bavaria",
    "city": "Munich",
    "asn": 64500,
    "organisation": "Example Networks",
    "source": "DB-IP Lite city + DB-IP Lite ASN",
    "built_on": "2026-11-01",
    "prefix_length": 24,
    "hosting": False,
    "hosting_source": "hosting.txt 2026-11",
}


@pytest.fixture
async def site(open_site, tmp_path):
    (tmp_path / "geoip").mkdir()
    file = tmp_path / "geoip" / "hosting.txt"
    file.write_text("192.0.2.0/24\n")
    os.utime(file, (datetime(2026, 11, 20, tzinfo=UTC).timestamp(),) * 2)
    async with open_site(trusted_proxies=(ip_network("127.0.0.0/8"),)) as site:
        yield site


@pytest.fixture
async def copy(site, product):
    """An installation in a hosting provider's network."""
    [row] = await site.execute("SELECT product_key FROM product_keys")
    copy = await Installation.enrolled(SimpleNamespace(url=site.url, product_key=row["product_key"]))
    await ping_from(copy, "192.0.2.7")
    return copy


async def ping_from(copy, address):
    body = copy.upload(copy.ping())
    headers = {"Telemetry-Signature": copy.sign(body), "X-Forwarded-For": address}
    assert (await post(f"{copy.url}/v1/pings", body, headers)).status == 200


async def test_whether_it_is_hosting_is_known_from_the_first_ping_and_noted_when_it_changes(site, copy):
    program = await site.program()
    path = f"/api/v1/installations/{copy.id}"
    place = (await program.get(path)).json["place"]
    assert (place["hosting"], place["hosting_source"]) == (True, "hosting.txt 2026-11")
    assert place["country"] is None
    await ping_from(copy, "203.0.113.7")
    assert (await program.get(path)).json["place"]["hosting"] is False
    [row] = await site.execute("SELECT hosting FROM installation_facts")
    assert row["hosting"] is False
    changes = await site.execute("SELECT before, after FROM changes WHERE field LIKE 'place.%'")
    assert [tuple(row) for row in changes] == [("true", "false")]


async def test_a_place_is_called_approximate_with_its_sources_wherever_it_is_shown(site, copy):
    await site.execute("UPDATE states SET place = $1", json.dumps(PLACE))
    person = await site.person()
    shown = "approximate, DB-IP Lite city + DB-IP Lite ASN 2026-11, /24"
    page = (await person.get(f"/installations/{copy.id}")).text
    assert shown in page
    for word in ("Bavaria", "Munich", "Example Networks", "no, by <bdi>hosting.txt 2026-11</bdi>"):
        assert word in page
    assert shown in (await person.get("/installations")).text
    assert "countries are approximate" in (await person.get("/")).text
    assert (await (await site.program()).get(f"/api/v1/installations/{copy.id}")).json["place"] == PLACE


async def test_only_hosting_is_a_place_too_and_nothing_at_all_is_none(site, copy):
    person = await site.person()
    page = (await person.get(f"/installations/{copy.id}")).text
    assert "yes, by <bdi>hosting.txt 2026-11</bdi>" in page
    assert "Not known." not in page
    await site.execute("UPDATE states SET place = place - 'hosting_source'")
    assert "<dd>yes</dd>" in (await person.get(f"/installations/{copy.id}")).text
    await site.execute("UPDATE states SET place = '{}'")
    assert "Not known." in (await person.get(f"/installations/{copy.id}")).text


async def test_a_hostname_is_shown_as_what_the_dns_says(site, copy):
    program, person = await site.program(), await site.person()
    path = f"/api/v1/installations/{copy.id}"
    assert (await program.get(path)).json["hostname"] is None
    await site.execute("INSERT INTO hostnames VALUES ('192.0.2.7', 'host7.example.net', now())")
    item = (await program.get(path)).json
    assert (item["hostname"], bool(item["hostname_looked_up_at"])) == ("host7.example.net", True)
    assert "<bdi>host7.example.net</bdi>, by DNS" in (await person.get(f"/installations/{copy.id}")).text
    await site.execute("UPDATE installations SET client_address = '192.0.2.0/24'")
    assert (await program.get(path)).json["hostname"] is None


async def test_another_build_of_a_database_is_no_change_of_the_copy(site, copy):
    await site.execute("UPDATE states SET place = $1", json.dumps(PLACE))
    await ping_from(copy, "203.0.113.7")
    newer = PLACE | {"built_on": "2026-12-01", "hosting_source": "hosting.txt 2026-12", "city": "Augsburg"}
    await site.execute(
        "UPDATE states SET place = $1 WHERE state = (SELECT state FROM installations)", json.dumps(newer)
    )
    page = (await (await site.person()).get(f"/installations/{copy.id}?tab=pings")).text
    changed = page.split('id="history"')[1]
    assert "Augsburg" in changed
    assert "hosting_source" not in changed
    assert "built_on" not in changed


@pytest.mark.parametrize("view", ["v_installations", "v_pings"])
async def test_views_and_so_exports_tell_a_place_and_where_it_is_from(site, copy, view):
    await site.execute("UPDATE states SET place = $1", json.dumps(PLACE))
    await site.execute("UPDATE installation_facts SET country = 'DE', asn = '64500', hosting = false")
    [row] = await site.execute(f"SELECT * FROM {view}")
    columns = ("country", "region", "city", "asn", "organisation", "hosting", "hosting_source")
    assert {name: row[name] for name in columns} == {name: PLACE[name] for name in columns}
    assert (row["place_source"], str(row["place_built_on"]), row["place_prefix_length"]) == (
        PLACE["source"],
        PLACE["built_on"],
        24,
    )
