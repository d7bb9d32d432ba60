"""What the pages and the API record in the audit log, and the page of the log."""

import asyncio
import json

import pytest
from audit_log import entry
from registry_pages import hidden

from telemetry_server.app import ROUTES_FOR_PEOPLE
from telemetry_server.model import Role
from telemetry_server.permissions import IN_A_BROWSER_ONLY, Permission
from telemetry_server.routing import Access
from telemetry_server.store.access import audit

NUMBERS_ONLY = {
    "/": "counts",
    "/map": "counts",
    "/changes": "counts",
    "/api/v1/fleet": "counts",
    "/api/v1/features": "counts",
    "/api/v1/cohorts": "counts",
    "/api/v1/active": "counts",
    "/api/v1/feature-use": "counts",
    "/api/v1/products": "products",
    "/api/v1/witness/add-checkpoint": "sizes and roots of logs",
    "/people/sign-in/try/{provider}": "the way to a provider; the answer, with the own claims, is recorded",
    "/features": "counts",
    "/releases": "counts",
    "/settings": "settings of the server",
    "/settings/jobs": "jobs",
    "/settings/products/{slug}/schedule": "products",
    "/settings/products/{slug}/releases": "products",
    "/settings/products/{slug}/editions": "products",
} | {route.path: "the own account" for route in ROUTES_FOR_PEOPLE if route.permission is Permission.ACCOUNT}
"""The routes for people that show no personal data, and what they show instead."""

PERSONAL = {
    "client_address",
    "hostname",
    "email",
    "company",
    "customer_id",
    "order_reference",
    "installation_id",
    "actor",
}
"""Fields of answers that are personal data, or lead to a person."""

NOBODY = "019ab6f0-3c1e-7d2a-9b1e-5f0c2a7d9e11"
VALUES = {"what": "pings", "installation_id": NOBODY, "license_id": NOBODY, "customer_id": NOBODY}
VALUES |= dict.fromkeys(("clear_up_id", "saved_view_id", "erasure_id", "support_case_id", "case_id"), NOBODY)
VALUES |= dict.fromkeys(("request_id", "hold_id", "attachment_id"), NOBODY)


async def entries(site, **wanted):
    return await site.with_database(audit.find, audit.AuditFilter(**wanted), limit=100)


def test_every_route_of_personal_data_is_audited():
    for_people = {route.path for route in ROUTES_FOR_PEOPLE if route.access is Access.PERSON}
    audited = {route.path for route in ROUTES_FOR_PEOPLE if route.audited}
    assert for_people - audited == set(NUMBERS_ONLY)
    assert audited <= for_people


async def test_no_answer_with_a_field_of_personal_data_goes_unaudited(site):
    document = (await site.client().get("/openapi.json")).json
    schemas = document["components"]["schemas"]

    def fields(schema):
        if isinstance(schema, list):
            return set().union(*map(fields, schema))
        if not isinstance(schema, dict):
            return set()
        if "$ref" in schema:
            return fields(schemas[schema["$ref"].rpartition("/")[2]])
        return set(schema.get("properties", ())) | fields(list(schema.values()))

    unaudited = [route for route in ROUTES_FOR_PEOPLE if route.access is Access.PERSON and not route.audited]
    assert {route.path for route in unaudited} == set(NUMBERS_ONLY)
    for route in unaudited:
        answers = document["paths"][route.path][route.method.lower()]["responses"]
        assert fields([answers[str(status)] for status in route.answers]) & PERSONAL == set(), route.path


VIEWS = {each.path: each for each in ROUTES_FOR_PEOPLE if each.audited and each.method == "GET"}


@pytest.mark.parametrize("route", VIEWS.values(), ids=VIEWS)
async def test_a_request_for_personal_data_is_recorded_before_the_answer(site, route):
    path = route.path.format(**VALUES)
    in_a_browser = route.permission in IN_A_BROWSER_ONLY
    answer = await (await (site.person if in_a_browser else site.program)(Role.ADMIN)).get(path)
    assert answer.status in {200, 404}
    [found] = [each for each in await entries(site) if each.action != "session.link_used"]
    assert found.actor.startswith("api:browser (browser " if in_a_browser else "api:a test (token ")
    assert found.action.startswith(f"{route.audited}.")
    assert (found.subject_kind, found.network) == (route.audited, "127.0.0.0/24")
    assert found.subject_id == (NOBODY if "_id}" in route.path else None)
    assert found.details == {"path": path, "query": ""}


@pytest.mark.parametrize("path", ["/installations", "/api/v1/export/pings", "/api/v1/customers"])
async def test_what_cannot_be_recorded_is_not_shown(site, path):
    program = await site.program(Role.ADMIN)
    await site.execute("ALTER TABLE audit_waiting RENAME TO audit_elsewhere")
    answer = await program.get(path)
    assert answer.status == 500
    await site.execute("ALTER TABLE audit_elsewhere RENAME TO audit_waiting")
    assert (await program.get(path)).status == 200


async def test_who_may_not_see_it_leaves_no_entry_of_a_view(site):
    program = await site.program(Role.VIEWER)
    assert (await program.get("/api/v1/customers")).status == 403
    assert (await site.client().get("/api/v1/customers")).status == 401
    assert await entries(site) == []


async def test_a_change_is_recorded_with_it_or_not_at_all(site):
    program = await site.program(Role.ADMIN)
    made = (await program.request("POST", "/api/v1/customers", json={"email": "a@example.com"})).json
    path = f"/api/v1/customers/{made['customer_id']}"
    await program.request("PATCH", path, json={"company": "Example", "reason": "ticket 7"})
    assert (await program.request("PATCH", path, json={"company": "Example"})).status == 200  # as it was
    seen, changed, added = await entries(site)
    actions = ("customer.add", "customer.change", "customer.view")
    assert (added.action, changed.action, seen.action) == actions
    assert (changed.subject_id, changed.reason) == (made["customer_id"], "ticket 7")
    assert changed.network == "127.0.0.0/24"
    assert changed.actor.startswith("api:a test (token ")
    assert changed.details["changes"] == {"customer changed": 1}
    assert (await program.request("POST", "/api/v1/customers", json={"email": "a@example.com"})).status != 201
    assert len(await entries(site)) == 3


async def test_a_form_that_shows_what_it_would_change_is_a_view(site):
    program, admin = await site.program(Role.ADMIN), await site.person(Role.ADMIN)
    made = (await program.request("POST", "/api/v1/customers", json={"email": "a@example.com"})).json
    path = f"/customers/{made['customer_id']}"
    before = len(await entries(site))
    for typed in ({"name": "Bob"}, {"email": "wrong"}):
        form = hidden((await admin.get(f"{path}/edit")).text, path) | typed
        answer = await admin.post(path, **form)
        assert "a@example.com" in answer.text, answer.status
    seen = (await entries(site))[:-before]
    assert [each.details["path"] for each in seen] == [path, f"{path}/edit"] * 2
    assert {(each.action, each.subject_id) for each in seen} == {("customer.view", made["customer_id"])}


async def test_a_dry_run_of_an_import_is_a_view(site, product):
    program = await site.program(Role.ADMIN)
    path = f"/api/v1/licenses/import?product={product.slug}&dry_run=true"
    assert (await program.request("POST", path, data=b'{"key": "AAAA-1"}')).status == 200
    assert [each.action for each in await entries(site)] == ["license.list"]


async def test_where_a_customer_is_named_it_was_seen(site, product):
    program = await site.program(Role.ADMIN)
    body = {"product": product.slug, "key": "KEY-ADA-0001", "customer_email": "ada@example.com"}
    made = (await program.request("POST", "/api/v1/licenses", json=body)).json
    admin = await site.person(Role.ADMIN)
    for path, action in (
        ("/licenses", "customer.list"),
        (f"/licenses/{made['license_id']}", "customer.view"),
        ("/search?q=example.com", "customer.list"),
        ("/api/v1/search?q=example.com", "customer.list"),
    ):
        answer = await admin.get(path)
        assert "ada@example.com" in answer.text, path
        newest, *_ = await entries(site, action="customer")
        assert newest.action == action
        assert newest.details.get("path", path) == path.partition("?")[0], path


async def test_an_import_is_one_entry(site, product):
    program = await site.program(Role.ADMIN)
    lines = "\n".join(json.dumps({"key": f"AAAA-{number}"}) for number in range(5))
    answer = await program.request(
        "POST", f"/api/v1/licenses/import?product={product.slug}&reason=move", data=lines.encode()
    )
    assert answer.status == 200, answer.text
    [found] = await entries(site, action="registry")
    assert (found.reason, found.details["changes"]) == ("move", {"license added": 5})


# ── the page ─────────────────────────────────────────────────────────────────────────────────


async def test_the_page_shows_entries_and_records_that_it_did(site):
    odd = entry(1, actor="<b>ann</b>\u202e", reason="<script>", details={"query": "email=<i>"})
    await site.with_database(audit.record, odd)
    admin = await site.person(Role.ADMIN)
    page = await admin.get("/audit")
    assert page.status == 200
    assert "&lt;b&gt;ann&lt;/b&gt;" in page.text
    assert "<script>alert" not in page.text
    assert "email=&lt;i&gt;" in page.text
    newest, *_ = await entries(site)
    assert (newest.action, newest.details["path"]) == ("audit.list", "/audit")
    assert newest.actor.startswith("api:browser (browser ")


async def test_the_page_is_for_administrators(site):
    viewer = await site.person(Role.VIEWER)
    assert (await viewer.get("/audit")).status == 403
    assert 'href="/audit"' not in (await viewer.get("/")).text
    assert 'href="/audit"' in (await (await site.person(Role.ADMIN)).get("/")).text


@pytest.mark.parametrize(
    ("query", "numbers"),
    [
        ("subject_id=c-3", {3}),
        ("action=customer&product=billing", {2, 3}),
        ("actor=cli%3Aroot", {0, 1}),
        ("since=2026-11-02&until=2026-11-03", {1, 2}),
        ("until=&since=&action=customer", {2, 3}),
        ("actor=ann", set()),
    ],
)
async def test_the_page_is_filtered_by(site, query, numbers):
    from datetime import UTC, datetime

    for number in range(4):
        about = {"actor": "cli:root (sudo ann)"}
        if number > 1:
            about = {"action": "customer.view", "subject_id": f"c-{number}", "product": "billing"}
        when = datetime(2026, 11, number + 1, 12, tzinfo=UTC)
        await site.with_database(
            audit.record, entry(number, details={"n": f"number {number}"}, **about), when
        )
    admin = await site.person(Role.ADMIN)
    answer = await admin.get(f"/audit?{query}")
    if answer.status == 303:
        answer = await admin.get(answer.headers["Location"])
    assert answer.status == 200, answer.text
    assert {number for number in range(4) if f"number {number}" in answer.text} == numbers


async def test_the_page_goes_on(site):
    async def fill(connection):
        for number in range(120):
            await audit.record(connection, entry(number, details={"n": f"number {number};"}))

    await site.with_database(fill)
    admin, path, shown = await site.person(Role.ADMIN), "/audit?action=installation", []
    while path:
        text = (await admin.get(path)).text
        shown.append({number for number in range(120) if f"number {number};" in text})
        rest = text.partition('<a class="button" href="')[2] if "Older" in text else ""
        links = [part.partition('"')[0] for part in text.split('<a class="button" href="')[1:]]
        path = links[-1].replace("&amp;", "&") if rest else None
    assert [len(each) for each in shown] == [50, 50, 20]
    assert set().union(*shown) == set(range(120))


async def test_entries_get_their_numbers_within_about_a_second(site):
    await site.with_database(audit.record, entry())
    for _ in range(100):
        [found] = await entries(site, action="installation")
        if found.leaf is not None:
            break
        await asyncio.sleep(0.1)
    assert found.leaf == 0
