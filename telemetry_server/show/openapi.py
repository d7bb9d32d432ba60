"""The published contract: the OpenAPI 3.1 document, made from the route table, and the JSON Schemas."""

import re
from collections.abc import Sequence
from typing import Any

from aiohttp import web

from telemetry_server import app_keys
from telemetry_server.check.fields import load_registry
from telemetry_server.check.schema import ping_json_schema, upload_json_schema
from telemetry_server.errors import BadRequest, Forbidden, TelemetryError, Unauthenticated, Unavailable
from telemetry_server.middleware import Problem
from telemetry_server.routing import Access, Route, Shape, get
from telemetry_server.show.responses import json_response
from telemetry_server.show.schemas import REFERENCE, schemas
from telemetry_server.version import version

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_SECURITY: dict[Access, list[dict[str, list[str]]]] = {
    Access.PUBLIC: [],
    Access.PRODUCT_KEY: [{"productKey": []}],
    Access.SIGNATURE: [{"signature": []}],
    Access.WEBHOOK: [{"webhook": []}],
    Access.PERSON: [{"apiToken": []}, {"session": []}],
}
_SCHEMES = {
    "productKey": {"type": "http", "scheme": "bearer", "description": "The product key; it is public."},
    "signature": {
        "type": "apiKey",
        "in": "header",
        "name": "Telemetry-Signature",
        "description": (
            "v1 product=<slug> key=<key> installation=<uuid> hmac=<lower-case hex>; "
            'hmac = HMAC-SHA256(secret, "v1" LF method LF path LF body as sent, after Content-Encoding).'
        ),
    },
    "webhook": {
        "type": "apiKey",
        "in": "header",
        "name": "webhook-signature",
        "description": "Standard Webhooks, with webhook-id and webhook-timestamp.",
    },
    "apiToken": {
        "type": "http",
        "scheme": "bearer",
        "description": "tlm_…, from telemetry-server token create.",
    },
    "session": {
        "type": "apiKey",
        "in": "cookie",
        "name": "session",
        "description": "__Host-session over HTTPS.",
    },
}
_RECEIPT = {
    "description": (
        "v1 hmac=<lower-case hex>; hmac = HMAC-SHA256(secret, "
        '"receipt" LF hex of SHA-256(request body as sent) LF response body). '
        "Delete a ping only after a valid receipt."
    ),
    "required": True,
    "schema": {"type": "string"},
}
_RECEIPT_OF_A_REFUSAL = _RECEIPT | {
    "description": f"{_RECEIPT['description']} Missing where the signature was not checked.",
    "required": False,
}
_FOR_PEOPLE = (BadRequest, Unauthenticated, Forbidden, Unavailable)  # possible on each of their routes


def document(routes: Sequence[Route], server: str) -> dict[str, Any]:
    """The OpenAPI document of `routes` at the base URL `server`."""
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(_path(route), {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "License telemetry server",
            "version": version(),
            "description": "Where software runs, and under which license.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "jsonSchemaDialect": _DIALECT,
        "servers": [{"url": server}],
        "paths": paths,
        "components": {"schemas": schemas(load_registry(), routes), "securitySchemes": _SCHEMES},
    }


def _path(route: Route) -> str:
    """The path without the patterns of its parameters."""
    return re.sub(r"\{(\w+):[^}]*\}", r"{\1}", route.path)


def _operation(route: Route) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": re.sub(r"\W+", "_", f"{route.method.lower()} {_path(route)}").strip("_"),
        "summary": route.summary,
        "tags": [_tag(route)],
        "security": _SECURITY[route.access],
        "responses": _responses(route),
    }
    if route.parameters:
        operation["parameters"] = [
            {
                "name": parameter.name,
                "in": parameter.where,
                "required": parameter.required,
                "description": parameter.text,
                "schema": dict(parameter.schema),
            }
            for parameter in route.parameters
        ]
    if isinstance(route.body, str) and "/" in route.body:
        operation["requestBody"] = {"required": True, "content": {route.body: {"schema": {"type": "string"}}}}
    elif route.body:
        media_type = "application/x-www-form-urlencoded" if route.page else "application/json"
        operation["requestBody"] = {"required": True, "content": {media_type: _content(route.body)}}
    return operation


def _tag(route: Route) -> str:
    if route.access in {Access.PRODUCT_KEY, Access.SIGNATURE}:
        return "installations"
    if route.access is Access.WEBHOOK:
        return "shop"
    if route.page:
        return "pages"
    return "api" if route.path.startswith("/api/") else "server"


def _responses(route: Route) -> dict[str, Any]:
    refused = _FOR_PEOPLE if route.access is Access.PERSON else ()
    responses: dict[str, Any] = {}
    for error in (*refused, *route.errors):
        responses.setdefault(str(error.status), _problem(error, route.access))
    for status, shape in route.answers.items():
        responses[str(status)] = _answer(route, status, shape)
    return responses | {"default": _problem(TelemetryError, route.access)}


def _answer(route: Route, status: int, shape: Shape) -> dict[str, Any]:
    answer: dict[str, Any] = {"description": route.summary if status < 300 else f"Status {status}."}  # noqa: PLR2004
    if not shape and status < 300:  # noqa: PLR2004
        return answer
    if not shape:
        answer["headers"] = {"Location": {"required": True, "schema": {"type": "string"}}}
    elif isinstance(shape, str) and "/" in shape:
        answer["content"] = {shape: {"schema": {"type": "string"}}}
    else:
        answer["content"] = {"application/json": _content(shape)}
    if route.access is Access.SIGNATURE:
        answer["headers"] = {"Telemetry-Receipt": _RECEIPT}
    return answer


def _problem(error: type[TelemetryError], access: Access) -> dict[str, Any]:
    problem: dict[str, Any] = {
        "description": (error.__doc__ or "").strip(),
        "content": {"application/problem+json": _content(Problem)},
    }
    headers: dict[str, Any] = {}
    if error.status in {429, 503}:
        headers["Retry-After"] = {"description": "Seconds.", "schema": {"type": "integer", "minimum": 0}}
    if access is Access.SIGNATURE and error is not Unauthenticated:
        headers["Telemetry-Receipt"] = _RECEIPT_OF_A_REFUSAL
    return problem | ({"headers": headers} if headers else {})


def _content(shape: Shape) -> dict[str, Any]:
    name = shape if isinstance(shape, str) else shape.__name__
    return {"schema": {"$ref": REFERENCE.format(name=name)}}


# ── handlers ────────────────────────────────────────────────────────────────────────────────


async def openapi(request: web.Request) -> web.Response:
    routes = request.app[app_keys.ROUTES]
    described = document(routes, request.app[app_keys.SETTINGS].base_url)
    return json_response(described, cache="public, max-age=300")


async def ping_schema(request: web.Request) -> web.Response:
    return _schema(request, ping_json_schema(load_registry()))


async def upload_schema(request: web.Request) -> web.Response:
    return _schema(request, upload_json_schema(load_registry(), {"$ref": "ping.v1.json"}))


def _schema(request: web.Request, schema: dict[str, Any]) -> web.Response:
    identified = {
        "$schema": _DIALECT,
        "$id": request.app[app_keys.SETTINGS].base_url + request.path,
        **schema,
    }
    return json_response(identified, cache="public, max-age=300", media_type="application/schema+json")


_SCHEMA = "application/schema+json"

ROUTES = (
    get("/openapi.json", openapi, "This document", "OpenApi", access=Access.PUBLIC),
    get("/schemas/ping.v1.json", ping_schema, "The JSON Schema of a ping", _SCHEMA, access=Access.PUBLIC),
    get(
        "/schemas/upload.v1.json",
        upload_schema,
        "The JSON Schema of an upload",
        _SCHEMA,
        access=Access.PUBLIC,
    ),
)
