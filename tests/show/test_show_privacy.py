"""The page "Privacy": notices, levels, erasures and access, as a privacy officer uses them."""

import io
import json
import re
import zipfile
from datetime import UTC, datetime

import pytest

from telemetry_server.check.fields import load_registry
from telemetry_server.check.licenses.columns import customer_patch
from telemetry_server.keyring import open_keyring
from telemetry_server.model import Author, Role
from telemetry_server.privacy.jobs import carry_out_erasures
from telemetry_server.store.access import audit
from telemetry_server.store.registry.customers import create_customer


class Officer:
    """A signed-in privacy officer."""

    def __init__(self, browser):
        self.browser = browser

    async def look(self):
        return (await self.browser.get("/privacy/office")).text

    async def send(self, what, **form):
        token = re.search(r'name="csrf_token" value="(\w+)"', await self.look())[1]
        return await self.browser.post(f"/privacy/office/{what}", csrf_token=token, **form)


@pytest.fixture
async def officer(site):
    return Officer(await site.person(Role.PRIVACY_OFFICER))


@pytest.fixture
async def customer(site):
    patch, _ = customer_patch({"email": "ada@example.com", "company": "<b>Lovelace</b>"})
    return await site.with_database(create_customer, patch, by=Author("a test"), now=datetime.now(UTC))


async def test_a_version_is_added_and_shown_to_everyone(site, officer):
    form = {"version": "2026-12-01", "language": "en", "text": "We collect <little>.", "reason": "counsel"}
    assert (await officer.send("notices", **form)).status == 303
    assert "in force" in await officer.look()
    public = (await site.client().get("/privacy")).text
    assert "We collect &lt;little&gt;." in public
    refused = await officer.send("notices", **{**form, "text": "We collect more."})
    assert (refused.status, "another text" in refused.text, "We collect more." in refused.text) == (
        422,
        True,
        True,
    )
    refused = await officer.send("notices", **{**form, "version": "x", "valid_from": "soon"})
    assert (refused.status, "Valid from is a day" in refused.text) == (422, True)


async def test_a_customer_is_limited_by_e_mail_and_freed(officer, customer):
    assert (await officer.send("levels", subject="ADA@example.com", level="license")).status == 303
    page = await officer.look()
    assert "&lt;b&gt;Lovelace&lt;/b&gt;" in page
    await officer.send("levels", subject=str(customer.customer_id), level="usage")
    assert "No limits." in await officer.look()
    refused = await officer.send("levels", subject="eve@example.com", level="license")
    assert (refused.status, "There is no customer eve@example.com" in refused.text) == (422, True)


async def test_an_erasure_is_asked_for_twice_and_its_certificate_read(site, officer, customer, tmp_path):
    refused = await officer.send("erasures", subject="ada@example.com", confirmed="ada", reason="asked")
    assert (refused.status, "The two fields differ" in refused.text) == (422, True)
    wanted = {"subject": "ada@example.com", "confirmed": "ada@example.com", "reason": "asked by letter"}
    assert (await officer.send("erasures", **wanted)).status == 303
    assert "waits" in await officer.look()
    job = carry_out_erasures(load_registry(), tmp_path / "keyring.json", 35)
    assert await site.with_database(job, datetime.now(UTC)) == "carried out 1 erasures"
    page = await officer.look()
    assert "Lovelace" not in page
    certificate = await officer.browser.get(re.search(r"/privacy/office/erasures/[\w-]{36}", page)[0])
    assert certificate.headers["Content-Type"].startswith("text/plain")
    assert f"subject: customer {customer.customer_id}" in certificate.text
    assert open_keyring(tmp_path / "keyring.json").audit_seed not in certificate.body


async def test_the_officer_downloads_everything_and_hands_over_a_link(site, officer, customer):
    answer = await officer.send("access", subject="ada@example.com")
    with zipfile.ZipFile(io.BytesIO(answer.body)) as packed:
        assert json.loads(packed.read("customers.json"))[0]["email"] == "ada@example.com"
    shown = await officer.send("links", subject=str(customer.customer_id))
    token = re.search(r"/privacy/access\?token=([\w-]+)", shown.text)[1]
    stranger = site.client()
    assert (await stranger.post("/privacy/access", token=token)).headers["Content-Type"] == "application/zip"
    assert (await stranger.post("/privacy/access", token=token)).status == 404
    assert (await officer.send("access", subject="nobody@example.com")).status == 404
    found = await site.with_database(audit.find, audit.AuditFilter(action="customer"), limit=100)
    assert sorted(each.action for each in found) == [
        "customer.add",
        "customer.export",
        "customer.export",
        "customer.link",
    ]
