"""The list of installations; what is asked for stands in the address, so that it can be shared."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from aiohttp import web

from telemetry_server import keys
from telemetry_server.errors import BadRequest, Unavailable
from telemetry_server.routing import Access, Parameter, Route
from telemetry_server.show import ranges
from telemetry_server.show.answers import path_with, see_other
from telemetry_server.show.filters import FILTERS, SOURCES, STATUSES, filters_from
from telemetry_server.show.items import installation_item
from telemetry_server.show.query import IDENTIFIER, read_query
from telemetry_server.show.render import attributions, page
from telemetry_server.store import fleet
from telemetry_server.store.database import Pool
from telemetry_server.store.reading import TooSlow

PARAMETERS = (
    *FILTERS,
    Parameter("after", "Where the page before ended: the id of its last row.", IDENTIFIER),
)

_ROWS = 50
_NAMES = {
    "license_status": "status",
    "license_source": "source",
    "os_name": "operating system",
    "vm": "virtualization",
    "seen": "seen within",
    "new": "first seen within",
    "attention": "pings",
    "q": "id",
}


async def installations(request: web.Request) -> web.Response:
    """The newest identity first."""
    if empty := [name for name, value in request.query.items() if not value]:  # a form sends what it has
        return see_other(path_with(request, **dict.fromkeys(empty)))
    asked = read_query(request, PARAMETERS)
    pool, filters = request.app[keys.POOL], filters_from(asked, datetime.now(UTC))
    rows = await fleet.installations(pool, filters, below=asked.get("after", fleet.HIGHEST), limit=_ROWS + 1)
    last = str(rows[_ROWS - 1]["installation_id"]) if len(rows) > _ROWS else None
    facets = {} if "after" in asked else await _facets(pool, filters)
    return page(
        request,
        "installations.html",
        items=[installation_item(row) for row in rows[:_ROWS]],
        older=path_with(request, after=last) if last else None,
        newest=path_with(request, after=None) if "after" in asked else None,
        facets=facets,
        total=sum(facets["license_status"].values()) if "license_status" in facets else None,
        chosen=_chosen(request, asked),
        asked=asked,
        products=await fleet.products(pool),
        statuses={status: status for status in STATUSES},
        sources={source: source for source in SOURCES},
        ranges={name: one.text for name, one in ranges.RANGES.items()},
        attributions=attributions(request),
    )


async def _facets(pool: Pool, filters: fleet.Filters) -> Mapping[str, Mapping[str | None, int]]:
    try:
        return await fleet.facets(pool, filters)
    except TooSlow:  # the rows are there all the same, without their number
        return {}


def _chosen(request: web.Request, asked: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Each filter in use: its name, its value, and the path without it."""
    return [
        (_NAMES.get(name, name), _value(name, value), path_with(request, **{name: None}, after=None))
        for name, value in asked.items()
        if name != "after"
    ]


def _value(name: str, value: Any) -> str:
    return ranges.RANGES[value].text if name in {"seen", "new"} else str(value)


ROUTES = (
    Route(
        "GET",
        "/installations",
        installations,
        "The list of installations",
        Access.PERSON,
        page=True,
        parameters=PARAMETERS,
        answers={200: "text/html", 303: ""},
        errors=(BadRequest, Unavailable),
    ),
)
