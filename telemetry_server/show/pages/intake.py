"""Intake: pings and fields that were not simply accepted."""

from datetime import UTC, datetime, time

from aiohttp import web

from telemetry_server import app_keys
from telemetry_server.check import ranges
from telemetry_server.enrich.lifecycle import Outage
from telemetry_server.permissions import Permission
from telemetry_server.routing import HTML, get
from telemetry_server.show import charts
from telemetry_server.show.addresses import shown_to
from telemetry_server.show.query import read_query
from telemetry_server.show.render import page
from telemetry_server.show.scope import SCOPE, Scope, read_scope
from telemetry_server.show.slow import unless_slow
from telemetry_server.show.viewer import VIEWER
from telemetry_server.store.counts import overview as store
from telemetry_server.store.database import Pool
from telemetry_server.store.fleet.outages import outages
from telemetry_server.store.reading import reading

_ROWS = 50


async def intake(request: web.Request) -> web.Response:
    asked = read_query(request, SCOPE)
    pool, viewer, scope = request.app[app_keys.POOL], request[VIEWER], await read_scope(request, asked)
    product, since = scope.product, scope.since
    forks = await unless_slow(store.newest_forks(pool, product, since, _ROWS))
    return page(
        request,
        "intake.html",
        scope=scope,
        scope_time="range",
        rows=_ROWS,
        outcomes=await unless_slow(_outcomes(pool, scope)),
        forks=None if forks is None else shown_to(viewer, forks),
        quarantined=await unless_slow(store.newest_quarantined(pool, product, _ROWS)),
        most_suspect=store.MOST_SUSPECT,
        suspect=await unless_slow(store.suspect_installations(pool, product, since, _ROWS)),
        outages=await _outages(pool, since),
    )


async def _outages(pool: Pool, since: datetime) -> list[Outage]:
    """Those that ended since then, the newest first."""
    async with reading(pool) as connection:
        found = await outages(connection)
    return [each for each in reversed(found) if each[1] >= since][:_ROWS]


async def _outcomes(pool: Pool, scope: Scope) -> dict[str, charts.Columns]:
    """A small chart of each outcome, by day."""
    days = list(ranges.daily(scope.over).starts(scope.now))
    if scope.custom:
        days = [datetime.combine(day, time(), UTC) for day in scope.days.each]
    counted: dict[str, dict[datetime, int]] = {}
    for row in await store.outcomes(pool, scope.product, days[0].date()):
        counted.setdefault(row["outcome"], {})[datetime.combine(row["day"], time(), UTC)] = row["count"]
    return {
        outcome: charts.columns([by_day.get(day, 0) for day in days]) for outcome, by_day in counted.items()
    }


ROUTES = (
    get(
        "/intake",
        intake,
        "What was not simply accepted",
        HTML,
        SCOPE,
        permission=Permission.INSTALLATIONS,
        audited="installation",
    ),
)
