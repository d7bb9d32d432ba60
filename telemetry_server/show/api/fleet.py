"""GET /api/v1/fleet, /features and /cohorts: counts of the fleet, now and over time."""

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any, TypeAlias

from aiohttp import web
from msgspec import Meta, Struct

from telemetry_server import app_keys
from telemetry_server.check.filters.terms import Filter
from telemetry_server.errors import BadRequest, Forbidden
from telemetry_server.model import Moment, NonNegative
from telemetry_server.permissions import Permission
from telemetry_server.routing import Parameter, get
from telemetry_server.show import filters
from telemetry_server.show.filters import FILTERS, filter_from
from telemetry_server.show.query import DAY, integer, one_of, read_query
from telemetry_server.show.recorded_views import record
from telemetry_server.show.responses import json_response
from telemetry_server.show.viewer import VIEWER
from telemetry_server.store.counts import counting
from telemetry_server.store.counts.counting import Counts, Question, Span, TimeStep
from telemetry_server.store.dimensions import ALL

LONGEST_SPAN = timedelta(days=1_100)
MOST_ITEMS = 20_000
_USUAL_SPAN = timedelta(days=29)
_ASKS_OVER_TIME = {"from", "to", "step"}
_OF_ONE = ("id", "license", "address", "network")

_STEPS = (TimeStep.DAY, TimeStep.WEEK, TimeStep.MONTH)
_DAYS_OF = {TimeStep.DAY: 1, TimeStep.WEEK: 7, TimeStep.MONTH: 28, TimeStep.TOTAL: LONGEST_SPAN.days}
_FROM = Parameter("from", "The first day, UTC; 30 days unless given.", DAY)
_TO = Parameter("to", "The last day, UTC; today unless given.", DAY)
OVER_TIME = (
    _FROM,
    _TO,
    Parameter("step", "Size of the steps.", one_of(*_STEPS)),
)

FLEET = (
    Parameter("by", "Count by this.", {**one_of(*counting.DIMENSIONS), "default": ALL}),
    *FILTERS,
    _FROM,
    _TO,
    Parameter("step", "Size of the steps. Without from, to and step: the count of now.", one_of(*_STEPS)),
    Parameter(
        "limit",
        "Number of the most frequent values; the others together are null.",
        integer(1, 500, default=50),
    ),
)
FEATURES = (
    *filters.FEATURES.parameters,
    _FROM,
    _TO,
    Parameter("step", "Size of the steps, or total.", {**one_of(*TimeStep), "default": TimeStep.TOTAL}),
    Parameter("limit", "Number of the features most used.", integer(1, 500, default=50)),
)
COHORTS = (
    *filters.COHORTS.parameters,
    Parameter("from", "The first day of the first cohort; a year unless given.", DAY),
    Parameter("to", "The last day, UTC; today unless given.", DAY),
)


_PEAK = "Peak daily installations within the step; a lower bound for the step."
_UNTIL = "Counts include pings received up to then, late commits within 15 minutes; null: not counted yet."
_LATER = "null, as counted_until: not counted yet; ask again in a few minutes."
_CountedUntil: TypeAlias = Annotated[Moment | None, Meta(description=_UNTIL)]
_Simulated: TypeAlias = Annotated[list[str], Meta(description="Slugs of simulated products counted here.")]


class FleetCount(Struct):
    """Number of installations of one value, now or in one step."""

    day: Annotated[date | None, Meta(description="The first day of the step; null: now.")]
    value: Annotated[str | None, Meta(description="null: the rarer values together; empty: by all.")]
    installations: Annotated[NonNegative, Meta(description=f"Now: all of them. Over time: {_PEAK}")]
    pings: Annotated[NonNegative | None, Meta(description="In the step; null: now.")]


class FleetCounts(Struct):
    """Counts of the fleet."""

    by: str
    step: Annotated[TimeStep | None, Meta(description="null: now.")]
    items: Annotated[list[FleetCount] | None, Meta(description=_LATER)]
    counted_until: _CountedUntil
    simulated: _Simulated


class FeatureCount(Struct):
    """Number of uses of one feature, in total or in one step."""

    day: Annotated[date | None, Meta(description="The first day of the step; null: in total.")]
    feature: str
    uses: NonNegative
    installations: Annotated[NonNegative, Meta(description=_PEAK)]


class FeatureCounts(Struct):
    """The features most used."""

    step: TimeStep
    items: Annotated[list[FeatureCount] | None, Meta(description=_LATER)]
    counted_until: _CountedUntil
    simulated: _Simulated


class CohortWeek(Struct):
    """The installations first seen in one week, counted in a later one."""

    cohort: Annotated[date, Meta(description="Monday of the week of the first ping.")]
    week: Annotated[date, Meta(description="Its Monday.")]
    active: Annotated[NonNegative, Meta(description="Those that reported; in the first week, the new ones.")]
    lost: NonNegative
    returned: NonNegative


class Cohorts(Struct):
    """The installations by the week of their first ping, week by week."""

    items: Annotated[list[CohortWeek] | None, Meta(description=_LATER)]
    counted_until: _CountedUntil
    simulated: _Simulated


async def fleet(request: web.Request) -> web.Response:
    """Number of installations of each value, now, or last seen in each step."""
    asked, now = read_query(request, FLEET), datetime.now(UTC)
    viewer = request[VIEWER]
    wanted = filter_from(asked, now, within=viewer.products, addresses=viewer.may(Permission.ADDRESSES))
    await _guard_single_ones(request, wanted)
    question = Question(asked["by"], wanted, now, asked["limit"])
    pool = request.app[app_keys.POOL]
    if not asked.keys() & _ASKS_OVER_TIME:
        counted, step = await counting.present(pool, question), None
    else:
        span = span_of(asked, now, TimeStep(asked.get("step", TimeStep.DAY)))
        counted, step = await counting.over_time(pool, question, span), span.step
    return json_response(FleetCounts(question.by, step, **shown(counted, FleetCount)))


async def features(request: web.Request) -> web.Response:
    """The most used first; with steps, in their order."""
    asked, now = read_query(request, FEATURES), datetime.now(UTC)
    wanted, span = (
        filters.FEATURES.filter(asked, within=request[VIEWER].products),
        span_of(asked, now, TimeStep(asked["step"])),
    )
    counted = await counting.features(request.app[app_keys.POOL], wanted, span, now=now, limit=asked["limit"])
    return json_response(FeatureCounts(span.step, **shown(counted, FeatureCount)))


async def cohorts(request: web.Request) -> web.Response:
    """The oldest cohort first, and of each its weeks in order."""
    asked, now = read_query(request, COHORTS), datetime.now(UTC)
    wanted, (first, last) = (
        filters.COHORTS.filter(asked, within=request[VIEWER].products),
        _days(asked, now, timedelta(days=364)),
    )
    counted = await counting.cohorts(request.app[app_keys.POOL], wanted, first, last, now=now)
    return json_response(Cohorts(**shown(counted, CohortWeek)))


def span_of(asked: Mapping[str, Any], now: datetime, step: TimeStep) -> Span:
    """The days and steps that are asked for. Raises BadRequest, also for too many items."""
    first, last = _days(asked, now, _USUAL_SPAN)
    items = ((last - first).days // _DAYS_OF[step] + 1) * asked["limit"]
    if items > MOST_ITEMS:
        raise BadRequest(f"This may be {items:,} items; ask for fewer days, larger steps or a lower limit.")
    return Span(first, last, step)


async def _guard_single_ones(request: web.Request, wanted: Filter) -> None:
    """Counts by id or license say something about single installations. Raises Forbidden or Unavailable."""
    if any(term.field.name in _OF_ONE for term in wanted.terms):
        if not request[VIEWER].may(Permission.INSTALLATIONS):
            raise Forbidden(
                f"A filter by id, license or address needs the permission {Permission.INSTALLATIONS}."
            )
        await record(request.app[app_keys.POOL], request, "installation.count", None, filter=str(wanted))


def _days(asked: Mapping[str, Any], now: datetime, usual: timedelta) -> tuple[date, date]:
    last = asked.get("to", now.date())
    first = asked.get("from", last - usual)
    if first > last:
        raise BadRequest("from must not be later than to.")
    if last - first > LONGEST_SPAN:
        raise BadRequest(f"from and to may be {LONGEST_SPAN.days:,} days apart.")
    return first, last


def shown(counted: Counts, kind: type[Struct]) -> dict[str, Any]:
    """The fields of an answer with counts, each row as `kind`."""
    items = None if counted.rows is None else [kind(**row) for row in counted.rows]
    return {"items": items, "counted_until": counted.until, "simulated": counted.simulated}


ROUTES = (
    get(
        "/api/v1/fleet",
        fleet,
        "Count installations, now or over time",
        FleetCounts,
        FLEET,
        permission=Permission.NUMBERS,
    ),
    get(
        "/api/v1/features",
        features,
        "Count uses of features",
        FeatureCounts,
        FEATURES,
        permission=Permission.NUMBERS,
    ),
    get(
        "/api/v1/cohorts",
        cohorts,
        "Follow the installations of each week",
        Cohorts,
        COHORTS,
        permission=Permission.NUMBERS,
    ),
)
