"""Requests, holds, restrictions, disclosures and the breach kit on their pages, as privacy officers use them."""

import io
import json
import re
import zipfile
from datetime import UTC, datetime, timedelta

import pytest
from test_show_permissions import Person

from telemetry_server.check.licenses.columns import customer_patch
from telemetry_server.model import Author, Role
from telemetry_server.store.access import credentials, disclosures
from telemetry_server.store.registry.customers import create_customer


class Officer:
    """A signed-in privacy officer."""

    def __init__(self, browser):
        self.browser = browser

    async def look(self, where=""):
        return (await self.browser.get(f"/privacy/office{where}")).text

    async def send(self, where, **form):
        token = re.search(r'name="csrf_token" value="(\w+)"', await self.look())[1]
        return await self.browser.post(f"/privacy/office{where}", csrf_token=token, **form)


@pytest.fixture
async def officer(site):
    return Officer(await site.person(Role.PRIVACY_OFFICER))


@pytest.fixture
async def customer(site):
    patch, _ = customer_patch({"email": "ada@example.com", "company": "<b>Lovelace</b>"})
    return await site.with_database(create_customer, patch, by=Author("a test"), now=datetime.now(UTC))


async def test_a_request_is_filed_corrected_and_answered(officer, customer):
    long_ago = f"{datetime.now(UTC) - timedelta(days=40):%Y-%m-%d}"
    form = {
        "kind": "rectification",
        "subject": "ada@example.com",
        "received": long_ago,
        "note": "<i>call</i>",
    }
    filed = await officer.send("/requests", **form)
    assert filed.status == 303
    path = filed.headers["Location"].removeprefix("/privacy/office")
    assert "overdue since" in await officer.look()
    shown = await officer.look(path)
    assert "&lt;i&gt;call&lt;/i&gt;" in shown
    assert "&lt;b&gt;Lovelace&lt;/b&gt;" in shown
    assert (await officer.send(path, step="extend")).status == 422
    corrected = await officer.send(path, step="correct", email="ada@lovelace.example", company="Lovelace")
    assert corrected.status == 303
    assert "ada@lovelace.example" in await officer.look(path)
    refused = await officer.send(path, step="refused")
    assert (refused.status, "A refusal names its ground" in refused.text) == (422, True)
    assert (await officer.send(path, step="answered", note="by letter")).status == 303
    assert "Every request is answered." in await officer.look("/requests")
    wrong = await officer.send("/requests", kind="access", subject="nobody@example.com")
    assert (wrong.status, "There is no customer" in wrong.text) == (422, True)


async def test_a_hold_needs_two_accounts(site, officer, customer):
    ann, bob = [Officer((await Person(site, Role.PRIVACY_OFFICER, None).arrive()).browser) for _ in range(2)]
    ends = f"{datetime.now(UTC) + timedelta(days=90):%Y-%m-%d}"
    form = {"subject": "ada@example.com", "ground": "claim <4711>", "expires": ends, "tables": "customers"}
    without = await officer.send("/holds", **form)
    assert (without.status, "people with accounts" in without.text) == (422, True)
    assert (await ann.send("/holds", **form)).status == 303
    shown = await ann.look("/holds")
    assert "claim &lt;4711&gt;" in shown
    path = re.search(r"/holds/[\w-]{36}", shown)[0]
    own = await ann.send(path, step="confirm")
    assert (own.status, "another person has to confirm it" in own.text) == (422, True)
    assert (await bob.send(path, step="confirm")).status == 303
    assert "in force" in await bob.look("/holds")
    assert (await bob.send(path, step="release", reason="settled")).status == 303
    assert "released" in await bob.look("/holds")


async def test_a_restriction_begins_and_ends_with_a_reason(site, officer, customer):
    analyst = await site.person(Role.INVESTIGATOR)
    assert "Lovelace" in (await analyst.get("/customers")).text
    form = {"subject": "ada@example.com", "reason": "accuracy contested"}
    assert (await officer.send("/restrictions", step="restrict", **form)).status == 303
    assert "accuracy contested" in await officer.look("/holds")
    assert "Lovelace" not in (await analyst.get("/customers")).text
    assert (await analyst.get(f"/customers/{customer.customer_id}")).status == 404
    again = await officer.send("/restrictions", step="restrict", **form)
    assert (again.status, "restricted already" in again.text) == (422, True)
    assert (await officer.send("/restrictions", step="withdraw", **form)).status == 303
    assert "Lovelace" in (await analyst.get("/customers")).text


async def test_a_portable_link_to_another_controller_is_a_disclosure(site, officer, customer):
    shown = await officer.send("/links", subject="ada@example.com", portable="yes", recipient="Babbage & Co")
    token = re.search(r"/privacy/access\?token=([\w-]+)", shown.text)[1]
    answer = await site.client().post("/privacy/access", token=token)
    assert json.loads(answer.body)["customers"][0]["email"] == "ada@example.com"
    assert "Babbage &amp; Co" in await officer.look("/disclosures")
    assert "portability" in await officer.look("/requests")


async def test_each_use_of_a_token_with_a_purpose_is_a_disclosure(site, officer, customer):
    now = datetime.now(UTC)
    secret = await site.with_database(
        credentials.create_token, Role.INVESTIGATOR, "affiliate", now + timedelta(days=1), now=now
    )
    [token] = [
        each for each in await site.with_database(credentials.list_tokens) if each.label == "affiliate"
    ]
    bound = {"recipient": "Affiliate Ltd", "purpose": "license audits", "ground": "contract"}
    await site.with_database(disclosures.bind_token, token.token_id, **bound)
    program = site.client(Authorization=f"Bearer {secret}")
    assert (await program.get(f"/api/v1/customers/{customer.customer_id}")).status == 200
    assert (await program.get("/api/v1/products")).status == 200
    [found] = await site.with_database(disclosures.disclosures)
    assert (found.recipient, found.duty, found.token_id) == (
        "Affiliate Ltd",
        "license audits",
        token.token_id,
    )
    assert (found.subjects, found.fields) == (f"/api/v1/customers/{customer.customer_id}", "customer.view")


async def test_the_register_and_the_kit_are_downloaded(officer, customer):
    added = dict.fromkeys(("recipient", "subjects", "fields", "ground"), "x")
    assert (await officer.send("/disclosures", **added, duty="<u>this</u>")).status == 303
    assert "&lt;u&gt;this&lt;/u&gt;" in await officer.look("/disclosures")
    page = await officer.look("/processing")
    assert "Article 6(1)(f)" in page
    assert json.loads(await officer.look("/processing.json"))["activities"]
    await officer.browser.get(f"/customers/{customer.customer_id}")
    wrong = await officer.send("/breach", since="soon", until="later")
    assert (wrong.status, "Name the times" in wrong.text) == (422, True)
    answer = await officer.send("/breach", since="2026-01-01T00:00", until="2036-01-01T00:00")
    with zipfile.ZipFile(io.BytesIO(answer.body)) as kit:
        assert str(customer.customer_id) in kit.read("subjects.csv").decode()
