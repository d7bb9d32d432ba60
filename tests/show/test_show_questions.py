"""The questions of docs/questions.md, walked from the overview by links and typed lines."""

import re
from datetime import UTC, datetime, timedelta
from html import unescape
from types import SimpleNamespace
from urllib.parse import quote

import pytest
from installation import Installation
from places import ROOT
from registry_pages import copies, words
from test_show_clear_up import list_it

from telemetry_server.check.fields import load_registry
from telemetry_server.jobs.active import count_active_copies
from telemetry_server.jobs.days import roll_up_days
from telemetry_server.jobs.pings import roll_up_pings
from telemetry_server.jobs.verdicts import judge_installations
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
    11: r"verdict =revoked .*Germany 1 ",
    12: r"Since .*Over seats …0001 ",
    13: r"valid over seats worse 2 ",
    15: r"Last ping .*Ada GmbH",
    17: r"Outages .*2 h",
    18: r"Copies by verdict .*…0001",
    19: r"Copies on this license.*over seats",
    22: r"Technical contact ops@ada\.example",
    23: r"chargeback .*Status active → revoked",
    24: r"New license .*Show the difference",
    25: r"Import licenses .*Check the file",
    28: r"7\.1\.0 .*ended",
    29: r"sha256:abc",
    30: r"12 weeks .*invoice\.created 100\.0 %",
    31: r"Share of copies by edition .*unknown.*invoice\.created",
    32: r"Share of copies by verdict .*unknown key.*invoice\.created",
    33: r"Share of copies by life .*invoice\.created",
    34: r"invoice\.created 100\.0 %",
    35: r"Retention .*Week of \+1 .*4 copies 75 %",
    36: r"Days after the first ping, on average .*trial licensed 1 ",
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
    for key, count in (
        ("KEY-OVER-0001", 2),
        ("KEY-SOON-0003", 1),
        ("KEY-NONE-0008", 2),
        ("KEY-ENDS-0002", 1),
    ):
        await copies(site, product, key, count, judged=False)
    await from_trial_to_license(site)
    for _ in range(2):
        await site.with_database(judge_installations, datetime.now(UTC))
    await site.execute("UPDATE installation_facts SET country = 'DE', asn = '64496'")
    for version, until, builds in (("7.2.1", None, ["sha256:x"]), ("7.1.0", "2025-12-31", [])):
        await site.execute(
            "INSERT INTO releases (product_id, version, supported_until, builds) VALUES ($1, $2, $3::text::date, $4)",
            *(product.id, version, until, builds),
        )
    now = datetime.now(UTC)
    await site.execute(
        "INSERT INTO outages VALUES ($1, $2)", now - timedelta(hours=3), now - timedelta(hours=1)
    )
    for job in (roll_up_pings, roll_up_days, count_active_copies):
        await site.with_database(job(load_registry()), now)
    monday = now.date() - timedelta(days=now.weekday() + 14)
    for weeks, active in enumerate((4, 3)):
        await site.execute(
            "INSERT INTO cohort_weeks VALUES ($1, $2, $3, $4, 0, 0)",
            *(product.id, monday, monday + timedelta(weeks=weeks), active),
        )
    await list_it(site)
    return await site.person(Role.ADMIN)


async def from_trial_to_license(site):
    """A copy that was a trial, and then said that it is licensed."""
    [row] = await site.execute("SELECT product_key FROM product_keys")
    copy = await Installation.enrolled(SimpleNamespace(url=site.url, product_key=row["product_key"]))
    for status in ("trial", "licensed"):
        await copy.send(copy.ping(license={"status": status}))


class Walker:
    """Walks by links and typed lines, and looks at each page once: nothing changes meanwhile."""

    def __init__(self, browser):
        self.browser, self.seen = browser, {}

    async def look(self, path):
        if path not in self.seen:
            answer = await self.browser.get(path)
            assert answer.status == 200, (path, answer.status)
            self.seen[path] = answer.text
        return self.seen[path]

    async def walk(self, steps):
        """The page at the end."""
        path, page = "/", await self.look("/")
        for link, line in STEP.findall(steps):
            if line:
                path = f"{path.partition('?')[0]}?filter={quote(line)}"
            else:
                found = [href for href, text in LINK.findall(page) if words(text).startswith(link)]
                assert found, f"no link {link!r} at {path}"
                path = unescape(found[0])
            page = await self.look(path)
        return page


def test_every_walk_has_an_answer_and_is_short():
    assert set(WALKS) == set(ANSWERS)
    for number, _, steps, count in ROWS:
        if "**" in steps:
            assert len(STEP.findall(steps)) == int(count) <= 3, number


async def test_every_walk_ends_at_its_answer(walker):
    wrong, walker = [], Walker(walker)
    for number, steps in WALKS.items():
        page = words(await walker.walk(steps))
        if not re.search(ANSWERS[number], page):
            wrong.append((number, page[800:1700]))
    assert wrong == [], [number for number, _ in wrong]


def test_forty_questions_are_answered_in_three_steps():
    assert len([count for _, _, _, count in ROWS if count and int(count) <= 3]) >= 40
