"""The ranked lists of the overview: active copies by what they run on and where, and features."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from telemetry_server.show.charts_small import Ranked, RankedList
from telemetry_server.show.charts_world import WorldMap, world_map
from telemetry_server.show.formatting import country, inert
from telemetry_server.show.pages.overview_numbers import ACTIVE, by_value, counted_of, uncovered_filter
from telemetry_server.show.scope import Scope
from telemetry_server.show.slow import unless_slow
from telemetry_server.store.counts import overview as store
from telemetry_server.store.counts.active import active_values
from telemetry_server.store.database import Pool
from telemetry_server.store.dimensions import BY_NAME

LISTS: Mapping[str, Mapping[str, str]] = {
    "software": {"version": "Version", "edition": "Edition", "environment": "Environment"},
    "network": {"country": "Country", "asn": "Network"},
    "system": {"os": "System", "vm": "Virtualization", "container": "Container", "cloud": "Cloud"},
    "license": {"source": "Claimed source", "source_detail": "Via", "status": "Claimed status"},
}
"""The ranked lists, and the tabs of each: dimension and heading."""

_NAMES_OTHERS = {"asn", "source_detail"}  # operators and resellers: not for people without an account
_ROWS = 7
_COUNTRIES = 5


@dataclass(frozen=True, slots=True)
class TabbedList:
    """A ranked list and the choice of what it is by; `ranked` is None if it takes too long."""

    title: str
    tabs: list[tuple[str, str, bool]]
    ranked: RankedList | None


@dataclass(frozen=True, slots=True)
class Where:
    """The copies that no license covers, on the map and by country."""

    drawing: WorldMap
    ranked: RankedList


async def where(pool: Pool, scope: Scope, *, large: bool) -> Where:
    """In all countries on the map, and in the first ones as a list."""
    wanted = uncovered_filter()
    counted = await by_value(pool, "country", wanted.removeprefix(ACTIVE), scope, large=large)
    whole = sum(count for _, count in counted)
    rows = [
        Ranked(country(value), count, scope.rows(filter=wanted, country=value))
        for value, count in counted[:_COUNTRIES]
        if value is not None
    ]
    rest = whole - sum(row.count for row in rows)
    return Where(
        world_map("Copies no license covers", counted, lambda code: scope.rows(filter=wanted, country=code)),
        RankedList("Countries", rows, whole, rest, scope.link("/map")),
    )


async def tabbed(
    pool: Pool, scope: Scope, name: str, asked: Mapping[str, Any], *, large: bool, counted: bool
) -> TabbedList:
    """The list `name`, by the chosen dimension; empty unless copies are `counted`."""
    shown = {by: text for by, text in LISTS[name].items() if not scope.shared or by not in _NAMES_OTHERS}
    chosen = asked[name] if asked.get(name) in shown else next(iter(shown))
    others = {each: asked[each] for each in LISTS if each in asked}
    tabs = [(text, scope.here(**{**others, name: by}), by == chosen) for by, text in shown.items()]
    ranked = (
        await unless_slow(_ranked(pool, scope, chosen, LISTS[name][chosen], large=large)) if counted else None
    )
    return TabbedList(LISTS[name][chosen], tabs, ranked)


async def _ranked(pool: Pool, scope: Scope, by: str, title: str, *, large: bool) -> RankedList:
    counted, parameter = await by_value(pool, by, "", scope, large=large), BY_NAME[by].column
    before = await _before(pool, scope, by)
    whole = sum(count for _, count in counted)
    rows = [
        Ranked(
            country(value) if by == "country" else inert(value),
            count,
            scope.rows(filter=ACTIVE, **{parameter: value}),
            before.get(value),
        )
        for value, count in counted
        if value is not None
    ][:_ROWS]
    rest = whole - sum(row.count for row in rows)
    return RankedList(title, rows, whole, rest, scope.rows(filter=ACTIVE))


async def _before(pool: Pool, scope: Scope, by: str) -> dict[str | None, int]:
    """By value at the end of the days to compare with, as far as they are counted."""
    if scope.compared is None or not scope.is_known:
        return {}
    day = scope.compared.last
    rows = await unless_slow(active_values(pool, by, counted_of(scope), day, day, now=scope.now)) or []
    return {row["value"]: row["before"] for row in rows}


async def features(pool: Pool, scope: Scope) -> RankedList:
    rows = await store.top_features(pool, scope.product, scope.days.first)
    ranked = [Ranked(inert(row["feature"]), int(row["uses"])) for row in rows]
    return RankedList("Features", ranked, 0, unit="Uses")
