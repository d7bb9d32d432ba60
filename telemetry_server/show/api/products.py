"""GET /api/v1/products."""

from aiohttp import web
from msgspec import Struct

from telemetry_server import app_keys
from telemetry_server.model import Moment, NonNegative, Simulated
from telemetry_server.permissions import Permission
from telemetry_server.routing import get
from telemetry_server.show.paging import Page
from telemetry_server.show.query import read_query
from telemetry_server.show.responses import json_response
from telemetry_server.show.viewer import VIEWER
from telemetry_server.store.fleet import installations


class Product(Struct):
    """A product, with its valid keys and its number of installations."""

    slug: str
    name: str
    ping_interval_seconds: NonNegative
    created_at: Moment
    simulated: Simulated
    product_keys: list[str]
    installations: NonNegative


class Products(Page[Product]):
    """All products that the sender may see, by slug."""


async def list_products(request: web.Request) -> web.Response:
    read_query(request, ())
    rows, viewer = await installations.products(request.app[app_keys.POOL]), request[VIEWER]
    return json_response(Products([Product(**row) for row in rows if viewer.sees(row["slug"])], None))


ROUTES = (get("/api/v1/products", list_products, "List products", Products, permission=Permission.NUMBERS),)
