"""The list of installations; its filters are in the URL, so that it can be shared."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from aiohttp import web
from msgspec import Struct

from telemetry_server import app_keys
from telemetry_server.check import ranges
from telemetry_server.check.filters.filter_fields import INSTALLATIONS
from telemetry_server.check.filters.parser import BadFilter
from telemetry_server.check.filters.terms import Filter
from telemetry_server.model import Lifecycle, Verdict
from telemetry_server.permissions import Permission
from telemetry_server.routing import HTML, Parameter, Route
from telemetry_server.show.addresses import shown_to
from telemetry_server.show.filters import FILTERS, SOURCES, STATUSES, filter_from
from telemetry_server.show.pages.overview import unless_slow
from telemetry_server.show.query import IDENTIFIER, read_query
from telemetry_server.show.render import attributions, page
from telemetry_server.show.responses import path_with, see_other
from telemetry_server.show.serializers import installation_item
from telemetry_server.show.viewer import VIEWER, Viewer
from telemetry_server.store.database import Pool
from telemetry_server.store.dimensions import FACETED
from telemetry_server.store.fleet import installations
from telemetry_server.uuid7 import HIGHEST

PARAMETERS = (
    *FILTERS,
    Parameter("after", "Where the page before ended: the id of its last row.", IDENTIFIER),
)

_ROWS = 50
_NEWEST_FOR_SUGGESTIONS = 10_000
_NAMES = {
    "license_status": "status",
    "license_source": "source",
    "os_name": "operating system",
    "vm": "virtualization",
    "asn": "network (ASN)",
    "seen": "seen within",
    "new": "first seen within",
    "attention": "pings",
    "q": "id",
}
_TYPED = {one.column: one.name for one in FACETED if not INSTALLATIONS[one.name].values}
"""Parameters with a text input, and the facets that suggest values."""
_AN_ID = re.compile(r"[0-9a-fA-F-]{4,36}")


@dataclass(frozen=True, slots=True)
class Found:
    """A page of rows, the total (None: it takes too long) and suggestions for filters.

    `problem`: the error in the filter.
    """

    items: list[Struct]
    last: str | None = None
    total: int | None = None
    suggestions: Mapping[str, Mapping[str | None, int]] | None = None
    problem: str | None = None


async def installation_list(request: web.Request) -> web.Response:
    if empty := [
        name for name, value in request.query.items() if not value.strip()
    ]:  # a form sends what it has
        return see_other(path_with(request, **dict.fromkeys(empty)))
    if _AN_ID.fullmatch(request.query.get("filter", "")):
        return see_other(path_with(request, filter=None, q=request.query["filter"]))
    asked = read_query(request, PARAMETERS)
    pool, viewer = request.app[app_keys.POOL], request[VIEWER]
    found = await _find(pool, viewer, asked)
    return page(
        request,
        "installations.html",
        status=400 if found.problem else 200,
        found=found,
        older=path_with(request, after=found.last) if found.last else None,
        newest=path_with(request, after=None) if "after" in asked else None,
        chosen=[] if found.problem else list(_chosen(request, asked)),
        asked=asked,
        products=[each for each in await installations.product_names(pool) if viewer.sees(each["slug"])],
        statuses=_options(STATUSES),
        sources=_options(SOURCES),
        verdicts=_options(Verdict),
        lives=_options(Lifecycle),
        fields=INSTALLATIONS.values(),
        typed={column: _label(column, name) for column, name in _TYPED.items()},
        folded=(*_TYPED, "life", "new", "attention", "q"),
        ranges={name: one.text for name, one in ranges.RANGES.items()},
        attributions=attributions(request),
    )


async def _find(pool: Pool, viewer: Viewer, asked: Mapping[str, Any]) -> Found:
    now = datetime.now(UTC)
    below = asked.get("after", HIGHEST)
    try:
        wanted = filter_from(asked, now, within=viewer.products, addresses=viewer.may(Permission.ADDRESSES))
        rows = await installations.installations(pool, wanted, now=now, below=below, limit=_ROWS + 1)
    except BadFilter as error:
        return Found([], problem=error.detail)
    last = str(rows[_ROWS - 1]["installation_id"]) if len(rows) > _ROWS else None
    items = [installation_item(row) for row in shown_to(viewer, rows[:_ROWS])]
    if "after" in asked:
        return Found(items, last)
    total = await unless_slow(installations.matching(pool, wanted, now=now)) if last else len(rows)
    newest = installations.facets(pool, wanted, now=now, newest=_NEWEST_FOR_SUGGESTIONS)
    facets = await unless_slow(newest) or {}
    return Found(items, last, total, {name: facets.get(field, {}) for name, field in _TYPED.items()})


def _label(parameter: str, field: str) -> str:
    text = _NAMES.get(parameter, field.replace("_", " "))
    return text[0].upper() + text[1:]


def _options(values: Any) -> dict[str, str]:
    return {str(value): str(value).replace("_", " ") for value in values}


def _chosen(request: web.Request, asked: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Each filter in use: its name, its value, and the path without it."""
    for name, value in asked.items():
        if name == "filter":
            wanted = filter_from({"filter": value}, datetime.now(UTC), within=None, addresses=True)
            yield from _chosen_terms(request, wanted)
        elif name != "after":
            text = ranges.RANGES[value].text if name in {"seen", "new"} else str(value)
            yield _NAMES.get(name, name), text, path_with(request, **{name: None}, after=None)


def _chosen_terms(request: web.Request, wanted: Filter) -> Iterator[tuple[str, str, str]]:
    for index, term in enumerate(wanted.terms):
        rest = Filter(wanted.terms[:index] + wanted.terms[index + 1 :])
        condition = str(term).removeprefix(term.field.name)
        yield term.field.name, condition, path_with(request, filter=str(rest) or None, after=None)


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
