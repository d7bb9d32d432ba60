"""The search box of all pages: what the text names exactly is opened, else what it may be is listed."""

from datetime import UTC, datetime

from aiohttp import web

from telemetry_server import app_keys
from telemetry_server.check.searching import LONGEST
from telemetry_server.permissions import Permission
from telemetry_server.routing import HTML, Parameter, Route
from telemetry_server.show.api.search import sees
from telemetry_server.show.formatting import country_code
from telemetry_server.show.frame import rail
from telemetry_server.show.query import read_query, text
from telemetry_server.show.recorded_views import record_customers
from telemetry_server.show.render import SearchBox, page
from telemetry_server.show.responses import path_with, see_other
from telemetry_server.show.scope import SCOPE, Scope, read_scope
from telemetry_server.show.viewer import VIEWER
from telemetry_server.store.reports.search import Hit
from telemetry_server.store.reports.search import search as search_in_store

PARAMETERS = (
    *SCOPE,
    Parameter("q", "An id, key, customer, address, version …", text() | {"maxLength": LONGEST}),
)
_PAGES = {"installation": "/installations/", "license": "/licenses/", "customer": "/customers/"}


async def search(request: web.Request) -> web.Response:
    if not request.query.get("q", "x").strip():
        return see_other(path_with(request, q=None))
    asked = read_query(request, PARAMETERS)
    scope, typed = await read_scope(request, asked), asked.get("q", "")
    code = country_code(typed)
    found = await search_in_store(
        request.app[app_keys.POOL],
        f"country={code}" if code else typed,
        sees=sees(request[VIEWER]),
        now=datetime.now(UTC),
    )
    if any(hit.kind == "customer" for hit in found.suggestions):
        await record_customers(request)
    if found.exact is not None and (path := _path(scope, found.exact)):
        return see_other(path)
    box = SearchBox("/search", "q", value=typed, hidden=scope.hidden())
    hits = [(hit, _path(scope, hit)) for hit in found.suggestions]
    named = _named(request, scope, typed.strip().casefold()) if typed else []
    return page(
        request, "search.html", scope=scope, search=box, typed=typed, found=found, hits=hits, named=named
    )


def _named(request: web.Request, scope: Scope, text: str) -> list[tuple[str, str, str]]:
    """The pages and products with the text in their names: name, what it is, path."""
    routes = request.app[app_keys.ROUTES]
    sections = rail(routes, request[VIEWER], request.path, scope.link)
    found = [(each.entry.name, "page", each.href) for section in sections for each in section.entries]
    found += [(one["name"], "product", scope.link("/", product=one["slug"])) for one in scope.products]
    return [each for each in found if text in each[0].casefold()]


def _path(scope: Scope, hit: Hit) -> str | None:
    """The page of what is found; None: there is none."""
    if hit.filter is not None:
        return scope.rows(filter=hit.filter)
    base = _PAGES.get(hit.kind)
    if base is None or hit.id is None:
        return None
    if f"{base}{{{hit.kind}_id}}" in scope.takes:
        return f"{base}{hit.id}"
    return scope.rows(filter=f"license={hit.id}") if hit.kind == "license" else None


ROUTES = (
    Route(
        "GET",
        "/search",
        search,
        "What is found for a text",
        permission=Permission.INSTALLATIONS,
        page=True,
        audited="search",
        parameters=PARAMETERS,
        answers={200: HTML, 303: ""},
    ),
)
