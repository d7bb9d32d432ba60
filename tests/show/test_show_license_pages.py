"""The pages of licenses: the list, one license, its form with the difference before saving, and the import."""

import csv
import io
import re

import pytest
from registry_pages import copies, fill_in, go_on, hidden, license_adder, multipart, upload, words
from test_show_accounts import colleague

from telemetry_server.model import Role


@pytest.fixture
async def admin(site, product):
    return await site.person(Role.ADMIN)


@pytest.fixture
async def add(site, product):
    return await license_adder(site, product)


def shown(answer):
    """The hints of the keys in the rows of the list, in their order."""
    table = re.search(r'<table class="rows dense">.*?</table>', answer.text, re.DOTALL)
    return re.findall(r"<code>…<bdi>(.*?)</bdi>", table[0]) if table else []


async def test_a_license_over_its_seats_is_found_with_its_numbers_and_since_when(site, product, admin, add):
    over = await add("OVER-SEATS-0001", seats=2, customer_company="Ada GmbH")
    await add("UNUSED-SEATS-0002", seats=3)
    await copies(site, product, "OVER-SEATS-0001", 3)
    everything = await admin.get("/licenses")
    assert shown(everything) == ["0002", "0001"]
    assert "2 licenses" in words(everything.text)
    assert "1 over seats" in words(everything.text)
    tab = await admin.get("/licenses?show=over")
    assert shown(tab) == ["0001"]
    assert "3 of 2" in words(tab.text)
    assert "over since" in words(tab.text)
    assert "Ada GmbH" in tab.text
    assert shown(await admin.get("/licenses?show=unused")) == ["0002"]
    detail = words((await admin.get(f"/licenses/{over}")).text)
    assert "Over its seats since" in detail
    assert "3 of 2" in detail
    assert "over seats" in detail


async def test_keys_that_no_license_has_wait_at_the_list(site, product, admin):
    await copies(site, product, "NOBODY-HAS-7Q2M", 2)
    assert "Keys without a license 1" in words((await admin.get("/licenses")).text)
    page = words((await admin.get("/licenses?show=unknown")).text)
    assert f"…7Q2M {product.slug} 2" in page
    assert "1\N{EN DASH}1 of 1 key" in page


async def test_the_strip_counts_what_expires_and_each_month_leads_to_its_licenses(admin, add):
    await add("SOON-0001", expires_at="2027-03-31")
    await add("LATER-0002", expires_at="2027-04-01")
    page = await admin.get("/licenses")
    [(href, count)] = [
        (href.replace("&amp;", "&"), count)
        for href, count in re.findall(
            r'<li><a href="([^"]+)" title="(\d+) licenses? expire in March 2027', page.text
        )
    ]
    assert count == "1"
    assert shown(await admin.get(href)) == ["0001"]


async def test_the_list_is_sorted_by_any_head_and_goes_on_to_the_next_page(admin, add):
    for number in range(52):
        await add(f"KEY-NUMBER-{number:04}", seats=number + 1)
    first = await admin.get("/licenses?sort=seats")
    assert shown(first)[:2] == ["0000", "0001"]
    assert "1\N{EN DASH}50 of 52 licenses" in words(first.text)
    second = await admin.get("/licenses?sort=seats&page=2")
    assert shown(second) == ["0050", "0051"]
    assert 'rel="prev"' in second.text
    assert 'rel="next"' not in second.text
    assert shown(await admin.get("/licenses?sort=-seats"))[0] == "0051"


async def test_the_file_has_every_row_of_the_list_and_runs_in_no_spreadsheet(admin, add):
    await add("KEY-ONE-0001", source_detail="=1+1")
    await add("KEY-TWO-0002", status="revoked")
    answer = await admin.get("/licenses/export?show=ended")
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert [row["key_hint"] for row in rows] == ["0002"]
    every = list(csv.DictReader(io.StringIO((await admin.get("/licenses/export?sort=created")).text)))
    assert every[0]["source_detail"] == "'=1+1"
    assert "attachment" in answer.headers["Content-Disposition"]


async def test_a_wrong_filter_is_explained_where_it_was_typed(admin):
    answer = await admin.get("/licenses?filter=colour%3Dred")
    assert answer.status == 400
    assert "there is no field" in answer.text
    assert 'aria-invalid="true"' in answer.text


async def test_a_change_is_shown_before_it_is_saved_and_its_reason_is_in_the_history(admin, add, site):
    made = await add("KEY-EDIT-0001", seats=2, domains=["a.example"])
    page, form = f"/licenses/{made}", f"/licenses/{made}/edit"
    read = await admin.get(form)
    fields = {"seats": "5", "domains": "", "status": "active", "type": "purchased", "overage": "none"}
    fields |= {"addresses_enforced": "true", "free_environments": "development, staging"}
    preview = await admin.post(page, **(hidden(read.text, page) | fields))
    assert preview.status == 200
    assert "Seats 2 5" in words(preview.text)
    assert "Domains a.example \N{EN DASH}" in words(preview.text)
    assert [tuple(row) for row in await site.execute("SELECT seats FROM licenses")] == [(2,)]
    saved = await go_on(admin, preview, page, reason="bought three more")
    assert (saved.status, saved.headers["Location"]) == (303, page)
    [row] = await site.execute("SELECT seats, domains FROM licenses")
    assert (row["seats"], row["domains"]) == (5, [])
    detail = words((await admin.get(page)).text)
    assert "bought three more" in detail
    assert "Seats 2 → 5" in detail


async def test_a_license_is_revoked_from_its_page(admin, add, site):
    made = await add("KEY-REVOKE-0001")
    page = f"/licenses/{made}"
    read = await admin.get(page)
    preview = await admin.post(page, **(hidden(read.text, page)))
    assert "Status active revoked" in words(preview.text)
    await go_on(admin, preview, page, reason="chargeback")
    assert [row["status"] for row in await site.execute("SELECT status FROM licenses")] == ["revoked"]


async def test_a_change_is_refused_where_someone_else_made_one_meanwhile(admin, add, site):
    made = await add("KEY-RACE-0001", seats=2)
    page = f"/licenses/{made}"
    old = hidden((await admin.get(page)).text, page)
    program = await site.program(Role.ADMIN)
    await program.request("PATCH", f"/api/v1/licenses/{made}", json={"seats": 9})
    answer = await admin.post(page, **(old | {"step": "save"}))
    assert answer.status == 409
    assert [tuple(row) for row in await site.execute("SELECT seats, status FROM licenses")] == [(9, "active")]


async def test_a_wrong_field_is_named_beside_it_and_what_was_typed_stays(admin, add):
    made = await add("KEY-WRONG-0001")
    answer = await fill_in(admin, f"/licenses/{made}/edit", f"/licenses/{made}", fields="seats", seats="none")
    assert answer.status == 422
    assert 'id="seats-problem"' in answer.text
    assert 'name="seats" type="text" value="none"' in answer.text


async def test_a_license_is_added_by_the_form_and_a_key_only_once(admin, product, site):
    typed = {
        "product": product.slug,
        "key": "KEY-NEW-0001",
        "seats": "3",
        "customer_email": "Ada@example.com",
    }
    typed |= {"status": "active", "type": "subscription", "overage": "none", "addresses_enforced": "true"}
    typed |= {"free_environments": "development, staging"}
    preview = await fill_in(admin, "/licenses/new", "/licenses/new", **typed)
    assert "Seats new 3" in words(preview.text)
    assert await site.execute("SELECT FROM licenses") == []
    saved = await go_on(admin, preview, "/licenses/new")
    assert saved.status == 303
    [row] = await site.execute(
        "SELECT l.seats, l.type, c.email FROM licenses AS l JOIN customers AS c USING (customer_id)"
    )
    assert tuple(row) == (3, "subscription", "ada@example.com")
    again = await fill_in(admin, "/licenses/new", "/licenses/new", **typed)
    assert again.status == 422
    assert "exists already" in again.text


async def test_the_head_of_a_part_is_short(admin, product):
    form = hidden((await admin.get("/licenses/import")).text, "/licenses/import")
    boundary = "x" * 20
    parts = [f'name="{name}"\r\n\r\n{value}' for name, value in form.items()]
    parts.append(f'name="file"; filename="a.csv"{";" * 300_000}\r\n\r\nkey\r\nK')
    body = "".join(f"--{boundary}\r\nContent-Disposition: form-data; {part}\r\n" for part in parts)
    answer = await admin.request(
        "POST",
        "/licenses/import",
        data=f"{body}--{boundary}--\r\n".encode(),
        headers={"Content-Type": f"multipart/form-data; boundary={boundary}"},
    )
    assert (answer.status, "too long" in answer.text) == (400, True)


async def test_who_may_not_see_licenses_sees_no_figures_of_them(site, product, admin, add):
    await add("OVER-SEATS-0001", seats=1)
    await copies(site, product, "OVER-SEATS-0001", 2)
    assert "Licenses over seats" in words((await admin.get("/")).text)
    text = words((await (await colleague(site)).get("/")).text)
    assert "Active copies" in text
    assert "Licenses over seats" not in text
    assert "Expire within" not in text


async def test_a_file_is_checked_first_and_imported_as_it_was_shown(admin, product, site, add):
    await add("KEY-FILE-0001", seats=1)
    content = "key,seats,customer_company\nKEY-FILE-0001,4,\nKEY-FILE-0002,2,Ada GmbH\nKEY-FILE-0003,none,\n"
    checked = await upload(admin, "/licenses/import", content, product=product.slug, reason="the shop's list")
    text = words(checked.text)
    assert "Nothing is saved yet" in text
    assert "1 new 1 changed 0 unchanged 0 repeated 1 wrong" in text
    assert "Seats 1 → 4" in text
    assert "is no number from 1 to" in text
    assert len(await site.execute("SELECT FROM licenses")) == 1
    imported = await multipart(admin, checked, "/licenses/import")
    assert "Imported" in words(imported.text)
    rows = await site.execute("SELECT key_hint, seats FROM licenses ORDER BY key_hint")
    assert [tuple(row) for row in rows] == [("0001", 4), ("0002", 2)]
    reasons = await site.execute("SELECT DISTINCT reason FROM registry_changes WHERE reason IS NOT NULL")
    assert [row["reason"] for row in reasons] == ["the shop's list"]
    again = await upload(admin, "/licenses/import", content.replace("none", "2"), product=product.slug)
    assert "1 new 0 changed 2 unchanged" in words(again.text)


@pytest.mark.parametrize(
    "content", ["", "key;key\n", "\ufeffsep=,\n", "name,seats\nx,1\n", "key\n" + "X" * 800_000]
)
async def test_a_file_that_cannot_be_read_says_why(admin, product, content):
    answer = await upload(admin, "/licenses/import", content, product=product.slug)
    assert answer.status == 422
    assert 'role="alert"' in answer.text


async def test_no_key_stays_on_the_server_after_the_dry_run(admin, product, site):
    await upload(admin, "/licenses/import", "key\nSECRET-KEY-0001\n", product=product.slug)
    tables = await site.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    for table in tables:
        assert "SECRET-KEY" not in str(await site.execute(f'SELECT t::text FROM "{table["tablename"]}" AS t'))


async def test_a_form_from_another_site_changes_nothing(admin, add, site):
    made = await add("KEY-FORGED-0001")
    body = {"fields": "status", "status": "revoked", "step": "save"}
    assert (await admin.post(f"/licenses/{made}", **body)).status == 403
    token = hidden((await admin.get(f"/licenses/{made}")).text, f"/licenses/{made}")["csrf_token"]
    foreign = {"Origin": "https://evil.example"}
    answer = await admin.post(f"/licenses/{made}", headers=foreign, csrf_token=token, **body)
    assert answer.status == 403
    assert [row["status"] for row in await site.execute("SELECT status FROM licenses")] == ["active"]


async def test_who_may_not_change_licenses_is_offered_nothing_to_change(site, add):
    made = await add("KEY-READ-0001", customer_company="Ada GmbH")
    viewer = await site.person(Role.VIEWER)  # of the command line: sees licenses, and no customer
    for path in ("/licenses", f"/licenses/{made}"):
        page = await viewer.get(path)
        assert page.status == 200
        assert "Ada GmbH" not in page.text
        assert "/licenses/import" not in page.text
        assert f'action="/licenses/{made}"' not in page.text
    assert (await viewer.get(f"/licenses/{made}/edit")).status == 403


async def test_hostile_words_stay_words(admin, add):
    evil = "<script>alert(1)</script>\u202e"
    made = await add("KEY-EVIL-0001", order_reference="<b>&'\"", source_detail="=cmd|' /C calc'!A0")
    page = await admin.get(f"/licenses/{made}")
    assert "<b>&'" not in page.text
    answer = await fill_in(
        admin, f"/licenses/{made}/edit", f"/licenses/{made}", fields="edition", edition=evil
    )
    assert answer.status == 422
    assert "<script>alert" not in answer.text
