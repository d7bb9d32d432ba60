"""GET /api/v1/feature-use: the use of features by version, edition, verdict and life."""

from datetime import UTC, date, datetime
from typing import Annotated

from aiohttp import web
from msgspec import Meta, Struct

from telemetry_server import app_keys
from telemetry_server.model import Moment, NonNegative
from telemetry_server.permissions import Permission
from telemetry_server.routing import Parameter, get
from telemetry_server.show import filters
from telemetry_server.show.api.fleet import FEATURES, shown, span_of
from telemetry_server.show.query import integer, one_of, read_query
from telemetry_server.show.responses import json_response
from telemetry_server.show.viewer import VIEWER
from telemetry_server.store.counts import feature_use
from telemetry_server.store.counts.counting import TimeStep

PARAMETERS = (
    Parameter("by", "Count by this.", {**one_of(*feature_use.DIMENSIONS), "default": "all"}),
    *FEATURES,
    Parameter("values", "Number of values named; the others together are null.", integer(1, 100, default=20)),
)


class FeatureUse(Struct):
    """The use of one feature by the installations of one value, in total or in one step."""

    day: Annotated[date | None, Meta(description="The first day of the step; null: in total.")]
    feature: str
    value: Annotated[str | None, Meta(description="null: the rarer values together; empty: by all.")]
    uses: NonNegative
    installations: Annotated[NonNegative, Meta(description="Peak of those that used it on a day.")]
    used_by: Annotated[NonNegative, Meta(description="Those that used it on a day, added up over days.")]
    reports: Annotated[
        NonNegative,
        Meta(
            description="Those that sent a ping on a day, added up: used_by / reports is the share of copies."
        ),
    ]


class FeatureUses(Struct):
    """The most widespread features."""

    by: str
    step: TimeStep
    items: Annotated[list[FeatureUse] | None, Meta(description="null: not counted yet.")]
    counted_until: Annotated[
        Moment | None, Meta(description="Counts include pings up to then; null: not counted yet.")
    ]
    simulated: Annotated[list[str], Meta(description="Slugs of simulated products counted here.")]


async def features_by_value(request: web.Request) -> web.Response:
    """The most widespread first, each by version, edition, verdict or life, with its share of copies."""
    asked, now = read_query(request, PARAMETERS), datetime.now(UTC)
    wanted = filters.FEATURES.filter(asked, within=request[VIEWER].products)
    span = span_of(asked, now, TimeStep(asked["step"]))
    counted = await feature_use.feature_use(
        request.app[app_keys.POOL],
        asked["by"],
        wanted,
        span,
        now=now,
        limit=asked["limit"],
        values=asked["values"],
    )
    return json_response(FeatureUses(asked["by"], span.step, **shown(counted, FeatureUse)))


ROUTES = (
    get(
        "/api/v1/feature-use",
        features_by_value,
        "Count uses of features by version, edition, verdict or life",
        FeatureUses,
        PARAMETERS,
        permission=Permission.NUMBERS,
    ),
)
