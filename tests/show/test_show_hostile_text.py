"""Characters that steer what is around them: DEL, C0, C1, line separators and bidirectional controls.

What a machine sends is kept with them written out, from people they are refused; so no page, no answer, no
export and no view has one.
"""

import hmac
import json
import os
import re
import subprocess
import sys
import time
import unicodedata
from base64 import b64encode
from datetime import UTC, datetime
from ipaddress import ip_network
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from installation import Installation
from mmdb_writer import MMDBWriter
from netaddr import IPSet
from patience import patient
from places import ROOT

from telemetry_server.check.fields import FieldType, load_registry
from telemetry_server.jobs.days import roll_up_days
from telemetry_server.jobs.fleet_now import count_the_fleet
from telemetry_server.jobs.pings import roll_up_pings
from telemetry_server.model import Role
from telemetry_server.routing import Access
from telemetry_server.show.routes import ROUTES
from telemetry_server.store.registry.products import add_product, good_keys
from telemetry_server.text import hidden_in, written_out

BIDI = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
STEERING = "".join(map(chr, [*range(1, 32), *range(127, 160)])) + "\u2028\u2029" + BIDI
ANY = re.compile(f"[{re.escape(STEERING)}]")
BUT_LINES = STEERING.translate(dict.fromkeys(map(ord, "\t\n\r")))
ANY_BUT_LINES = re.compile(f"[{re.escape(BUT_LINES)}]")
CHUNKS = [STEERING[at : at + 6] for at in range(0, len(STEERING), 6)]
ADDRESS = "203.0.113.9"
NAMED = "Ev" + BIDI + STEERING


def sent(chunk, longest):
    """Text of a field with as many of the characters as there is room for."""
    return ("a" + chunk + "b")[:longest]


def hostile_ping(installation, chunk, under=None):
    """Under the notice in force, as of any other only the fields of a license are kept."""
    ping = installation.ping()
    notice = ping["privacy"]["notice_version"]
    for field in load_registry().fields.values():
        if field.kind is FieldType.STRING and field.carrier == "ping":
            holder = ping[field.section] if field.section else ping
            holder[field.name] = sent(chunk, field.max_length)
    ping["privacy"]["notice_version"] = under or notice
    return ping


@pytest.fixture
async def site(open_site, tmp_path):
    """A server whose databases of addresses are hostile, too."""
    (tmp_path / "geoip").mkdir()
    places = {
        "city": {"names": {"en": NAMED}},
        "subdivisions": [{"names": {"en": NAMED}}],
        "country": {"iso_code": "DE"},
    }
    operators = {"autonomous_system_number": 64500, "autonomous_system_organization": NAMED}
    for kind, record in {"city": places, "asn": operators}.items():
        writer = MMDBWriter(6, f"Evil\u202e\x9b{kind}", ["en"], "test", ipv4_compatible=True)
        writer.insert_network(IPSet(["203.0.113.0/24"]), record)
        writer.to_db_file(str(tmp_path / "geoip" / f"{kind}.mmdb"))
    async with open_site(trusted_proxies=(ip_network("127.0.0.0/8"),)) as site:
        yield site


@pytest.fixture
async def reported(site):
    """An installation that sent each of the characters in each field that is a string."""
    product, _ = await site.with_database(add_product, "Billing Suite", now=datetime.now(UTC))
    site.product_key = (await site.with_database(good_keys))[product.id][0]
    installation = await Installation.enrolled(site)
    document = {
        "sdk": {"name": sent(STEERING, 64), "version": sent(BIDI, 64)},
        "pings": [
            *[hostile_ping(installation, chunk) for chunk in CHUNKS],
            *[hostile_ping(installation, chunk, under=sent(chunk, 64)) for chunk in CHUNKS],
        ],
    }
    body = json.dumps(document).encode()
    headers = {"Telemetry-Signature": installation.sign(body), "X-Forwarded-For": ADDRESS}
    answer = await site.client(**headers).request("POST", "/v1/pings", data=body)
    assert {result["status"] for result in answer.json["results"]} == {"accepted"}
    copied = Installation(
        site.url,
        {
            "installation_id": installation.id,
            "secret": "",
            "key": "",
            "product": "",
            "notice": installation.notice,
        },
    )
    forked = json.dumps({"pings": [hostile_ping(copied, BIDI)]}).encode()
    answer = await site.client(**headers | {"Telemetry-Signature": installation.sign(forked)}).request(
        "POST", "/v1/pings", data=forked
    )
    assert answer.json["results"][0]["status"] == "forked"
    for job in (roll_up_pings(load_registry()), roll_up_days(load_registry()), count_the_fleet()):
        await site.with_database(job, datetime.now(UTC))
    return installation


def texts(value):
    """Every text in a JSON document, names of members among them."""
    if isinstance(value, dict):
        for name, each in value.items():
            yield name
            yield from texts(each)
    elif isinstance(value, list):
        for each in value:
            yield from texts(each)
    elif isinstance(value, str):
        yield value


def steering_in(answer):
    """What is wrong with an answer: the number of the first of the characters, and what is before it."""
    found = ANY_BUT_LINES.search(answer.text)
    if found is None and answer.headers["Content-Type"].partition(";")[0].endswith(("/json", "+json")):
        found = ANY_BUT_LINES.search("".join(texts(answer.json)))
    return found and (f"U+{ord(found[0]):04X}", found.string[max(found.start() - 80, 0) : found.start()])


async def test_no_view_and_no_table_has_one(site, reported):
    views = await site.execute(
        "SELECT viewname FROM pg_views WHERE viewname LIKE 'v\\_%' AND schemaname = 'public'"
    )
    tables = await site.execute(
        "SELECT relname FROM pg_class WHERE relkind IN ('r', 'p') AND relnamespace = 'public'::regnamespace"
    )
    names = [row[0] for row in (*views, *tables)]
    assert {"v_installations", "v_pings", "v_changes", "states", "fleet_now"} <= set(names)
    rows = 0
    for name in names:
        for [row] in await site.execute(f"SELECT r::text FROM {name} AS r"):
            rows += 1
            assert not ANY.search(row), name
    assert rows > 100


async def test_what_was_sent_is_kept_with_the_characters_written_out(site, reported):
    [version] = await site.execute(
        "SELECT service_version, organisation, city, place_source FROM v_installations"
    )
    assert version["service_version"] == written_out(sent(CHUNKS[-1], 64))
    assert version["organisation"].startswith("Ev\\u061c\\u200e\\u200f\\u202a")
    assert len(version["organisation"]) == 256
    assert "Evil\\u202e\\u009bcity" in version["place_source"]


async def test_no_page_and_no_answer_has_one(site, reported):
    person, program = await site.person(Role.ADMIN), await site.program(Role.ADMIN)
    seen = {}
    for route in ROUTES:
        if route.method != "GET" or route.access is Access.PUBLIC or "export" in route.path:
            continue
        if route.path == "/account/passkeys/new":  # of people with an account; this one came by a link
            continue
        path = re.sub(
            r"\{\w+\}",
            "019ab6f0-3c1e-7d2a-9b1e-5f0c2a7d9e11",
            route.path.replace("{installation_id}", reported.id),
        )
        answer = await (person if route.page else program).get(path)
        assert answer.status == 200 or ("{" in route.path and answer.status == 404), (path, answer.text)
        seen[path] = steering_in(answer)
    assert len(seen) > 15
    assert {path: found for path, found in seen.items() if found} == {}


async def test_pages_show_the_characters_as_numbers(site, reported):
    viewer = await site.person()
    for path in ("/", "/installations", f"/installations/{reported.id}"):
        page = (await viewer.get(path)).text
        assert "\\u2069" in page, path
    assert written_out(sent(CHUNKS[-1], 64)) in (await viewer.get("/installations")).text


async def test_no_export_has_one(site, reported):
    program = await site.program(Role.ADMIN)
    for what in ("installations", "pings", "changes", "installation-days", "fleet-days", "feature-days"):
        for form in ("csv", "ndjson"):
            answer = await program.get(f"/api/v1/export/{what}?format={form}&columns=all")
            assert answer.status == 200, answer.text
            assert len(answer.text.splitlines()) > (form == "csv")
            assert steering_in(answer) is None, (what, form)


ASKED = quote("a" + BIDI + "\x7f\x85\x9b\u2028b")


ECHOES = [
    f"/installations?filter=os%3D{ASKED}",
    f"/installations?version={ASKED}",
    f"/installations?q={ASKED}",
    f"/installations?{ASKED}=1",
    f"/installations/{ASKED}",
    f"/?product={ASKED}",
    f"/intake?product={ASKED}&range={ASKED}",
    f"/sign-in?token={ASKED}&next=/{ASKED}",
    f"/nowhere/{ASKED}",
    f"/api/v1/installations?filter=os%3D{ASKED}",
    f"/api/v1/installations?{ASKED}=1",
    f"/api/v1/installations?product={ASKED}",
    f"/api/v1/installations/{ASKED}",
    f"/api/v1/pings?since={ASKED}",
]


async def test_what_was_asked_for_is_not_given_back_as_it_was(site, reported):
    program, person = await site.program(), await site.person()
    for path in ECHOES:
        answer = await (program if path.startswith("/api") else person).get(path)
        assert answer.status < 500
        assert steering_in(answer) is None, path


# ── from people ─────────────────────────────────────────────────────────────────────────────

OF_A_LICENSE = ["key", "source_detail", "order_reference", "edition", "customer_name", "customer_company",
                "customer_tax_id", "customer_technical_contact", "customer_email", "reason"]  # fmt: skip
LICENSE = {"key": "ABCD-EFGH-1234", "source": "marketplace", "customer_email": "ada@example.com"}


async def test_text_of_a_license_with_one_is_refused_by_its_number(site, product):
    admin = await site.program(Role.ADMIN)
    for name in (*OF_A_LICENSE, "domains", "directories", "custom"):
        for character in "\x7f\x9b\u202e\u2067":
            hostile = f"ada{character}x@example.com"
            listed = {"custom": {"note": hostile}, "domains": [hostile], "directories": ["/srv/" + hostile]}
            document = LICENSE | {"product": product.slug, name: listed.get(name, hostile)}
            answer = await admin.request("POST", "/api/v1/licenses", json=document)
            assert answer.status == 422, (name, answer.text)
            assert f"U+{ord(character):04X}" in answer.text, name
            assert steering_in(answer) is None


def run(*arguments, dsn, data):
    environment = os.environ | {"TELEMETRY_DATABASE_URL": dsn, "TELEMETRY_DATA": str(data)}
    return subprocess.run(
        [sys.executable, "-m", "telemetry_server", *arguments],
        cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=patient(60),
    )  # fmt: skip


@pytest.mark.parametrize(
    "arguments",
    [("product", "add", "Bill\u202eing"), ("token", "create", "--role", "viewer", "--label", "a\x9bb")],
)
def test_a_name_given_to_a_command_has_none(database, tmp_path, arguments):
    done = run(*arguments, dsn=database, data=tmp_path)
    assert done.returncode == 2
    assert "on one line" in done.stderr


async def test_a_message_of_the_shop_with_one_is_refused(open_site, product):
    webhook_secret = bytes(32)
    async with open_site(shop_webhook_secret=(webhook_secret,)) as site:
        data = {"product": product.slug, "key": "ABCD-EFGH-12\u202e34"}
        body = json.dumps({"type": "license.created", "data": data}).encode()
        now = str(int(time.time()))
        mac = b64encode(hmac.digest(webhook_secret, f"m1.{now}.".encode() + body, "sha256")).decode()
        headers = {"webhook-id": "m1", "webhook-timestamp": now, "webhook-signature": f"v1,{mac}"}
        answer = await site.client(**headers).request("POST", "/webhooks/shop", data=body)
        assert answer.status == 422, answer.text
        assert answer.json["errors"][0]["pointer"] == "/data/key"


# ── the one place ───────────────────────────────────────────────────────────────────────────


def is_steering(character):
    return unicodedata.category(character) in {"Cc", "Zl", "Zp"} or (
        unicodedata.bidirectional(character)
        in {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
        or character in "\u061c\u200e\u200f"
    )


def test_the_characters_are_those_that_unicode_says_steer():
    every = [chr(number) for number in range(0x110000)]
    assert {one for one in every if written_out(one) != one} == {one for one in every if is_steering(one)}
    assert {one for one in every if written_out(one, lines=True) != one} == set(
        filter(is_steering, every)
    ) - set("\t\n\r")
    hidden = {one for one in every if hidden_in(one)}
    assert hidden == {one for one in every if is_steering(one) or unicodedata.category(one) == "Cs"} - set(
        "\t\n\r"
    )


@given(st.text())
def test_written_out_text_has_none_and_no_other_changes(text):
    written = written_out(text)
    assert written_out(written) == written
    assert not any(map(is_steering, written))
    assert written == "".join(f"\\u{ord(one):04x}" if is_steering(one) else one for one in text)
