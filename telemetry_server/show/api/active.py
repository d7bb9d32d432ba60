"""GET /api/v1/active: the copies at the end of each day."""

from datetime import UTC, date, datetime
from typing import Annotated

from aiohttp import web
from msgspec import Meta, Struct

from telemetry_server import app_keys
from telemetry_server.model import Moment, NonNegative
from telemetry_server.permissions import Permission
from telemetry_server.routing import Parameter, get
from telemetry_server.show import filters
from telemetry_server.show.api.fleet import OVER_TIME, shown, span_of
from telemetry_server.show.query import integer, one_of, read_query
from telemetry_server.show.responses import json_response
from telemetry_server.show.viewer import VIEWER
from telemetry_server.store.counts import active
from telemetry_server.store.counts.counting import TimeStep
from telemetry_server.store.dimensions import ALL

PARAMETERS = (
    Parameter("by", "Count by this.", {**one_of(*active.DIMENSIONS), "default": ALL}),
    *filters.FILTERS,
    *OVER_TIME,
    Parameter(
        "limit",
        "Number of the most frequent values; the others together are null.",
        integer(1, 500, default=50),
    ),
)


class ActiveCount(Struct):
    """Number of copies of one value at the end of one step."""

    day: Annotated[date, Meta(description="The first day of the step.")]
    value: Annotated[str | None, Meta(description="null: the rarer values together; empty: by all.")]
    installations: Annotated[
        NonNegative,
        Meta(description="Not lost at the end of the last counted day of the step; by turned: in the step."),
    ]


class ActiveCounts(Struct):
    """The copies at the end of each step; a day that is not counted is missing."""

    by: str
    step: TimeStep
    items: Annotated[list[ActiveCount] | None, Meta(description="null: not counted yet.")]
    counted_until: Annotated[
        Moment | None, Meta(description="Counts include pings up to then; null: not counted yet.")
    ]
    simulated: Annotated[list[str], Meta(description="Slugs of simulated products counted here.")]


async def active_copies(request: web.Request) -> web.Response:
    """Number of copies at the end of each day, week or month, by the last that was known of each.

    A filter names products, verdicts and one more field: that of `by`, unless that is all, product or
    verdict.
    """
    asked, now = read_query(request, PARAMETERS), datetime.now(UTC)
    wanted = filters.filter_from(asked, now, within=request[VIEWER].products)
    span = span_of(asked, now, TimeStep(asked.get("step", TimeStep.DAY)))
    pool, by = request.app[app_keys.POOL], asked["by"]
    counted = await active.active_series(pool, by, wanted, span, now=now, values=asked["limit"])
    return json_response(ActiveCounts(by, span.step, **shown(counted, ActiveCount)))


ROUTES = (
    get(
        "/api/v1/active",
        active_copies,
        "Count copies at the end of each day",
        ActiveCounts,
        PARAMETERS,
        permission=Permission.NUMBERS,
    ),
)
