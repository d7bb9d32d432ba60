"""The pages of customers: whom licenses belong to, their use, notes, and the form."""

import csv
import io
import re

import pytest
from registry_pages import copies, fill_in, go_on, words

from telemetry_server.model import Role


@pytest.fixture
async def admin(site, product):
    return await site.person(Role.ADMIN)


@pytest.fixture
async def registry(site, product):
    """Two customers: one with two licenses, one of which is over its seats; one with none."""
    program = await site.program(Role.ADMIN)
    for key, seats in (("KEY-ADA-0001", 1), ("KEY-ADA-0002", 9)):
        body = {"product": product.slug, "key": key, "seats": seats, "customer_email": "ada@example.com"}
        body |= {"customer_company": "Ada GmbH", "customer_technical_contact": "ops@ada.example"}
        assert (await program.request("POST", "/api/v1/licenses", json=body)).status == 201
    answer = await program.request("POST", "/api/v1/customers", json={"name": "Bob Idle"})
    assert answer.status == 201
    rows = await site.execute("SELECT coalesce(company, name) AS name, customer_id FROM customers")
    return {row["name"]: str(row["customer_id"]) for row in rows}


def shown(answer):
    return re.findall(r'<th scope="row"><a href="/customers/[^"]+"><bdi>(.*?)</bdi>', answer.text)


async def test_the_list_has_licenses_seats_copies_and_the_worst_verdict(site, product, admin, registry):
    await copies(site, product, "KEY-ADA-0001", 2)
    page = await admin.get("/customers?sort=-over")
    assert shown(page) == ["Ada GmbH", "Bob Idle"]
    assert "2 customers" in words(page.text)
    assert "2 of 10" in words(page.text)
    assert "over seats" in words(page.text)
    detail = words((await admin.get(f"/customers/{registry['Ada GmbH']}")).text)
    assert "2 licenses, 1 over seats" in detail
    assert "2 copies" in detail
    assert "Technical contact ops@ada.example" in detail


async def test_a_customer_is_found_by_a_part_of_any_name(admin, registry):
    for text in ("ada", "ADA@EXAMPLE", "gmbh"):
        assert shown(await admin.get(f"/customers?q={text}")) == ["Ada GmbH"]
    nothing = await admin.get("/customers?q=%25")
    assert shown(nothing) == []
    assert "No customer matches." in nothing.text


async def test_the_file_has_the_rows_of_the_list(admin, registry):
    answer = await admin.get("/customers/export?sort=name")
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert [(row["company"] or row["name"], row["licenses"]) for row in rows] == [
        ("Ada GmbH", "2"),
        ("Bob Idle", "0"),
    ]


async def test_a_note_is_written_with_its_author_and_audited_without_its_text(site, admin, registry):
    page = f"/customers/{registry['Bob Idle']}"
    answer = await fill_in(admin, page, f"{page}/notes", note="Called.\n<b>Asks</b> for a refund.")
    assert answer.status == 303
    read = await admin.get(page)
    assert "<b>Asks" not in read.text
    assert "Asks</b> for a refund." in words(read.text)
    [entry] = await site.execute("SELECT * FROM audit_entries WHERE action = 'customer.note'")
    assert entry["subject_id"] == registry["Bob Idle"]
    assert "refund" not in str(entry)


async def test_a_customer_is_changed_after_the_difference_was_shown(site, admin, registry):
    page = f"/customers/{registry['Bob Idle']}"
    preview = await fill_in(admin, f"{page}/edit", page, name="Bob Busy", tax_id="DE123")
    assert "Name Bob Idle Bob Busy" in words(preview.text)
    assert (await go_on(admin, preview, page, reason="asked for it")).status == 303
    detail = words((await admin.get(page)).text)
    assert "asked for it" in detail
    assert "Bob Idle → Bob Busy" in detail
    taken = await fill_in(
        admin, f"{page}/edit", page, name="Bob Busy", tax_id="DE123", email="ada@example.com"
    )
    refused = await go_on(admin, taken, page)
    assert (refused.status, "exists already" in refused.text) == (422, True)


async def test_a_customer_is_added_by_the_form(admin, registry):
    preview = await fill_in(admin, "/customers/new", "/customers/new", company="Cleo AG")
    saved = await go_on(admin, preview, "/customers/new")
    assert saved.status == 303
    assert "Cleo AG" in (await admin.get(saved.headers["Location"])).text
    nameless = await fill_in(admin, "/customers/new", "/customers/new", tax_id="DE9")
    assert (await go_on(admin, nameless, "/customers/new")).status == 422


async def test_customers_are_for_those_who_may_see_them(site, registry):
    viewer = await site.person(Role.VIEWER)
    for path in ("/customers", "/customers/export", f"/customers/{registry['Bob Idle']}", "/customers/new"):
        assert (await viewer.get(path)).status == 403
    unknown = "019ab6f0-3c1e-7d2a-9b1e-5f0c2a7d9e11"
    admin = await site.person(Role.ADMIN)
    assert (await admin.get(f"/customers/{unknown}")).status == 404
