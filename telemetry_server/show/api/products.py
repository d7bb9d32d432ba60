"""GET /api/v1/products."""

from aiohttp import web

from telemetry_server import app_keys
from telemetry_server.errors import BadRequest, Unavailable
from telemetry_server.routing import Access, Route
from telemetry_server.show.query import read_query
from telemetry_server.show.responses import json_response
from telemetry_server.store.fleet import installations


async def list_products(request: web.Request) -> web.Response:
    """All of them on one page: they are few."""
    read_query(request, ())
    return json_response({"items": await installations.products(request.app[app_keys.POOL]), "next": None})


ROUTES = (
    Route(
        "GET",
        "/api/v1/products",
        list_products,
        "List products",
        Access.PERSON,
        answers={200: "Products"},
        errors=(BadRequest, Unavailable),
    ),
)
