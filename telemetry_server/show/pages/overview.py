"""The overview: what no license covers, where, and what to clear up first; each number a link to its rows."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

from aiohttp import web

from telemetry_server import app_keys
from telemetry_server.errors import NotFound
from telemetry_server.permissions import Permission
from telemetry_server.programs import command_of
from telemetry_server.routing import HTML, Parameter, get
from telemetry_server.show.chart_csv import chart_csv
from telemetry_server.show.charts_time import Around, Series, TimeChart, stacked
from telemetry_server.show.chips import chips
from telemetry_server.show.formatting import stamp
from telemetry_server.show.pages import overview_figures, overview_lists, overview_notes, overview_trends
from telemetry_server.show.pages.overview_numbers import copies, is_large, uncovered_filter
from telemetry_server.show.pages.overview_quality import looks
from telemetry_server.show.pages.overview_queue import queue_of
from telemetry_server.show.query import one_of, read_query
from telemetry_server.show.render import attributions, page
from telemetry_server.show.scope import FILTERED, Scope, read_scope
from telemetry_server.show.slow import unless_slow
from telemetry_server.show.viewer import VIEWER
from telemetry_server.store.counts import overview as store
from telemetry_server.store.counts.fleet_now import Fleet
from telemetry_server.store.counts.rollups import MOST_BEHIND
from telemetry_server.store.database import Pool
from telemetry_server.store.registry.chart_notes import ChartNote

LISTS = overview_lists.LISTS
CHARTS = ("uncovered", "turned", "pings")
PARAMETERS = (
    *FILTERED,
    *(Parameter(name, f"What the list {name} is by.", one_of(*tabs)) for name, tabs in LISTS.items()),
    Parameter("csv", "The figures of this chart, as CSV.", one_of(*CHARTS)),
)


@dataclass(frozen=True, slots=True)
class _Charts:
    """The charts of the page; None: not counted yet, or it takes too long."""

    uncovered: TimeChart | None
    turned: TimeChart | None
    pings: TimeChart | None


async def overview(request: web.Request) -> web.Response:
    asked = read_query(request, PARAMETERS)
    pool, viewer = request.app[app_keys.POOL], request[VIEWER]
    scope = (await read_scope(request, asked)).filtered(asked, viewer)
    if not any(product["in_use"] for product in scope.products):
        if scope.shared:
            raise NotFound("No installation has sent a ping yet.")
        return _first_start(request, scope)
    fleet = await store.fleet(pool, scope.product, scope.now)
    counted = await unless_slow(store.counted(pool, scope.product, scope.days.first))
    notes = await overview_notes.notes_of(pool, scope, viewer.products)
    charts = await _charts(pool, scope, fleet, counted, notes)
    if chart := getattr(charts, asked.get("csv", ""), None):
        return chart_csv(chart, asked["csv"])
    totals = await unless_slow(store.totals(pool, fleet, scope.counted_over)) if fleet else None
    large = is_large(fleet)
    found = await unless_slow(copies(pool, scope, large=large))
    trend = await unless_slow(overview_trends.compared(pool, scope)) if scope.is_known else None
    return page(
        request,
        "overview.html",
        scope=scope,
        scope_time=True,
        fleet=fleet,
        totals=totals,
        found=found,
        chosen=chips(request, {"filter": asked.get("filter", "")}),
        figures=await overview_figures.figures(
            pool, scope, found, trend, licenses=viewer.may(Permission.LICENSES) and not scope.filter.terms
        ),
        charts=charts,
        notes=notes,
        uncovered=scope.rows(filter=uncovered_filter()),
        queue=None if scope.shared else await unless_slow(queue_of(pool, scope, viewer)),
        where=await unless_slow(overview_lists.where(pool, scope, large=large)) if found else None,
        lists=[
            await overview_lists.tabbed(pool, scope, name, asked, large=large, counted=bool(found))
            for name in LISTS
        ],
        behind=_behind(scope, counted),
        features=await unless_slow(overview_lists.features(pool, scope)),
        looks=await unless_slow(looks(pool, scope, totals or {})),
        attributions=attributions(request),
    )


def _first_start(request: web.Request, scope: Scope) -> web.Response:
    """How to send the first ping, by commands that work where the server runs."""
    settings = request.app[app_keys.SETTINGS]
    return page(
        request,
        "first_start.html",
        products=scope.products,
        endpoint=settings.public_url or f"{request.scheme}://{request.host}",  # where this page was reached
        client=command_of("license-telemetry"),
        server=command_of("telemetry-server"),
        data=shlex.quote(str(settings.data)),
    )


async def _charts(
    pool: Pool,
    scope: Scope,
    fleet: Fleet | None,
    counted: store.CountedUntil | None,
    notes: Sequence[ChartNote],
) -> _Charts:
    if not scope.is_known:
        return _Charts(None, None, None)
    return _Charts(
        await unless_slow(overview_trends.uncovered(pool, scope, notes)),
        await unless_slow(overview_trends.turned(pool, scope, notes)),
        await unless_slow(_pings(pool, scope, fleet, counted)),
    )


async def _pings(
    pool: Pool, scope: Scope, fleet: Fleet | None, counted: store.CountedUntil | None
) -> TimeChart | None:
    """Pings by day, or by hour of the last 24; None: not counted yet."""
    values: list[int | None]
    if scope.over.hourly:
        if fleet is None:
            return None
        hours = await store.pings_by_hour(pool, fleet, scope.over.first_step(scope.now))
        starts, step = list(scope.over.starts(scope.now)), timedelta(hours=1)
        values, still = [hours.get(start, 0) for start in starts], {starts[-1]}
    else:
        if counted is not None and counted.pings_until is None:
            return None
        days = await store.pings_by_day(pool, scope.product, scope.days.first)
        starts, step = [_start(day) for day in scope.days.each], timedelta(days=1)
        still = {start for start in starts if _is_open(start.date(), scope, counted)}
        values = [days.get(start.date(), None if start in still else 0) for start in starts]
        if not any(values) and still > {starts[-1]}:
            return None
    around = Around(
        step=step,
        zone=scope.zone,
        height=150,
        unit="pings",
        sums=True,
        still_open=still,
        zoom=None if scope.over.hourly else scope.zoom,
        csv=scope.here(csv="pings"),
    )
    return stacked("Pings", starts, [Series("1", "Pings", values)], around)


def _start(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)


def _is_open(day: date, scope: Scope, counted: store.CountedUntil | None) -> bool:
    return day == scope.now.date() or (counted is not None and counted.is_open(day))


def _behind(scope: Scope, counted: store.CountedUntil | None) -> str | None:
    """A note if counts by day lack more than the last minutes."""
    if counted is None:
        return None
    if counted.pings_until is None:
        return "The first pings are being counted: a minute or two."
    if scope.now - counted.pings_until > MOST_BEHIND:
        return f"Counts include pings up to {stamp(counted.pings_until)}."
    return None


ROUTES = (get("/", overview, "The overview", HTML, PARAMETERS, permission=Permission.NUMBERS),)
