"""Every route, with every role, for a product that the person may see and for another one."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from demo_fleet import DemoFleet

from telemetry_server.app import ROUTES_FOR_PEOPLE
from telemetry_server.check.licenses.columns import license_patch
from telemetry_server.keyring import open_keyring
from telemetry_server.model import Author, Role
from telemetry_server.permissions import (
    BY_ROLE,
    FROM_THE_SHELL,
    IN_A_BROWSER_ONLY,
    OF_ALL_PRODUCTS,
    Permission,
)
from telemetry_server.routing import Access
from telemetry_server.show.viewer import Viewer
from telemetry_server.store.access.credentials import Limits, create_token
from telemetry_server.store.access.sessions import create_session
from telemetry_server.store.partitions import make_partitions
from telemetry_server.store.registry.customers import create_customer
from telemetry_server.store.registry.license_changes import create_license
from telemetry_server.store.registry.licenses import key_hashes
from telemetry_server.store.registry.products import add_product

PERSON_ROUTES = [route for route in ROUTES_FOR_PEOPLE if route.access is Access.PERSON]
NOW = datetime.now(UTC)


@dataclass
class Known:
    """What there is of one product."""

    slug: str
    installation: str
    license: str
    customer: str

    @property
    def marks(self):
        """What shows in an answer that it has something of this product."""
        return {self.slug, self.installation, self.license}


@dataclass
class Ask:
    """How a route is asked about a product, and what people of another product get.

    `foreign`: "refused" is a 400, 403 or 404; "empty" an answer without anything of it; "no product" an
    answer that has nothing to do with products.
    """

    query: str = ""
    body: object = None
    foreign: str = "empty"


NO_PRODUCT = Ask(foreign="no product")
ASKED = {
    "GET /": Ask("?product={slug}", foreign="refused"),
    "POST /notes": Ask(body={"day": "2026-11-22", "note": "x", "product": "{slug}"}, foreign="refused"),
    "POST /notes/{note_id}": Ask(body={"day": "2026-11-22", "note": "x"}, foreign="refused"),
    "GET /bundles": NO_PRODUCT,
    "POST /bundles": NO_PRODUCT,
    "GET /live": Ask("?product={slug}", foreign="refused"),
    "GET /live/stream": Ask("?installation_id={installation}", foreign="refused"),
    "GET /views": NO_PRODUCT,
    "POST /views": Ask(body={"name": "x", "address": "/?product={slug}"}, foreign="refused"),
    "POST /views/{view_id}": Ask(body={"name": "x"}, foreign="refused"),
    "GET /links": NO_PRODUCT,
    "POST /links": Ask(body={"label": "x", "days": "7", "products": "{slug}"}, foreign="refused"),
    "POST /links/{link_id}": Ask(foreign="refused"),
    "GET /installations": Ask("?product={slug}", foreign="refused"),
    "GET /installations/{installation_id}": Ask(foreign="refused"),
    "GET /to-clear-up": Ask("?product={slug}", foreign="refused"),
    "GET /to-clear-up/export": Ask("?product={slug}", foreign="refused"),
    "GET /to-clear-up/{clear_up_id}": Ask(foreign="refused"),
    "POST /to-clear-up": Ask(body={"action": "asked", "item_{clear_up_id}": "1"}, foreign="no product"),
    "POST /to-clear-up/undo": Ask(body={"undo": "{clear_up_id}"}, foreign="no product"),
    "GET /licenses": Ask("?product={slug}", foreign="refused"),
    "GET /licenses/export": Ask("?product={slug}", foreign="refused"),
    "GET /licenses/import": Ask(),
    "POST /licenses/import": Ask(body={"product": "{slug}", "content": "a2V5ClgK"}, foreign="refused"),
    "GET /licenses/new": Ask(),
    "POST /licenses/new": Ask(body={"product": "{slug}", "key": "{fresh}"}, foreign="refused"),
    "GET /licenses/{license_id}": Ask(foreign="refused"),
    "GET /licenses/{license_id}/edit": Ask(foreign="refused"),
    "POST /licenses/{license_id}": Ask(body={"fields": "status", "status": "suspended"}, foreign="refused"),
    "GET /customers": Ask(foreign="refused"),
    "GET /customers/export": Ask(foreign="refused"),
    "GET /customers/new": Ask(foreign="refused"),
    "POST /customers/new": Ask(body={"name": "{fresh}"}, foreign="refused"),
    "GET /customers/{customer_id}": Ask(foreign="refused"),
    "GET /customers/{customer_id}/edit": Ask(foreign="refused"),
    "POST /customers/{customer_id}": Ask(body={"fields": "name", "name": "Ada"}, foreign="refused"),
    "POST /customers/{customer_id}/notes": Ask(body={"note": "called"}, foreign="refused"),
    "GET /map": Ask("?product={slug}&show=active", foreign="refused"),
    "GET /search": Ask("?q=7.2.1&product={slug}", foreign="refused"),
    "GET /intake": Ask("?product={slug}", foreign="refused"),
    "GET /sign-in/again": NO_PRODUCT,
    "POST /sign-in/again": NO_PRODUCT,
    "GET /sign-in/again/with/{provider}": NO_PRODUCT,
    "POST /sign-out": NO_PRODUCT,
    "GET /account": NO_PRODUCT,
    "POST /account/profile": NO_PRODUCT,
    "POST /account/columns": NO_PRODUCT,
    "POST /account/password": NO_PRODUCT,
    "POST /account/totp": NO_PRODUCT,
    "POST /account/totp/confirm": NO_PRODUCT,
    "POST /account/totp/remove": NO_PRODUCT,
    "POST /account/codes": NO_PRODUCT,
    "POST /account/sessions/end": NO_PRODUCT,
    "GET /account/passkeys/new": NO_PRODUCT,
    "POST /account/passkeys": NO_PRODUCT,
    "POST /account/passkeys/rename": NO_PRODUCT,
    "POST /account/passkeys/remove": NO_PRODUCT,
    "POST /account/identities/unlink": NO_PRODUCT,
    "POST /account/link/{provider}": NO_PRODUCT,
    "POST /account/tokens": Ask(
        body={"label": "x", "scopes": "numbers", "products": "{slug}"}, foreign="refused"
    ),
    "POST /account/tokens/revoke": NO_PRODUCT,
    "GET /features": Ask("?product={slug}", foreign="refused"),
    "GET /changes": Ask("?product={slug}", foreign="refused"),
    "GET /releases": Ask("?product={slug}", foreign="refused"),
    "GET /settings": Ask(),
    "POST /settings/jobs": Ask(body={"job": "no such job"}, foreign="no product"),
    "POST /settings/products/{slug}/schedule": Ask(
        body={"interval": "1d", "grace": "1d", "lost_after": "30d", "new_for": "7d"}, foreign="refused"
    ),
    "POST /settings/products/{slug}/releases": Ask(body={"version": "{fresh}"}, foreign="refused"),
    "POST /settings/products/{slug}/editions": Ask(
        body={"edition": "{fresh}", "name": "x"}, foreign="refused"
    ),
    "GET /people": Ask(foreign="refused"),
    "POST /people/invite": Ask(foreign="refused"),
    "POST /people/withdraw": Ask(foreign="refused"),
    "POST /people/{person_id}": Ask(foreign="refused"),
    "GET /people/sign-in": Ask(foreign="refused"),
    "POST /people/sign-in/link": Ask(foreign="refused"),
    "POST /people/sign-in/unlink": Ask(foreign="refused"),
    "GET /people/sign-in/try/{provider}": Ask(foreign="refused"),
    "GET /tokens": Ask(foreign="refused"),
    "POST /tokens": Ask(foreign="refused"),
    "POST /tokens/revoke": Ask(foreign="refused"),
    "GET /audit": Ask(foreign="refused"),
    "GET /privacy/office": Ask(foreign="refused"),
    "POST /privacy/office/notices": Ask(
        body={"version": "{fresh}", "text": "We collect little."}, foreign="refused"
    ),
    "POST /privacy/office/levels": Ask(
        body={"subject": "{installation}", "level": "system"}, foreign="refused"
    ),
    "POST /privacy/office/erasures": Ask(
        body={"subject": "x", "confirmed": "y", "reason": "asked"}, foreign="refused"
    ),
    "GET /privacy/office/erasures/{erasure_id}": Ask(foreign="refused"),
    "POST /privacy/office/access": Ask(body={"subject": "{installation}"}, foreign="refused"),
    "POST /privacy/office/links": Ask(body={"subject": "{customer_id}"}, foreign="refused"),
    "GET /pivot": Ask("?kind=installation&value={installation}", foreign="refused"),
    "GET /api/v1/pivot": Ask("?kind=installation&value={installation}", foreign="refused"),
    "GET /cases": Ask(foreign="refused"),
    "GET /cases/{case_id}": Ask(foreign="refused"),
    "POST /cases/{case_id}": Ask(body={"action": "take"}, foreign="refused"),
    "POST /cases/{case_id}/files": Ask(foreign="refused"),
    "GET /cases/{case_id}/files/{attachment_id}": Ask(foreign="refused"),
    "POST /cases/{case_id}/evidence": Ask(body={"purpose": "a look"}, foreign="refused"),
    "GET /api/v1/cases": Ask(foreign="refused"),
    "GET /api/v1/cases/{case_id}": Ask(foreign="refused"),
    "POST /api/v1/cases/{case_id}": Ask(body={"action": "take"}, foreign="refused"),
    "GET /support": Ask(foreign="refused"),
    "POST /support": Ask(body={"case_id": "{fresh}"}, foreign="refused"),
    "GET /support/{support_case_id}": Ask(foreign="refused"),
    "POST /support/{support_case_id}/open": Ask(body={"reason": "a look"}, foreign="refused"),
    "POST /support/{support_case_id}/approve": Ask(body={"approval_id": "x"}, foreign="refused"),
    "POST /support/{support_case_id}/link": Ask(body={"product": "{slug}"}, foreign="refused"),
    "POST /support/{support_case_id}/close": Ask(foreign="refused"),
    "GET /privacy/office/requests": Ask(foreign="refused"),
    "POST /privacy/office/requests": Ask(body={"kind": "access", "subject": "x"}, foreign="refused"),
    "GET /privacy/office/requests/{request_id}": Ask(foreign="refused"),
    "POST /privacy/office/requests/{request_id}": Ask(body={"step": "open"}, foreign="refused"),
    "GET /privacy/office/holds": Ask(foreign="refused"),
    "POST /privacy/office/holds": Ask(
        body={"subject": "x", "ground": "y", "expires": "z"}, foreign="refused"
    ),
    "POST /privacy/office/holds/{hold_id}": Ask(body={"step": "confirm"}, foreign="refused"),
    "POST /privacy/office/restrictions": Ask(
        body={"subject": "x", "step": "withdraw", "reason": "y"}, foreign="refused"
    ),
    "GET /privacy/office/disclosures": Ask(foreign="refused"),
    "POST /privacy/office/disclosures": Ask(
        body=dict.fromkeys(("recipient", "subjects", "fields", "ground", "duty"), "x"), foreign="refused"
    ),
    "GET /privacy/office/processing": Ask(foreign="refused"),
    "GET /privacy/office/processing.json": Ask(foreign="refused"),
    "GET /privacy/office/breach": Ask(foreign="refused"),
    "POST /privacy/office/breach": Ask(body={"since": "x", "until": "y"}, foreign="refused"),
    "GET /api/v1/installations": Ask(),
    "GET /api/v1/installations/{installation_id}": Ask(foreign="refused"),
    "GET /api/v1/pings": Ask("?installation_id={installation}"),
    "GET /api/v1/changes": Ask("?installation_id={installation}"),
    "GET /api/v1/fleet": Ask("?by=product"),
    "GET /api/v1/features": Ask("?product={slug}", foreign="refused"),
    "GET /api/v1/cohorts": Ask("?product={slug}", foreign="refused"),
    "GET /api/v1/active": Ask("?product={slug}", foreign="refused"),
    "GET /api/v1/feature-use": Ask("?product={slug}", foreign="refused"),
    "GET /api/v1/search": Ask("?q={installation}"),
    "GET /api/v1/unknown-keys": Ask("?product={slug}", foreign="refused"),
    "GET /api/v1/licenses-over-seats": Ask("?product={slug}", foreign="refused"),
    "GET /api/v1/licenses-expiring": Ask("?product={slug}", foreign="refused"),
    "GET /api/v1/licenses/{license_id}/seats": Ask(foreign="refused"),
    "GET /api/v1/export/licenses": Ask("?format=csv", foreign="refused"),
    "GET /api/v1/export/{what}": Ask("?format=csv"),
    "GET /api/v1/licenses": Ask(),
    "GET /api/v1/licenses/{license_id}": Ask(foreign="refused"),
    "POST /api/v1/licenses": Ask(body={"product": "{slug}", "key": "{fresh}"}, foreign="refused"),
    "PATCH /api/v1/licenses/{license_id}": Ask(body={"seats": 2}, foreign="refused"),
    "POST /api/v1/licenses/import": Ask("?product={slug}", body={"key": "{fresh}"}, foreign="refused"),
    "GET /api/v1/customers": Ask(foreign="refused"),
    "GET /api/v1/customers/{customer_id}": Ask(foreign="refused"),
    "POST /api/v1/customers": Ask(body={"name": "{fresh}"}, foreign="refused"),
    "PATCH /api/v1/customers/{customer_id}": Ask(body={"name": "Ada"}, foreign="refused"),
    "GET /api/v1/products": Ask(),
    "POST /api/v1/witness/add-checkpoint": Ask(foreign="refused"),
}
"""A route that is not here fails."""


OTHERS = (
    *("note_id", "view_id", "link_id", "erasure_id", "case_id", "attachment_id"),
    *("request_id", "hold_id"),
)
"""Ids in paths of which there is nothing."""


def name(route):
    return f"{route.method} {route.path}"


def test_every_route_for_people_is_asked():
    assert {name(route) for route in PERSON_ROUTES} == set(ASKED)


@pytest.fixture
async def known(site, tmp_path):
    """Two products with a fleet, a license and a customer each, by slug."""
    found, keyring = {}, open_keyring(tmp_path / "keyring.json")
    products = [(await site.with_database(add_product, title, now=NOW))[0] for title in ("Mine", "Theirs")]
    for days in (30, 0):
        await site.with_database(make_partitions, (NOW - timedelta(days=days)).date())
    await DemoFleet(
        site.dsn, {product.slug: product.id for product in products}, installations=12, days=8
    ).settle()
    for product in products:
        [installation, *_] = await site.execute(
            "SELECT installation_id FROM installations WHERE product_id = $1", product.id
        )
        for field, before, after in (("x", "a", "b"), ("client_address", "203.0.113.7", "203.0.113.9")):
            await site.execute(
                "INSERT INTO changes (installation_id, changed_at, sequence, field, before, after) VALUES ($1, $2, 1, $3, $4, $5)",
                *(installation[0], NOW, field, before, after),
            )
        customer = await site.with_database(customer_of, product.slug)
        made = await site.with_database(license_of, keyring, product.slug)
        found[product.slug] = Known(product.slug, str(installation[0]), str(made), str(customer))
    return found


async def customer_of(connection, slug):
    from telemetry_server.check.licenses.columns import customer_patch

    patch, _ = customer_patch({"email": f"{slug}@example.com"})
    return (await create_customer(connection, patch, by=Author("a test", None), now=NOW)).customer_id


async def license_of(connection, keyring, slug):
    hashes = await key_hashes(connection, keyring, slug)
    patch, _ = license_patch({"seats": 1})
    made = await create_license(connection, hashes, f"KEY-{slug}", patch, by=Author("a test", None), now=NOW)
    return made.license_id


class Person:
    """One person of a role, with a browser and a token."""

    def __init__(self, site, role, slug):
        self.site, self.role, self.slug = site, role, slug

    async def arrive(self):
        self.id = uuid4()
        limited = await self.site.execute("SELECT product_id FROM products WHERE slug = $1", self.slug)
        products = [row["product_id"] for row in limited] or None
        await self.site.execute(
            "INSERT INTO people (person_id, email, name, role, product_ids, created_at) VALUES ($1, $2, '', $3, $4, now())",
            *(self.id, f"{self.id}@example.com", self.role.value, products),
        )
        await self.renew()
        token = await self.site.with_database(
            create_token, self.role, "x", None, Limits(self.id), now=datetime.now(UTC)
        )
        self.program = self.site.client(Authorization=f"Bearer {token}")
        return self

    async def renew(self):
        now = datetime.now(UTC)
        self.secret = await self.site.with_database(
            create_session, self.role, now, now + timedelta(hours=1), person_id=self.id
        )
        self.browser = self.site.client(Cookie=f"session={self.secret}")

    async def ask(self, route, known, more=""):
        """Pages by the browser, the API by the token."""
        asked, who = ASKED[name(route)], self.browser if route.page else self.program
        values = {
            "slug": known.slug,
            "installation": known.installation,
            "installation_id": known.installation,
            "license_id": known.license,
            "customer_id": known.customer,
            "person_id": str(uuid4()),
            "clear_up_id": str(uuid4()),
            **{each: str(uuid4()) for each in OTHERS},
            "what": "installations",
            "provider": "none",
            "support_case_id": "4711",
            "fresh": f"fresh-{uuid4()}",
        }
        path = re.sub(r"\{(\w+)\}", lambda found: values[found[1]], route.path + asked.query + more)
        if route.method == "GET":
            return await who.get(path)
        body = {
            each: value.format(**values) if isinstance(value, str) else value
            for each, value in (asked.body or {}).items()
        }
        if not route.page:
            return await who.request(route.method, path, json=body)
        csrf_token = Viewer(self.role, self.secret).csrf_token
        answer = await who.post(path, csrf_token=csrf_token, **body)
        if route.path == "/sign-out":
            await self.renew()
        return answer


def is_allowed(answer):
    """A form that lacks its fields is a 400, what is not there a 404: both were let in."""
    signed_out = answer.headers.get("Location", "").startswith("/sign-in?")
    return answer.status not in {401, 403} and not signed_out


@pytest.mark.parametrize("role", Role)
async def test_a_role_may_do_what_the_table_says_and_only_with_its_products(site, known, role):
    everyone = await Person(site, role, None).arrive()
    limited = await Person(site, role, "mine").arrive()
    wrong = []
    for route in PERSON_ROUTES:
        held = route.permission in BY_ROLE[role]
        answer = await everyone.ask(route, known["mine"])
        if is_allowed(answer) != held and not _needs_an_account(route, answer):
            wrong.append(f"{name(route)}: {answer.status} {answer.text[:200]}")
        for_all = route.permission in OF_ALL_PRODUCTS
        answer = await limited.ask(route, known["mine"])
        if is_allowed(answer) != (held and not for_all) and not _needs_an_account(route, answer):
            wrong.append(f"{name(route)} of its product: {answer.status} {answer.text[:200]}")
        if (
            held
            and ASKED[name(route)].foreign == "empty"
            and not any(mark in answer.text for mark in known["mine"].marks)
        ):
            wrong.append(f"{name(route)} of its product has nothing of it")
        answer = await limited.ask(route, known["theirs"])
        if held and not _as_foreign(ASKED[name(route)].foreign, answer, known["theirs"]):
            wrong.append(f"{name(route)} of another product: {answer.status} {answer.text[:2000]}")
    assert wrong == []


def _needs_an_account(route, answer):
    """The page lets the person in, and the person lacks what it is about: a password, a second factor."""
    return route.path.startswith("/sign-in/again") and answer.status == 403


def _as_foreign(expected, answer, theirs):
    if expected == "refused":
        return answer.status in {400, 403, 404} and not {theirs.license, theirs.installation} & set(
            re.findall(r"[\w-]{36}", answer.text.replace(f"/installations/{theirs.installation}", ""))
        )
    if expected == "empty":
        return answer.status == 200 and not any(mark in answer.text for mark in theirs.marks)
    return expected == "no product"


async def nothing():
    """A token is not signed out."""


@pytest.mark.parametrize("role", [Role.VIEWER, Role.ADMIN])
async def test_tokens_of_the_command_line_keep_their_rights(site, known, role):
    token = await site.with_database(create_token, role, "x", now=NOW)
    person = Person(site, role, None)
    person.program = person.browser = site.client(Authorization=f"Bearer {token}")
    person.secret, person.renew = "", nothing
    for route in PERSON_ROUTES:
        held = route.permission in FROM_THE_SHELL[role] - IN_A_BROWSER_ONLY
        answer = await person.ask(route, known["theirs"])
        assert is_allowed(answer) == held, (name(route), answer.status, answer.text)


async def test_lists_without_an_installation_have_nothing_of_another_product(site, known):
    person = await Person(site, Role.VIEWER, "mine").arrive()
    for path in ("/api/v1/pings?limit=500", "/api/v1/changes?limit=500"):
        products = {item["product"] for item in (await person.program.get(path)).json["items"]}
        assert products == {"mine"}, path


@pytest.mark.parametrize("role", Role)
async def test_who_may_not_see_addresses_sees_none_in_full(site, known, role):
    person = await Person(site, role, None).arrive()
    full = re.compile(r"\b(?:203\.0\.113|198\.51\.100|192\.0\.2|10\.0\.0)\.(?!0/24)\d+\b")
    seen = set()
    for route in PERSON_ROUTES:
        if route.method == "GET" and route.permission in BY_ROLE[role]:
            for more in ("", "&columns=all") if "{what}" in route.path else ("",):
                if full.search((await person.ask(route, known["mine"], more)).text):
                    seen.add(name(route))
    assert bool(seen) == (Permission.ADDRESSES in BY_ROLE[role]), seen
    if Permission.EXPORT in BY_ROLE[role]:
        exported = await person.program.get("/api/v1/export/changes?format=csv")
        assert bool(full.search(exported.text)) == (Permission.ADDRESSES in BY_ROLE[role])


async def test_customers_are_not_changed_by_way_of_their_licenses(site, known):
    token = await site.with_database(
        create_token, Role.ADMIN, "x", None, Limits(scopes=["licenses", "licenses.change"]), now=NOW
    )
    program = site.client(Authorization=f"Bearer {token}")
    path = f"/api/v1/licenses/{known['mine'].license}"
    refused = await program.request("PATCH", path, json={"customer_id": known["theirs"].customer})
    assert (refused.status, "customers.change" in refused.json["detail"]) == (403, True)
    row = {"key": "K", "customer_email": "theirs@example.com", "customer_name": "evil"}
    refused = await program.request("POST", "/api/v1/licenses/import?product=mine&format=ndjson", json=row)
    assert refused.status == 403
    assert (await program.request("PATCH", path, json={"seats": 3})).status == 200


async def test_counts_by_id_need_the_permission_of_installations(site, known):
    token = await site.with_database(create_token, Role.ADMIN, "x", None, Limits(scopes=["numbers"]), now=NOW)
    program = site.client(Authorization=f"Bearer {token}")
    assert (await program.get("/api/v1/fleet?by=product")).status == 200
    for wanted in (f"id%3D{known['mine'].installation}", f"license%3D{known['mine'].license}"):
        assert (await program.get(f"/api/v1/fleet?by=country&filter={wanted}")).status == 403


async def test_a_token_of_some_products_sees_no_customers(site, known):
    ids = await site.execute("SELECT product_id FROM products WHERE slug = 'mine'")
    limits = Limits(product_ids=[row["product_id"] for row in ids])
    token = await site.with_database(create_token, Role.ADMIN, "x", None, limits, now=NOW)
    program = site.client(Authorization=f"Bearer {token}")
    refused = await program.get("/api/v1/customers")
    assert (refused.status, "limited to some products" in refused.json["detail"]) == (403, True)
    assert [each["slug"] for each in (await program.get("/api/v1/products")).json["items"]] == ["mine"]
    unknown = (await program.get("/api/v1/installations?filter=product%3Dno-such")).json["detail"]
    foreign = (await program.get("/api/v1/installations?filter=product%3Dtheirs")).json["detail"]
    assert foreign.replace("theirs", "no-such") == unknown
    assert "mine" not in unknown
