"""The map of installations: where copies are, and where those that no license covers."""

from aiohttp import web

from telemetry_server import app_keys
from telemetry_server.permissions import Permission
from telemetry_server.routing import HTML, Parameter, get
from telemetry_server.show.charts_small import Ranked, RankedList
from telemetry_server.show.charts_world import WorldMap, world_map
from telemetry_server.show.chips import chips
from telemetry_server.show.formatting import country
from telemetry_server.show.pages.overview_numbers import ACTIVE, by_value, is_large, uncovered_filter
from telemetry_server.show.query import one_of, read_query
from telemetry_server.show.render import attributions, page
from telemetry_server.show.scope import FILTERED, Scope, read_scope
from telemetry_server.show.slow import unless_slow
from telemetry_server.show.viewer import VIEWER
from telemetry_server.store.counts.overview import fleet

SHOWN = {"uncovered": "Not covered", "active": "All active"}
PARAMETERS = (
    *FILTERED,
    Parameter("show", "Which copies.", {**one_of(*SHOWN), "default": "uncovered"}),
)

_MOST = 25


async def world(request: web.Request) -> web.Response:
    asked = read_query(request, PARAMETERS)
    pool = request.app[app_keys.POOL]
    scope = (await read_scope(request, asked)).filtered(asked, request[VIEWER])
    full = uncovered_filter() if asked["show"] == "uncovered" else ACTIVE
    large = is_large(await fleet(pool, scope.product, scope.now))
    counted = await unless_slow(by_value(pool, "country", full.removeprefix(ACTIVE), scope, large=large))
    return page(
        request,
        "map.html",
        scope=scope,
        drawing=None if counted is None else _drawing(scope, counted, full, asked["show"]),
        ranked=None if counted is None else _ranked(scope, counted, full),
        tabs=[(words, scope.here(show=name), name == asked["show"]) for name, words in SHOWN.items()],
        calm=asked["show"] == "active",
        chosen=chips(request, {"filter": asked.get("filter", "")}),
        attributions=attributions(request),
    )


def _drawing(scope: Scope, counted: list[tuple[str | None, int]], full: str, which: str) -> WorldMap:
    return world_map(SHOWN[which], counted, lambda code: scope.rows(filter=full, country=code))


def _ranked(scope: Scope, counted: list[tuple[str | None, int]], full: str) -> RankedList:
    whole = sum(count for _, count in counted)
    rows = [
        Ranked(country(value), count, scope.rows(filter=full, country=value))
        for value, count in counted[:_MOST]
        if value is not None
    ]
    return RankedList("Countries", rows, whole, whole - sum(row.count for row in rows))


ROUTES = (get("/map", world, "The map of installations", HTML, PARAMETERS, permission=Permission.NUMBERS),)
