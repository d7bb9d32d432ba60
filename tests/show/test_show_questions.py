"""The questions of docs/questions.md, walked from the overview by links and typed lines."""

import re
from html import unescape
from urllib.parse import quote

import pytest
from places import ROOT
from registry_pages import copies, words
from test_show_clear_up import list_it

from telemetry_server.model import Role

PAGE = (ROOT / "docs" / "questions.md").read_text()
ROWS = re.findall(r"^\| (\d+) \| ([^|]+) \| ([^|]*) \| ([^|]*) \|$", PAGE, re.MULTILINE)
WALKS = {int(number): walk for number, _, walk, _ in ROWS if "**" in walk}
STEP = re.compile(r"\*\*([^*]+)\*\*|`([^`]+)`")
LINK = re.compile(r'<a\b[^>]*\bhref="([^"]*)"[^>]*>(.*?)</a>', re.DOTALL)

ANSWERS = {
    1: r"…0001 .*2 of 1",
    2: r"over since \d{4}-",
    3: r"…0003",
    4: r"Expiring, in use …0003 .*1 seat in use",
    5: r"Next expiry ↓.*ada@example\.com.*\d{4}-",
    8: r"Unknown key …0008 .*2 copies",
    9: r"Unknown key …0008 .*\d network",
    10: r"Unknown key …0008 .*\d countr",
    12: r"Since .*Over seats …0001 ",
    15: r"Last ping .*Ada GmbH",
    18: r"Copies by verdict .*…0001",
    19: r"Copies on this license.*over seats",
    22: r"Technical contact ops@ada\.example",
    23: r"chargeback .*Status active → revoked",
    24: r"New license .*Show the difference",
    25: r"Import licenses .*Check the file",
    28: r"7\.1\.0 .*ended",
    29: r"sha256:abc",
    40: r"Pings, the newest first .*heartbeat",
    41: r"Pings, the newest first .*heartbeat",
    43: r"New link .*Valid for days",
    45: r"Explained until…",
    46: r"Invitations .*Role viewer",
}
"""What a reader finds at the end of each walk."""


@pytest.fixture
async def walker(site, product):
    """A person who may see all, and a registry and a fleet to ask about."""
    program = await site.program(Role.ADMIN)
    soon = (await site.execute("SELECT (now() + interval '9 days')::date::text AS day"))[0]["day"]
    customer = {"customer_company": "Ada GmbH", "customer_email": "ada@example.com"}
    customer |= {"customer_technical_contact": "ops@ada.example"}
    made = {}
    for key, fields in {
        "KEY-OVER-0001": {"seats": 1} | customer,
        "KEY-ENDS-0002": {},
        "KEY-SOON-0003": {"expires_at": soon} | customer,
    }.items():
        body = {"product": product.slug, "key": key} | fields
        made[key] = (await program.request("POST", "/api/v1/licenses", json=body)).json["license_id"]
    change = {"status": "revoked", "reason": "chargeback"}
    await program.request("PATCH", f"/api/v1/licenses/{made['KEY-ENDS-0002']}", json=change)
    for key, count in (("KEY-OVER-0001", 2), ("KEY-SOON-0003", 1), ("KEY-NONE-0008", 2)):
        await copies(site, product, key, count)
    await site.execute("UPDATE installation_facts SET country = 'DE', asn = '64496'")
    for version, until, builds in (("7.2.1", None, ["sha256:x"]), ("7.1.0", "2025-12-31", [])):
        await site.execute(
            "INSERT INTO releases (product_id, version, supported_until, builds) VALUES ($1, $2, $3::text::date, $4)",
            *(product.id, version, until, builds),
        )
    await list_it(site)
    return await site.person(Role.ADMIN)


async def walk(browser, steps):
    """The page at the end of the walk, with the number of its steps."""
    path, taken = "/", 0
    page = await browser.get(path)
    for link, line in STEP.findall(steps):
        taken += 1
        if line:
            path = f"{path.partition('?')[0]}?filter={quote(line)}"
        else:
            found = [href for href, text in LINK.findall(page.text) if words(text).startswith(link)]
            assert found, f"no link {link!r} at {path}"
            path = unescape(found[0])
        page = await browser.get(path)
        assert page.status == 200, (path, page.status)
    return page, taken


def test_every_walk_has_an_answer_and_is_short():
    assert set(WALKS) == set(ANSWERS)
    for number, _, steps, count in ROWS:
        if "**" in steps:
            assert len(STEP.findall(steps)) == int(count) <= 3, number


async def test_every_walk_ends_at_its_answer(walker):
    wrong = []
    for number, steps in WALKS.items():
        page, _ = await walk(walker, steps)
        if not re.search(ANSWERS[number], words(page.text)):
            wrong.append((number, words(page.text)[800:1700]))
    assert wrong == [], [number for number, _ in wrong]
