"""What is shown of verdicts: in words that accuse nobody, with what they rest on, today's beside then's."""

import re
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser

import pytest
from installation import Installation

from telemetry_server.jobs.verdicts import judge_installations
from telemetry_server.keyring import license_key_digest
from telemetry_server.model import (
    Author,
    LicensePatch,
    LicenseRow,
    LicenseSource,
    LicenseStatus,
    Overage,
    Verdict,
)
from telemetry_server.show import verdicts
from telemetry_server.store.registry.license_changes import keep_licenses
from telemetry_server.store.registry.licenses import key_hashes
from telemetry_server.store.registry.products import add_product

ACCUSING = re.compile(r"pirat|illegal|stolen|crack|fraud|thief|theft|abus|violat", re.IGNORECASE)
LICENSE = {
    "product": "hosting",
    "source": "direct",
    "seats": 2,
    "seats_used": 5,
    "overage": "1.5x",
    "expires_at": datetime(2026, 11, 22, tzinfo=UTC),
    "time_zone": "UTC",
    "stale": False,
}


def row(verdict, **changes):
    first = {"claim_mismatch": False, "source_mismatch": False, "license_status": "licensed"}
    return {"verdict": verdict, "license_source": "gift"} | first | changes


@pytest.mark.parametrize("verdict", Verdict)
@pytest.mark.parametrize("license_", [None, LICENSE, LICENSE | {"seats": None, "expires_at": None}])
def test_every_verdict_says_what_it_rests_on_and_accuses_nobody(verdict, license_):
    sentences = verdicts.rests_on(row(verdict, claim_mismatch=True, source_mismatch=True), license_)
    assert len(sentences) == 3
    assert not ACCUSING.search(" ".join([*sentences, verdicts.verdict(verdict)]))
    assert all(sentence.endswith(".") for sentence in sentences)


@pytest.mark.parametrize("verdict", Verdict)
def test_who_may_not_see_licenses_reads_no_fact_of_one(verdict):
    mismatches = row(verdict, claim_mismatch=True, source_mismatch=True)
    hidden = LICENSE | {
        "product": "SECRET",
        "source": "SECRET",
        "seats": 987,
        "seats_used": 989,
        "stale": True,
    }
    said = " ".join(verdicts.rests_on(mismatches, hidden, licenses=False))
    assert not re.search(r"SECRET|98\d|2026|just changed", said)


def test_seats_and_days_are_those_of_the_license():
    said = lambda verdict: verdicts.rests_on(row(verdict), LICENSE)[0]  # noqa: E731
    assert said("over_seats") == "On the license: 5 copies. It has 2 seats, up to 1.5x of which are allowed."
    assert said("expired") == "The license was good through 2026-11-21."
    there = LICENSE | {"time_zone": "Europe/Berlin"}
    assert verdicts.rests_on(row("expired"), there)[0] == "The license expired on 2026-11-22 at 00:00 UTC."
    assert said("wrong_product") == "The key is that of a license for hosting."


def test_a_license_that_has_just_changed_says_so():
    assert "checked again" in verdicts.rests_on(row("valid"), LICENSE | {"stale": True})[-1]


# ── on the page and in the API ──────────────────────────────────────────────────────────────


class Text(HTMLParser):
    def __init__(self, html):
        super().__init__()
        self.words = []
        self.feed(html)

    def handle_data(self, data):
        self.words.append(data)

    def __str__(self):
        return " ".join(" ".join(self.words).split())


@pytest.fixture
async def judged(site):
    """A copy whose key the registry came to know after its ping, with fewer seats than that; its id."""
    product, key = await site.with_database(add_product, "Billing Suite", now=datetime.now(UTC))
    server = type("Server", (), {"url": site.url, "product_key": key})
    said = {"status": "licensed", "source": "gift", "key_digest": license_key_digest(product.slug, "KEY")}
    for _ in range(2):
        copy = await Installation.enrolled(server)
        await copy.send(copy.ping(license=said))

    async def keep(connection):
        from telemetry_server import app_keys

        hashes = await key_hashes(connection, site.app[app_keys.KEYRING], product.slug)
        patch = LicensePatch(seats=1, overage=Overage.HALF, source=LicenseSource.DIRECT)
        by, now = Author("a test"), datetime.now(UTC) + timedelta(seconds=1)
        await keep_licenses(connection, hashes, [LicenseRow(1, "KEY", None, patch)], by=by, now=now)
        await judge_installations(connection, now)

    await site.with_database(keep)
    return copy.id


async def test_the_api_tells_todays_verdict_apart_from_that_of_the_ping(site, judged):
    program = await site.program()
    one = (await program.get(f"/api/v1/installations/{judged}")).json
    [listed] = [
        item
        for item in (await program.get("/api/v1/installations")).json["items"]
        if item["installation_id"] == judged
    ]
    [ping] = (await program.get(f"/api/v1/pings?installation_id={judged}")).json["items"]
    [license_id] = (await site.execute("SELECT license_id FROM licenses"))[0]
    for item in (one, listed):
        assert (item["verdict"], item["claim_mismatch"], item["source_mismatch"]) == (
            "over_seats",
            False,
            True,
        )
        assert (item["license_id"], item["life"]) == (str(license_id), "new")
        assert item["judged_at"] > item["life_since"]
    assert (ping["verdict"], ping["claim_mismatch"], ping["source_mismatch"]) == ("unknown_key", True, False)


async def test_a_ping_from_before_the_registry_has_no_verdict(site, judged):
    await site.execute("UPDATE pings SET verdict_code = NULL, claim_mismatch = NULL, source_mismatch = NULL")
    [ping] = (await (await site.program()).get(f"/api/v1/pings?installation_id={judged}")).json["items"]
    assert (ping["verdict"], ping["claim_mismatch"], ping["source_mismatch"]) == (None, None, None)


async def test_the_pages_show_the_verdict_beside_the_claim(site, judged):
    person = await site.person()
    page = str(Text((await person.get(f"/installations/{judged}")).text))
    said = "On the license: 2 copies. It has 1 seat, up to 1.5x of which are allowed."
    assert f"over seats {said} names another source: gift" in page
    assert "2 of 1 seats" in page
    assert "claimed status licensed claimed source gift" in page
    evidence = str(Text((await person.get(f"/installations/{judged}?tab=evidence")).text))
    assert said in evidence
    assert "The copy says its license is from “gift”; the registry says “direct”." in evidence
    assert "2 of 1 seat taken" in evidence
    listed = str(Text((await person.get("/installations")).text))
    assert "over seats ≠ source" in listed


async def test_a_copy_that_waits_to_be_judged_is_not_shown_beside_the_license_it_had(site, judged):
    await site.execute("UPDATE installation_facts SET verdict = 'valid', judge_again = true")
    await site.execute("UPDATE licenses SET status = $1", LicenseStatus.REVOKED)
    page = str(Text((await (await site.person()).get(f"/installations/{judged}")).text))
    assert "Its license has not been looked up yet." in page
    assert "revoked" not in page
