"""The registry in the API: who may read and change it, and that every change has its history."""

import io
import json
from urllib.parse import quote

import pytest

from telemetry_server.model import Role

LICENSE = {
    "product": "billing",
    "key": "ABCD-EFGH-1234",
    "source": "marketplace",
    "seats": 3,
    "customer_email": "ada@example.com",
    "addresses": ["192.0.2.0/24"],
}


@pytest.fixture
async def admin(site, product):
    return await site.program(Role.ADMIN)


@pytest.fixture
async def made(admin, product):
    answer = await admin.request("POST", "/api/v1/licenses", json=LICENSE | {"product": product.slug})
    assert answer.status == 201, answer.text
    return answer.json


async def test_a_license_is_added_and_its_key_is_nowhere(admin, made, site):
    shown = await admin.get(f"/api/v1/licenses/{made['license_id']}")
    assert (shown.json["seats"], shown.json["key_hint"], shown.json["status"]) == (3, "1234", "active")
    assert shown.json["addresses"] == ["192.0.2.0/24"]
    assert "key_hash" not in shown.json
    for table in ("licenses", "license_keys", "registry_changes"):
        assert "EFGH" not in str(await site.execute(f"SELECT * FROM {table}"))
    again = await admin.request(
        "POST", "/api/v1/licenses", json=LICENSE | {"product": made["product"], "key": " ABCD-EFGH-1234 "}
    )
    assert (again.status, again.json["code"]) == (409, "license_exists")


async def test_a_change_says_who_and_why_and_what(admin, made):
    path = f"/api/v1/licenses/{made['license_id']}"
    answer = await admin.request("PATCH", path, json={"status": "suspended", "reason": "chargeback"})
    assert (answer.status, answer.json["status"]) == (200, "suspended")
    newest, oldest = (await admin.get(path)).json["changes"]
    assert newest["before"] == {"status": "active"}
    assert newest["after"] == {"status": "suspended"}
    assert (newest["actor"], newest["reason"]) == ("api:a test", "chargeback")
    assert oldest["before"] is None
    await admin.request("PATCH", path, json={"status": "suspended", "reason": "again"})
    assert len((await admin.get(path)).json["changes"]) == 2


async def test_null_clears_and_what_is_not_there_stays(admin, made):
    answer = await admin.request("PATCH", f"/api/v1/licenses/{made['license_id']}", json={"seats": None})
    assert (answer.json["seats"], answer.json["source"]) == (None, "marketplace")


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"product": "billing"}, "/key"),
        ({"key": "K-1"}, "/product"),
        (LICENSE | {"seats": 0}, "/seats"),
        (LICENSE | {"source": "pirate"}, "/source"),
        (LICENSE | {"addresses": ["not one"]}, "/addresses"),
        (LICENSE | {"nonsense": 1}, "/nonsense"),
        (LICENSE | {"reason": "\0"}, "/reason"),
        (LICENSE | {"key": 7}, "/key"),
    ],
)
async def test_a_wrong_field_is_named_and_nothing_is_changed(admin, site, body, pointer):
    answer = await admin.request("POST", "/api/v1/licenses", json=body)
    assert answer.status == 422, answer.text
    assert pointer in [error["pointer"] for error in answer.json["errors"]]
    assert await site.execute("SELECT * FROM licenses") == []
    assert await site.execute("SELECT * FROM registry_changes") == []


async def test_an_unknown_product_or_license_is_told(admin, made):
    answer = await admin.request("POST", "/api/v1/licenses", json=LICENSE | {"product": "none"})
    assert (answer.status, answer.json["code"]) == (404, "no_such_product")
    nobody = "/api/v1/licenses/019ab6f0-3c1e-7d2a-9b1e-5f0c2a7d9e11"
    assert (await admin.get(nobody)).status == 404
    assert (await admin.request("PATCH", nobody, json={"seats": 1})).status == 404


async def test_only_admins_change_the_registry_and_see_customers(site, made):
    viewer = await site.program()
    path = f"/api/v1/licenses/{made['license_id']}"
    assert (await viewer.get(path)).status == 200
    assert (await viewer.request("PATCH", path, json={"seats": 1})).status == 403
    assert (await viewer.request("POST", "/api/v1/licenses", json=LICENSE)).status == 403
    assert (await viewer.get("/api/v1/customers")).status == 403


@pytest.mark.parametrize("site_header", ["same-origin", "cross-site"])
async def test_a_browser_changes_nothing_through_the_api(site, made, site_header):
    browser = await site.person(Role.ADMIN)
    path = f"/api/v1/licenses/{made['license_id']}"
    headers = {"Sec-Fetch-Site": site_header}
    answer = await browser.request("PATCH", path, json={"seats": 1}, headers=headers)
    assert answer.status == 403
    assert "token" in answer.json["detail"]


async def test_licenses_are_listed_page_by_page_and_filtered(admin, product):
    for number in range(7):
        body = {"product": product.slug, "key": f"KEY-{number:04}", "order_reference": f"O-{number % 2}"}
        assert (await admin.request("POST", "/api/v1/licenses", json=body)).status == 201
    items, path = [], "/api/v1/licenses?limit=3"
    while path:
        page = (await admin.get(path)).json
        items += page["items"]
        path = page["next"]
    assert len({item["license_id"] for item in items}) == 7
    odd = (await admin.get("/api/v1/licenses?order_reference=O-1")).json["items"]
    assert [item["key_hint"] for item in odd] == ["0001", "0003", "0005"]
    assert (await admin.get("/api/v1/licenses?status=revoked")).json["items"] == []
    asked = "/api/v1/licenses?limit=2&order_reference=O-0&filter=" + quote("hint=0002,0004,0005 created<1d")
    assert [item["key_hint"] for item in (await admin.get(asked)).json["items"]] == ["0002", "0004"]


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/api/v1/licenses?product=biling", "There is no product biling."),
        ("/api/v1/licenses?filter=verdict%3Dvalid", "there is no field 'verdict'"),
        ("/api/v1/licenses?filter=expires%3D30d", "expires<30d is less than 30 days ahead"),
        ("/api/v1/licenses?customer_id=x", "customer_id must be a UUID"),
        ("/api/v1/customers?filter=nmae%3DAnn", "did you mean name?"),
        ("/api/v1/features?product=biling", "There is no product biling."),
        ("/api/v1/export/licenses?product=biling", "There is no product biling."),
        ("/api/v1/cohorts?filter=product%3Dbiling", "There is no product biling."),
    ],
)  # fmt: skip
async def test_what_cannot_be_asked_for_is_told(admin, product, path, said):
    answer = await admin.get(path)
    assert answer.status == 400
    assert said in answer.json["detail"]


async def test_an_export_of_licenses_is_imported_again_and_is_for_admins_alone(
    admin, site, product, made, capsys
):
    path = f"/api/v1/export/licenses?format=csv&product={product.slug}&filter=" + quote("source=marketplace")
    exported = await admin.get(path)
    assert (exported.status, exported.text.count("\n")) == (200, 2)
    assert "ada@example.com" in exported.text
    assert "EFGH" not in exported.text
    [line] = [json.loads(each) for each in capsys.readouterr().err.splitlines() if '"exported"' in each]
    assert (line["what"], line["filter"], line["rows"]) == ("licenses", "product source", 1)
    again = f"/api/v1/licenses/import?format=csv&product={product.slug}"
    answer = await admin.request("POST", again, data=exported.text.replace(",3,", ",4,"))
    assert (answer.json["changed"], answer.json["wrong"]) == (1, 0), answer.text
    shown = (await admin.get(f"/api/v1/licenses/{made['license_id']}")).json
    assert (shown["seats"], shown["addresses"]) == (4, ["192.0.2.0/24"])
    viewer = await site.program(Role.VIEWER)
    assert (await viewer.get(path)).status == 403


async def test_an_import_tells_what_became_of_each_row_and_a_dry_run_writes_nothing(admin, site, product):
    body = b"key,seats,customer_email\nK-0001,2,a@example.com\nK-0002,none,b@example.com\nK-0003,,\n"
    path = f"/api/v1/licenses/import?product={product.slug}&format=csv"
    for dry in ("&dry_run=true", "", ""):
        answer = await admin.request("POST", path + dry, data=body)
        assert answer.status == 200, answer.text
        assert answer.json["wrong"] == 1
        [problem] = answer.json["problems"]
        assert (problem["line"], problem["column"]) == (3, "seats")
        if dry:
            assert answer.json["new"] == 2
            assert await site.execute("SELECT * FROM licenses") == []
    assert (answer.json["new"], answer.json["unchanged"]) == (0, 2)
    assert len(await site.execute("SELECT * FROM licenses")) == 2


async def test_an_import_without_a_product_or_with_a_broken_head_is_refused(admin, product):
    assert (await admin.request("POST", "/api/v1/licenses/import", data=b"key\n")).status == 400
    path = f"/api/v1/licenses/import?format=csv&product={product.slug}"
    assert (await admin.request("POST", path, data=b"key,key\nA,B\n")).status == 422
    assert (await admin.request("POST", path, data=io.BytesIO(b"x" * (2**20 + 1)))).status == 413


async def test_customers_are_added_changed_and_found_by_e_mail(admin):
    answer = await admin.request(
        "POST", "/api/v1/customers", json={"email": "Ada@example.com", "name": "Ada"}
    )
    assert answer.status == 201, answer.text
    path = f"/api/v1/customers/{answer.json['customer_id']}"
    changed = await admin.request("PATCH", path, json={"company": "Engines Ltd", "reason": "asked for it"})
    assert (changed.json["name"], changed.json["company"]) == ("Ada", "Engines Ltd")
    assert [change["reason"] for change in (await admin.get(path)).json["changes"]] == ["asked for it", None]
    for asked in ("email=ADA@EXAMPLE.COM", "filter=" + quote("name=Ada created<1d email!=bob@example.com")):
        found = (await admin.get(f"/api/v1/customers?{asked}")).json["items"]
        assert [item["customer_id"] for item in found] == [answer.json["customer_id"]]
    twice = await admin.request("POST", "/api/v1/customers", json={"email": "ada@EXAMPLE.com"})
    assert (twice.status, twice.json["code"]) == (409, "customer_exists")
    unnamed = await admin.request("PATCH", path, json={"email": None, "name": None, "company": None})
    assert (unnamed.status, unnamed.json["code"]) == (422, "customer_unnamed")
