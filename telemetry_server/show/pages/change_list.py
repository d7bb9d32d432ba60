"""Changes: what copies changed from and to, by how many did; and how many of each week still report."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Any

from aiohttp import web

from telemetry_server import app_keys
from telemetry_server.check.filters.filter_fields import COHORTS
from telemetry_server.check.filters.terms import Filter, term
from telemetry_server.check.searching import as_term
from telemetry_server.enrich.verdict import WORST_FIRST
from telemetry_server.permissions import Permission
from telemetry_server.routing import HTML, Parameter, get
from telemetry_server.show.charts_time import Heat
from telemetry_server.show.formatting import plural
from telemetry_server.show.query import one_of, read_query
from telemetry_server.show.render import page
from telemetry_server.show.scope import SCOPE, Scope, read_scope
from telemetry_server.show.slow import unless_slow
from telemetry_server.show.viewer import VIEWER
from telemetry_server.store.counts.counting import cohorts
from telemetry_server.store.database import Pool
from telemetry_server.store.fleet.transitions import changed_fields, transitions

FIELDS = {
    "verdict": ("Verdict", "verdict"),
    "life": ("Life", "life"),
    "license.status": ("Claimed status", "status"),
    "license.source": ("Claimed source", "source"),
    "license.edition": ("Edition", "edition"),
    "service.version": ("Version", "version"),
    "os.name": ("System", "os"),
    "place.country": ("Country", "country"),
}
"""The fields that are shown: heading, and the filter that finds the value."""
PARAMETERS = (
    *SCOPE,
    Parameter("field", "What changed.", one_of(*FIELDS) | {"default": "verdict"}),
)
_ROWS, _WEEKS = 100, 12
_RANK = {verdict: place for place, verdict in enumerate(WORST_FIRST)}


@dataclass(frozen=True, slots=True)
class Transition:
    """Copies that changed in one way; `worse`: to a worse verdict. `href`: the copies that have it now."""

    before: str | None
    after: str | None
    copies: int
    days: float
    last_at: datetime
    href: str | None
    worse: bool


async def change_list(request: web.Request) -> web.Response:
    asked = read_query(request, PARAMETERS)
    pool, scope, viewer = request.app[app_keys.POOL], await read_scope(request, asked), request[VIEWER]
    products = viewer.products if scope.product is None else {scope.product}
    until = datetime.combine(scope.days.last + timedelta(days=1), time(), scope.now.tzinfo)
    field, over = asked["field"], (scope.since, until, products)
    counted = await unless_slow(changed_fields(pool, FIELDS, *over)) or {}
    rows = await unless_slow(transitions(pool, field, *over, limit=_ROWS))
    return page(
        request,
        "changes.html",
        scope=scope,
        scope_time="range",
        title=FIELDS[field][0],
        tabs=[
            (heading, counted.get(name), scope.here(field=name), name == field)
            for name, (heading, _) in FIELDS.items()
        ],
        rows=None if rows is None else [_transition(scope, field, row) for row in rows],
        field=field,
        heat=await unless_slow(_retention(pool, scope)),
    )


def _transition(scope: Scope, field: str, row: Mapping[str, Any]) -> Transition:
    before, after = row["before"], row["after"]
    there = after is not None
    return Transition(
        before,
        after,
        row["copies"],
        round(row["days"], 1),
        row["last_at"],
        scope.rows(filter=as_term(FIELDS[field][1], after)) if there else None,
        field == "verdict" and _RANK.get(after, 0) < _RANK.get(before, 0),
    )


async def _retention(pool: Pool, scope: Scope) -> Heat | None:
    """The share of the copies of each week that reported in the weeks after it; None: not counted yet."""
    last = scope.now.date()
    wanted = Filter() if scope.product is None else term(COHORTS["product"], "=", scope.product)
    found = await cohorts(pool, wanted, last - timedelta(weeks=_WEEKS), last, now=scope.now)
    active = {(row["cohort"], row["week"]): row["active"] for row in found.rows or ()}
    if not active:
        return None
    weeks = sorted({cohort for cohort, _ in active})
    return Heat(
        "Copies that still report, by the week of their first ping",
        [f"+{number}" for number in range(1, _WEEKS + 1)],
        [
            (
                f"{week:%Y-%m-%d}, {plural(active.get((week, week), 0), 'copy', 'copies')}",
                _shares(active, week),
            )
            for week in weeks
        ],
        "Week of",
    )


def _shares(active: Mapping[tuple[date, date], int], cohort: date) -> list[float | None]:
    first = active.get((cohort, cohort), 0)
    later = [active.get((cohort, cohort + timedelta(weeks=number))) for number in range(1, _WEEKS + 1)]
    return [round(100 * count / first) if first and count is not None else None for count in later]


ROUTES = (
    get(
        "/changes", change_list, "What changed in the fleet", HTML, PARAMETERS, permission=Permission.NUMBERS
    ),
)
