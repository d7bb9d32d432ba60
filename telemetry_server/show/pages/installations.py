"""The list of installations; its filters are in the URL, so that it can be shared."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from aiohttp import web
from msgspec import Struct

from telemetry_server import app_keys
from telemetry_server.check.filters.parser import BadFilter
from telemetry_server.check.filters.terms import EVERYTHING, Filter
from telemetry_server.permissions import Permission
from telemetry_server.routing import HTML, Parameter, Route
from telemetry_server.show.addresses import shown_to
from telemetry_server.show.charts_small import Spark, spark
from telemetry_server.show.chips import chips, facet_menu
from telemetry_server.show.filters import FILTERS, filter_from
from telemetry_server.show.links import link
from telemetry_server.show.list_columns import COLUMNS, USUAL, Choice, choice, read_columns
from telemetry_server.show.pages.installation import summary_of
from telemetry_server.show.query import IDENTIFIER, integer, read_query, text
from telemetry_server.show.recorded_views import record_customers
from telemetry_server.show.render import SearchBox, attributions, page
from telemetry_server.show.responses import path_with, see_other, without_empty
from telemetry_server.show.scope import TIME, Scope, read_scope
from telemetry_server.show.serializers import installation_item
from telemetry_server.show.slow import unless_slow
from telemetry_server.show.sorting import sort_parameter
from telemetry_server.show.viewer import VIEWER, Viewer
from telemetry_server.store.database import Pool
from telemetry_server.store.fleet import installations, listing
from telemetry_server.store.registry.license_lists import licenses_named
from telemetry_server.uuid7 import HIGHEST

PARAMETERS = (
    *FILTERS,
    *TIME,
    Parameter("after", "Where the page before ended: the id of its last row.", IDENTIFIER),
    sort_parameter(listing.ORDERS),
    Parameter("page", "The page of a sorted list.", integer(1, 2_000, default=1)),
    Parameter("columns", "The columns to show, separated by commas.", text(r"^[a-z]+(,[a-z]+)*$")),
    Parameter("installation_id", "The installation to summarise beside the list.", IDENTIFIER),
)

_ROWS = 50
_SPARK_DAYS = 30
_NEWEST_FOR_SUGGESTIONS = 10_000
_AN_ID = re.compile(r"[0-9a-fA-F-]{4,36}")
_PLACEHOLDER = "Filter: verdict=unknown_key country=DE version>=7.2, or an id"
_TITLES = {"verdict": "verdict"} | {one.order: one.title.lower() for one in COLUMNS.values() if one.order}


@dataclass(frozen=True, slots=True)
class Found:
    """A page of rows, the total (None: it takes too long) and the values of filters.

    `problem`: the error in the filter.
    """

    items: list[Struct]
    last: str | None = None
    total: int | None = None
    facets: Mapping[str, Mapping[str | None, int]] = field(default_factory=dict)
    problem: str | None = None
    wanted: Filter = EVERYTHING


@dataclass(frozen=True, slots=True)
class Beside:
    """What rows show beside themselves, by installation and by license."""

    licenses: Mapping[UUID, installations.Row]
    sparks: Mapping[UUID, Spark]


async def installation_list(request: web.Request) -> web.Response:
    if (shorter := without_empty(request)) is not None:
        return shorter
    if _AN_ID.fullmatch(request.query.get("filter", "")):
        return see_other(path_with(request, filter=None, q=request.query["filter"]))
    asked = read_query(request, PARAMETERS)
    pool, viewer = request.app[app_keys.POOL], request[VIEWER]
    scope, found = await _scope(request, asked), await _find(pool, viewer, asked)
    scope = _with_filter(scope, found)
    sort, beside = asked.get("sort", ""), await _beside(request, found.items)
    opened = await _panel(request, asked)
    return page(
        request,
        "installations.html",
        status=400 if found.problem else 200,
        scope=scope,
        search=_search(request, asked, found.problem),
        found=found,
        older=_older(request, asked, found),
        newest=path_with(request, after=None, page=None)
        if asked.keys() & {"after"} or asked["page"] > 1
        else None,
        chosen=[] if found.problem else chips(request, asked),
        facets=facet_menu(request, found.facets),
        beside=beside,
        sort=sort.removeprefix("-"),
        sorted_by=_TITLES.get(sort.removeprefix("-"), ""),
        descending=sort.startswith("-"),
        heads={name: path_with(request, sort=_turned(name, sort), after=None, page=None) for name in _TITLES},
        columns=_columns(request, asked, beside, brief=opened is not None),
        is_opened="installation_id" in asked,
        opened=opened,
        opens=lambda key: path_with(request, installation_id=str(key)),
        closed=path_with(request, installation_id=None),
        without_columns=path_with(request, columns=None),
        asked=asked,
        csv=_csv(viewer, found),
        attributions=attributions(request),
    )


def _columns(request: web.Request, asked: Mapping[str, Any], beside: Beside, *, brief: bool) -> Choice:
    """Those of the address, else those of the profile, else the usual ones."""
    person = request[VIEWER].person
    chosen = (person.list_columns if person else None) or USUAL
    if "columns" in asked:
        chosen = read_columns(asked["columns"])
    return choice(
        [name for name in COLUMNS if name in chosen],  # those of a profile may be of another version
        lambda names: path_with(request, columns=names),
        customers=any(row["customer"] for row in beside.licenses.values()),
        brief=brief,
    )


async def _panel(request: web.Request, asked: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The summary of the chosen installation; None: none is chosen, or there is none of this id."""
    if "installation_id" not in asked:
        return None
    known = await installations.installation(request.app[app_keys.POOL], asked["installation_id"])
    if known is None or not request[VIEWER].sees(known.row["product"]):
        return None
    return await summary_of(request, known)


async def _scope(request: web.Request, asked: Mapping[str, Any]) -> Scope:
    """The scope; an unknown product is reported as a problem of the filter."""
    try:
        return await read_scope(request, asked)
    except BadFilter:
        return await read_scope(request, {name: value for name, value in asked.items() if name != "product"})


def _with_filter(scope: Scope, found: Found) -> Scope:
    """Other pages of installations take the filter only as text: with all that narrows the list."""
    wanted = " ".join(str(one) for one in found.wanted.terms if one.field.name != "product")
    if found.problem or not wanted:
        return scope
    return replace(scope, chosen={**scope.chosen, "filter": wanted})


async def _find(pool: Pool, viewer: Viewer, asked: Mapping[str, Any]) -> Found:
    now = datetime.now(UTC)
    try:
        wanted = filter_from(asked, now, within=viewer.products, addresses=viewer.may(Permission.ADDRESSES))
        rows = await _rows(pool, wanted, asked, now)
    except BadFilter as error:
        return Found([], problem=error.detail)
    last = str(rows[_ROWS - 1]["installation_id"]) if len(rows) > _ROWS else None
    items = [installation_item(row) for row in shown_to(viewer, rows[:_ROWS])]
    total: int | None = len(rows)
    if last or "after" in asked or asked["page"] > 1:
        total = await unless_slow(installations.matching(pool, wanted, now=now))
    newest = installations.facets(pool, wanted, now=now, newest=_NEWEST_FOR_SUGGESTIONS)
    return Found(items, last, total, await unless_slow(newest) or {}, wanted=wanted)


async def _rows(
    pool: Pool, wanted: Filter, asked: Mapping[str, Any], now: datetime
) -> list[installations.Row]:
    if "sort" not in asked:
        below = asked.get("after", HIGHEST)
        return await installations.installations(pool, wanted, now=now, below=below, limit=_ROWS + 1)
    by, offset = asked["sort"].removeprefix("-"), (asked["page"] - 1) * _ROWS
    descending = asked["sort"].startswith("-")
    return await listing.sorted_installations(
        pool, wanted, by, descending=descending, now=now, offset=offset, limit=_ROWS + 1
    )


async def _beside(request: web.Request, items: Sequence[Any]) -> Beside:
    """Licenses for those who may see them, and the pings of the last days."""
    pool, viewer, today = request.app[app_keys.POOL], request[VIEWER], datetime.now(UTC).date()
    licenses: dict[UUID, installations.Row] = {}
    if viewer.may(Permission.LICENSES):
        licenses = await licenses_named(pool, {item.license_id for item in items if item.license_id})
    if not viewer.may(Permission.CUSTOMERS):
        licenses = {key: row | {"customer": None} for key, row in licenses.items()}
    elif any(row["customer"] for row in licenses.values()):
        await record_customers(request)
    days = [today - timedelta(days=number) for number in range(_SPARK_DAYS)][::-1]
    ids = [item.installation_id for item in items]
    pings = await unless_slow(listing.pings_of_days(pool, ids, days[0])) or {}
    return Beside(
        licenses,
        {
            key: spark([by_day.get(day, 0) for day in days], f"{sum(by_day.values())} pings in 30 days")
            for key, by_day in pings.items()
        },
    )


def _search(request: web.Request, asked: Mapping[str, Any], problem: str | None) -> SearchBox:
    """The filter as text: what is typed replaces it, the other parameters stay."""
    kept = [(name, value) for name, value in request.query.items() if name not in {"filter", "after", "page"}]
    return SearchBox("/installations", "filter", _PLACEHOLDER, asked.get("filter", ""), problem, kept)


def _older(request: web.Request, asked: Mapping[str, Any], found: Found) -> str | None:
    if not found.last:
        return None
    if "sort" in asked:
        return path_with(request, page=str(asked["page"] + 1))
    return path_with(request, after=found.last)


def _turned(name: str, sort: str) -> str:
    """The order that the head of a column leads to: a second time, the other way round."""
    return f"-{name}" if sort == name else name


def _csv(viewer: Viewer, found: Found) -> str | None:
    """What is on the screen, and the rest of what matches."""
    if found.problem or not viewer.may(Permission.EXPORT):
        return None
    return link("/api/v1/export/installations", format="csv", filter=str(found.wanted))


ROUTES = (
    Route(
        "GET",
        "/installations",
        installation_list,
        "The list of installations",
        permission=Permission.INSTALLATIONS,
        page=True,
        audited="installation",
        parameters=PARAMETERS,
        answers={200: HTML, 303: "", 400: HTML},
    ),
)
