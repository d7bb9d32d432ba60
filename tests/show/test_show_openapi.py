"""The published contract: valid, whole, and true of what the server really answers."""

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from installation import Installation, post
from jsonschema import Draft202012Validator, FormatChecker
from openapi_spec_validator import OpenAPIV31SpecValidator

from telemetry_server import app_keys
from telemetry_server.model import Role
from telemetry_server.routing import Access, Route
from telemetry_server.show.openapi import document

WIRE = Path(__file__).parents[1] / "wire"


class Contract:
    """The OpenAPI document that a server serves."""

    def __init__(self, described):
        self.described = described

    def errors(self, schema, instance):
        whole = {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            **schema,
            "components": self.described["components"],
        }
        return [
            e.message
            for e in Draft202012Validator(whole, format_checker=FormatChecker()).iter_errors(instance)
        ]

    def check(self, method, path, answer):
        """Holds an answer against what is declared for its route and status."""
        responses = self.described["paths"][path][method.lower()]["responses"]
        assert str(answer.status) in responses, f"{answer.status} is not declared for {path}"
        content = responses[str(answer.status)].get("content", {})
        if not content:
            assert answer.body == b""
            return
        media_type = answer.headers["Content-Type"].partition(";")[0]
        if "application/octet-stream" not in content:
            assert media_type in content
        if media_type in {"application/json", "application/problem+json"}:
            assert self.errors(content[media_type]["schema"], answer.json) == []


@pytest.fixture
async def contract(site):
    return Contract((await site.client().get("/openapi.json")).json)


async def test_the_document_is_valid_openapi(contract):
    assert contract.described["openapi"].startswith("3.1")
    assert list(OpenAPIV31SpecValidator(contract.described).iter_errors()) == []


async def test_every_schema_in_it_is_valid(contract):
    for schema in contract.described["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)


async def test_every_route_of_the_server_is_in_it(site, contract):
    registered = {(route.method, route.resource.canonical) for route in site.app.router.routes()}
    registered = {
        (method, path) for method, path in registered if method not in ("*", "HEAD")
    }  # "*" tells what is not there; HEAD goes where GET does
    described = {
        (method.upper(), path) for path, methods in contract.described["paths"].items() for method in methods
    }
    assert described == registered
    assert ("POST", "/v1/pings") in described


async def test_every_operation_has_a_name_of_its_own_and_tells_its_errors(contract):
    operations = [o for methods in contract.described["paths"].values() for o in methods.values()]
    names = [operation["operationId"] for operation in operations]
    assert len(set(names)) == len(names)
    for operation in operations:
        assert "application/problem+json" in operation["responses"]["default"]["content"]
        if operation["security"] and "apiToken" in operation["security"][0]:
            assert {"401", "403"} <= operation["responses"].keys()


async def test_every_parameter_in_a_path_is_declared(contract):
    for path, methods in contract.described["paths"].items():
        for operation in methods.values():
            declared = {p["name"] for p in operation.get("parameters", []) if p["in"] == "path"}
            assert declared == set(re.findall(r"\{(\w+)\}", path))


async def test_real_answers_are_as_declared(site, contract, fleet):
    program, stranger = await site.program(), site.client()
    one = fleet[0]
    asked = (
        (program, "/api/v1/installations?limit=500", "/api/v1/installations"),
        (program, f"/api/v1/installations/{one}", "/api/v1/installations/{installation_id}"),
        (program, "/api/v1/pings?limit=500", "/api/v1/pings"),
        (program, "/api/v1/changes?limit=500", "/api/v1/changes"),
        (program, "/api/v1/licenses", "/api/v1/licenses"),
        (program, "/api/v1/customers", "/api/v1/customers"),
        (program, "/api/v1/products", "/api/v1/products"),
        (program, "/api/v1/fleet?by=country", "/api/v1/fleet"),
        (program, "/api/v1/fleet?by=country&step=week", "/api/v1/fleet"),
        (program, "/api/v1/fleet?by=life&step=week", "/api/v1/fleet"),
        (program, "/api/v1/features", "/api/v1/features"),
        (program, "/api/v1/cohorts", "/api/v1/cohorts"),
        (program, "/api/v1/export/pings?format=csv", "/api/v1/export/{what}"),
        (program, "/api/v1/export/nothing", "/api/v1/export/{what}"),
        (program, "/api/v1/installations?limit=0", "/api/v1/installations"),
        (program, f"/api/v1/installations/{one.__class__(int=1)}", "/api/v1/installations/{installation_id}"),
        (stranger, "/api/v1/pings", "/api/v1/pings"),
        (stranger, "/healthz", "/healthz"),
        (stranger, "/readyz", "/readyz"),
        (stranger, "/openapi.json", "/openapi.json"),
        (stranger, "/schemas/ping.v1.json", "/schemas/ping.v1.json"),
        (stranger, "/schemas/upload.v1.json", "/schemas/upload.v1.json"),
        (stranger, "/static/style.css", "/static/{name}"),
        (stranger, "/static/none.css", "/static/{name}"),
        (stranger, "/sign-in", "/sign-in"),
        (program, "/", "/"),
        (program, "/installations", "/installations"),
        (program, "/installations?q=", "/installations"),
        (program, f"/installations/{one}", "/installations/{installation_id}"),
        (program, "/intake", "/intake"),
    )
    for client, path, route in asked:
        contract.check("GET", route, await client.get(path))
    answer = await stranger.post("/sign-in", token=await site.link())
    contract.check("POST", "/sign-in", answer)
    contract.check("POST", "/sign-in", await site.client().post("/sign-in", token="used"))


async def test_forks_quarantine_and_bare_copies_are_as_declared_too(site, contract, fleet):
    program = await site.program()
    for row in await site.execute("SELECT DISTINCT installation_id FROM forks"):
        path = f"/api/v1/installations/{row['installation_id']}"
        contract.check("GET", "/api/v1/installations/{installation_id}", await program.get(path))
    await site.execute(
        'UPDATE states SET facts = \'{"license":{"status":"trial"},"privacy":{"level":"license"}}\', place = \'{}\''
    )
    contract.check("GET", "/api/v1/installations", await program.get("/api/v1/installations"))
    contract.check("GET", "/api/v1/pings", await program.get("/api/v1/pings"))


async def test_the_protocols_answers_are_as_declared(site, contract, product):
    enrolled = await _enrol(site)
    contract.check("POST", "/v1/enroll", enrolled)
    refused = await site.client().request(
        "POST", "/v1/enroll", data=b"{}", headers={"Authorization": "Bearer pk_wrong"}
    )
    contract.check("POST", "/v1/enroll", refused)
    copy = Installation(site.url, enrolled.json)
    answer = await copy.send(copy.ping(), copy.ping(reason="because"), copy.ping())
    assert [result["status"] for result in answer.json["results"]] == ["accepted", "rejected", "accepted"]
    contract.check("POST", "/v1/pings", answer)
    contract.check("POST", "/v1/pings", await copy.send_bytes(b"[]"))
    contract.check("POST", "/v1/pings", await copy.send_bytes(b"{"))
    assert (
        contract.errors(
            contract.described["components"]["schemas"]["Upload"], json.loads(copy.upload(copy.ping()))
        )
        == []
    )


async def test_every_route_answers_with_the_struct_it_names(site, contract, product, fleet):
    """A new route that is asked without a body needs no line here."""
    bodies = {
        "/api/v1/customers": b'{"email": "ada@example.com", "custom": {"crm": 7}}',
        "/api/v1/customers/{customer_id}": b'{"name": "Ada", "reason": "she asked for it"}',
        "/api/v1/licenses": b'{"product": "%s", "key": "K-1", "seats": 3}' % product.slug.encode(),
        "/api/v1/licenses/{license_id}": b'{"expires_at": "2031-01-01", "edition": "pro"}',
        "/api/v1/licenses/import": b'{"key": "K-2", "seats": 2}\n{"key": "K-3", "seats": "many"}\n',
        "/api/v1/cases/{case_id}": b'{"action": "note", "reason": "asked"}',
        "/v1/enroll": b"{}",
    }
    grant = {"grant_id": "019ab6ef-f2a0-7c44-8d53-1b6a0f4e7c90"}
    until = f"{datetime.now(UTC) + timedelta(hours=1):%Y-%m-%dT%H:%M:%SZ}"
    signed = {
        "/v1/support-grants": {
            **grant,
            "case": "4711",
            "key": "2026w49-1a2b3c4d",
            "not_after": until,
            "sealed": "A" * 200,
        },
        "/v1/support-grants/revoke": grant,
    }
    program, known = await site.program(Role.ADMIN), {"installation_id": fleet[0]}
    [case] = await site.execute(
        "INSERT INTO cases (case_id, product_id, subject_kind, subject_id, name, score, waterfall, first_seen, last_seen,"
        " opened_at) SELECT gen_random_uuid(), product_id, 'license', 'x', 'A case', 0, '{}', now(), now(), now()"
        " FROM products LIMIT 1 RETURNING case_id::text"
    )
    known["case_id"] = case["case_id"]
    object.__setattr__(site.app[app_keys.SETTINGS], "public_figures", True)  # off, its route is a 404
    [key] = await site.execute("SELECT product_key FROM product_keys")
    copy = Installation(site.url, (await _enrol(site)).json)
    every = site.app[app_keys.ROUTES]
    routes = [route for route in every if any(type(kind) is not str for kind in route.answers.values())]
    others = {
        route.path for route in every if route not in routes and route.path.startswith(("/api/", "/v1/"))
    }
    assert others == {
        "/api/v1/export/licenses",
        "/api/v1/export/{what}",
        "/api/v1/witness/add-checkpoint",
        "/v1/bundles",
        "/v1/support-keys",
    }
    for route in sorted(routes, key=lambda route: ["POST", "GET", "PATCH"].index(route.method)):
        path = route.path.format(**known) + f"?product={product.slug}" * route.path.endswith("/import")
        headers = {"Content-Type": "application/json"}
        if route.access is Access.PRODUCT_KEY:
            headers["Authorization"] = f"Bearer {key['product_key']}"
        if route.path in signed:
            body = json.dumps(signed[route.path]).encode()
            headers["Telemetry-Signature"] = copy.sign(body, route.path)
            answer = await program.request("POST", route.path, data=body, headers=headers)
        elif route.path == "/v1/pings":
            answer = await copy.send(copy.ping(), copy.ping(reason="because"))
        elif route.access is Access.SIGNATURE:
            headers["Telemetry-Signature"] = copy.sign(b"{}", path)
            answer = await post(site.url + path, b"{}", headers)
        else:
            answer = await program.request(route.method, path, data=bodies.get(route.path), headers=headers)
        contract.check(route.method, route.path, answer)
        assert answer.status in route.answers, answer.body
        struct = msgspec.json.decode(answer.body, type=route.answers[answer.status])
        assert msgspec.json.encode(struct) == answer.body, "the answer has more than its struct, or less"
        known = {name: value for name, value in answer.json.items() if name.endswith("_id") and value} | known
    assert {"license_id", "customer_id"} <= known.keys()


async def _enrol(site):
    [row] = await site.execute("SELECT product_key FROM product_keys")
    headers = {"Authorization": f"Bearer {row['product_key']}"}
    return await site.client().request("POST", "/v1/enroll", data=b"{}", headers=headers)


async def test_the_published_schemas_tell_good_pings_from_bad_ones(site):
    ping = (await site.client().get("/schemas/ping.v1.json")).json
    upload = (await site.client().get("/schemas/upload.v1.json")).json
    assert ping["$id"].endswith("/schemas/ping.v1.json")
    assert upload["properties"]["pings"]["items"] == {"$ref": "ping.v1.json"}
    checked = Draft202012Validator(ping, format_checker=FormatChecker())
    for case in _wire("pings_valid.json"):
        if not {"stripped", "lenient"} & case.keys():  # the server takes what no client should mean to send
            assert [error.message for error in checked.iter_errors(case["ping"])] == [], case["name"]
    told_by_a_schema = {
        "missing_field",
        "wrong_type",
        "unknown_value",
        "too_long",
        "too_many",
        "out_of_range",
    }
    bad = [case for case in _wire("pings_invalid.json") if case["code"] in told_by_a_schema]
    assert [case["name"] for case in bad if checked.is_valid(case["ping"])] == []
    assert len(bad) > 50


def _wire(name):
    return [case for case in json.loads((WIRE / name).read_text()) if "ping" in case]


def test_the_pattern_of_a_route_is_no_part_of_its_path():
    route = Route("GET", r"/x/{name:[a-z]+}", None, "", Access.PUBLIC)
    assert list(document((route,), "http://x")["paths"]) == ["/x/{name}"]
