"""The saved views of a viewer, as the rail shows them."""

import re
from collections.abc import Iterable
from functools import cache
from urllib.parse import parse_qs

from aiohttp import web

from telemetry_server import app_keys
from telemetry_server.routing import Route
from telemetry_server.show.viewer import VIEWER, Viewer
from telemetry_server.store.access.saved_views import SavedView, views_for
from telemetry_server.store.database import answered
from telemetry_server.store.reading import SECONDS

SAVED_VIEWS: web.RequestKey[list[SavedView]] = web.RequestKey("saved_views", list)


async def load_views(request: web.Request) -> None:
    """Puts the views of the viewer into the request. Raises Unavailable."""
    viewer, routes = request[VIEWER], request.app[app_keys.ROUTES]
    person_id = viewer.person.person_id if viewer.person else None
    found = await answered(views_for(request.app[app_keys.POOL], person_id), SECONDS)
    request[SAVED_VIEWS] = [one for one in found if is_open_to(viewer, routes, one.address)]


def is_open_to(viewer: Viewer, routes: Iterable[Route], address: str) -> bool:
    """Whether the address leads to a page that the viewer may see, of a product that the viewer may see."""
    path, _, query = address.partition("?")
    pages = (route for route in routes if route.page and route.method == "GET" and route.permission)
    needed = next((route.permission for route in pages if _pattern(route.path).fullmatch(path)), None)
    products = parse_qs(query).get("product", [])
    return needed in viewer.permissions and all(map(viewer.sees, products))


@cache
def _pattern(path: str) -> re.Pattern[str]:
    return re.compile(re.sub(r"\\\{\w+\\\}", "[^/]+", re.escape(path)))
