"""The overview: what no license covers, where, and what to clear up first; each number a link to its rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from aiohttp import web

from telemetry_server import app_keys
from telemetry_server.permissions import Permission
from telemetry_server.routing import HTML, Parameter, get
from telemetry_server.show.chart_csv import chart_csv
from telemetry_server.show.charts_small import Ranked, RankedList
from telemetry_server.show.charts_time import Around, Series, TimeChart, stacked
from telemetry_server.show.formatting import country, inert, stamp
from telemetry_server.show.links import link
from telemetry_server.show.pages.overview_numbers import (
    ACTIVE,
    Copies,
    by_value,
    copies,
    todos,
    uncovered_filter,
)
from telemetry_server.show.query import one_of, read_query
from telemetry_server.show.render import attributions, page
from telemetry_server.show.scope import SCOPE, Scope, read_scope
from telemetry_server.show.slow import unless_slow
from telemetry_server.store.counts import overview as store
from telemetry_server.store.counts.fleet_now import Fleet
from telemetry_server.store.counts.rollups import MOST_BEHIND
from telemetry_server.store.database import Pool
from telemetry_server.store.dimensions import BY_NAME

LISTS: Mapping[str, Mapping[str, str]] = {
    "software": {"version": "Version", "edition": "Edition", "environment": "Environment"},
    "network": {"country": "Country", "asn": "Network"},
    "system": {"os": "System", "vm": "Virtualization", "container": "Container", "cloud": "Cloud"},
    "license": {"source": "Claimed source", "source_detail": "Via", "status": "Claimed status"},
}
"""The ranked lists, and the tabs of each: dimension and heading."""

CHARTS = ("pings",)
PARAMETERS = (
    *SCOPE,
    *(Parameter(name, f"What the list {name} is by.", one_of(*tabs)) for name, tabs in LISTS.items()),
    Parameter("csv", "The figures of this chart, as CSV.", one_of(*CHARTS)),
)

_ROWS = 7
_COUNTRIES = 5


@dataclass(frozen=True, slots=True)
class Look:
    """A count that needs attention, its text and the path to its rows; `more`: `count` is a lower bound."""

    count: int
    what: str
    path: str
    more: bool = False


@dataclass(frozen=True, slots=True)
class TabbedList:
    """A ranked list and the choice of what it is by; `ranked` is None if it takes too long."""

    title: str
    tabs: list[tuple[str, str, bool]]
    ranked: RankedList | None


async def overview(request: web.Request) -> web.Response:
    asked = read_query(request, PARAMETERS)
    pool, scope = request.app[app_keys.POOL], await read_scope(request, asked)
    if not any(product["in_use"] for product in scope.products):
        endpoint = request.app[app_keys.SETTINGS].base_url
        return page(request, "first_start.html", products=scope.products, endpoint=endpoint)
    fleet = await store.fleet(pool, scope.product, scope.now)
    counted = await unless_slow(store.counted(pool, scope.product, scope.days.first))
    pings = await unless_slow(_pings(pool, scope, fleet, counted))
    if "csv" in asked and pings is not None:
        return chart_csv(pings, "pings")
    totals = await unless_slow(store.totals(pool, fleet, scope.counted_over)) if fleet else None
    found = await unless_slow(copies(pool, scope))
    return page(
        request,
        "overview.html",
        scope=scope,
        scope_time=True,
        fleet=fleet,
        totals=totals,
        found=found,
        active=ACTIVE,
        uncovered=uncovered_filter(),
        todos=await unless_slow(_todos(pool, scope, found)) if found else None,
        countries=await unless_slow(_countries(pool, scope)) if found else None,
        lists=[await _tabbed(pool, scope, name, asked, found) for name in LISTS],
        pings=pings,
        behind=_behind(scope, counted),
        features=await unless_slow(_features(pool, scope)),
        looks=await unless_slow(_looks(pool, scope, totals or {})),
        attributions=attributions(request),
    )


async def _todos(pool: Pool, scope: Scope, found: Copies) -> list[Any]:
    contradicting = await by_value(pool, "all", "claim_mismatch=true", scope)
    forked = await by_value(pool, "all", "attention=forked", scope)
    return todos(scope, found, _first(contradicting), _first(forked))


def _first(rows: Sequence[tuple[str | None, int]]) -> int:
    return rows[0][1] if rows else 0


async def _countries(pool: Pool, scope: Scope) -> RankedList:
    """The copies that no license covers, by country."""
    counted = await by_value(pool, "country", uncovered_filter().removeprefix(ACTIVE), scope)
    rows = [
        Ranked(country(value), count, scope.rows(filter=uncovered_filter(), country=value))
        for value, count in counted[:_COUNTRIES]
        if value is not None
    ]
    whole = sum(count for _, count in counted)
    return RankedList("Countries", rows, whole, whole - sum(row.count for row in rows))


async def _tabbed(
    pool: Pool, scope: Scope, name: str, asked: Mapping[str, Any], found: Copies | None
) -> TabbedList:
    chosen = asked.get(name, next(iter(LISTS[name])))
    tabs = [
        (text, link("/", **{**scope.chosen, **_chosen(asked), name: by}), by == chosen)
        for by, text in LISTS[name].items()
    ]
    ranked = await unless_slow(_ranked(pool, scope, chosen, LISTS[name][chosen])) if found else None
    return TabbedList(LISTS[name][chosen], tabs, ranked)


def _chosen(asked: Mapping[str, Any]) -> dict[str, Any]:
    return {name: asked[name] for name in LISTS if name in asked}


async def _ranked(pool: Pool, scope: Scope, by: str, title: str) -> RankedList:
    counted, parameter = await by_value(pool, by, "", scope), BY_NAME[by].column
    whole = sum(count for _, count in counted)
    rows = [
        Ranked(
            country(value) if by == "country" else inert(value),
            count,
            scope.rows(filter=ACTIVE, **{parameter: value}),
        )
        for value, count in counted
        if value is not None
    ][:_ROWS]
    return RankedList(title, rows, whole, whole - sum(row.count for row in rows), scope.rows(filter=ACTIVE))


async def _features(pool: Pool, scope: Scope) -> RankedList:
    rows = await store.top_features(pool, scope.product, scope.days.first)
    return RankedList(
        "Features", [Ranked(inert(row["feature"]), int(row["uses"])) for row in rows], 0, unit="Uses"
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
        height=140,
        unit="pings",
        sums=True,
        still_open=still,
        zoom=None if scope.over.hourly else _zoom(scope),
        csv=link("/", **scope.chosen, csv="pings"),
    )
    return stacked("Pings", starts, [Series("1", "Pings", values)], around)


def _zoom(scope: Scope) -> str:
    address = scope.here(**{"from": "FROM", "to": "TO"})
    return address.replace("FROM", "{from}").replace("TO", "{to}")


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


async def _looks(pool: Pool, scope: Scope, totals: Mapping[str, Any]) -> list[Look]:
    """What arrived in another way than it should, the most serious first."""
    forks = await store.forks_counted(pool, scope.product, scope.since)
    quarantined = await store.quarantine_counted(pool, scope.product)
    suspect = await store.suspect_pings(pool, scope.product, scope.since)
    today = await _outcomes_today(pool, scope)
    intake, seen = scope.link("/intake"), scope.counted_over.name
    looks = (
        _look(
            forks["installations"],
            "installation",
            "with an identity that two copies continued",
            f"{intake}#forks",
        ),
        _look(quarantined, "ping", "in quarantine", f"{intake}#quarantine"),
        _look(
            totals.get("with_missing", 0),
            "installation",
            "with missing pings",
            scope.rows(seen=seen, attention="missing"),
        ),
        _look(
            totals.get("with_lost", 0),
            "installation",
            "with lost pings",
            scope.rows(seen=seen, attention="lost"),
        ),
        _look(suspect, "ping", "with a wrong clock", f"{intake}#clocks", most=store.MOST_SUSPECT),
        _look(today["rejected"], "ping", "rejected today", f"{intake}#outcomes"),
        _look(today["unknown_field"], "field", "unknown and ignored today", f"{intake}#outcomes"),
    )
    return [look for look in looks if look.count]


def _look(count: int, noun: str, what: str, path: str, most: int | None = None) -> Look:
    """`most`: the limit of the count."""
    more = most is not None and count > most
    return Look(min(count, most or count), f"{noun if count == 1 else noun + 's'} {what}", path, more)


async def _outcomes_today(pool: Pool, scope: Scope) -> dict[str, int]:
    counts = {"rejected": 0, "unknown_field": 0}
    for row in await store.outcomes(pool, scope.product, scope.now.date()):
        kind = row["outcome"].partition(":")[0]
        if kind in counts:
            counts[kind] += row["count"]
    return counts


ROUTES = (get("/", overview, "The overview", HTML, PARAMETERS, permission=Permission.NUMBERS),)
