"""Seats of licenses over time, licenses over their seats, those that expire, unknown keys, in the API."""

from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any
from uuid import UUID

from aiohttp import web
from msgspec import Meta, Struct

from telemetry_server import app_keys
from telemetry_server.errors import BadRequest, NotFound
from telemetry_server.model import Moment, NonNegative
from telemetry_server.permissions import Permission
from telemetry_server.routing import Parameter, get
from telemetry_server.show import filters
from telemetry_server.show.paging import LIMIT
from telemetry_server.show.query import DAY, IDENTIFIER, integer, one_of, read_path, read_query
from telemetry_server.show.responses import json_response
from telemetry_server.show.viewer import VIEWER
from telemetry_server.store.fleet import keys
from telemetry_server.store.reading import reading
from telemetry_server.store.registry import seats
from telemetry_server.store.registry.licenses import license_by_id

LONGEST_SPAN = timedelta(days=1_100)

_OFFSET = Parameter("offset", "Number of items to skip.", integer(0, 1_000_000, default=0))
_ID = Parameter("license_id", "Its id.", IDENTIFIER, where="path", required=True)
OVER_TIME = (
    _ID,
    Parameter("from", "The first day, UTC; 90 days unless given.", DAY),
    Parameter("to", "The last day, UTC; today unless given.", DAY),
)
OVER = (*filters.LICENSES.parameters, LIMIT, _OFFSET)
EXPIRING = (
    *OVER,
    Parameter("days", "Ends within so many days.", integer(1, 3_660, default=30)),
    Parameter("in_use", "Only those with an installation.", one_of("true", "false") | {"default": "false"}),
)
UNKNOWN_KEYS = (*filters.FILTERS, LIMIT, _OFFSET)

_Total = Annotated[NonNegative, Meta(description="Number of items without limit and offset.")]


class SeatDay(Struct):
    """The seats of a license at the end of a day, now on the present one."""

    day: date
    used: NonNegative
    seats: Annotated[NonNegative | None, Meta(description="null: any number.")]


class SeatDays(Struct):
    """The seats of a license over time, day by day."""

    items: list[SeatDay]


class OverSeats(Struct):
    """A license with more installations than seats."""

    license_id: UUID
    product: str
    simulated: bool
    key_hint: str
    customer_id: UUID | None
    status: str
    type: str
    seats: NonNegative
    seats_used: NonNegative
    overage: str
    over_since: Annotated[Moment | None, Meta(description="null: not known yet.")]
    expires_at: Moment | None


class LicensesOverSeats(Struct):
    """Licenses with more installations than seats, those with the most too many first."""

    items: list[OverSeats]
    total: _Total


class ExpiringLicense(Struct):
    """An active license that ends soon."""

    license_id: UUID
    product: str
    simulated: bool
    key_hint: str
    customer_id: UUID | None
    type: str
    seats: NonNegative | None
    seats_used: NonNegative
    expires_at: Moment
    last_day: Annotated[date, Meta(description="The last day on which it is good.")]


class ExpiringLicenses(Struct):
    """Active licenses that end soon, the first to end first."""

    items: list[ExpiringLicense]
    total: _Total
    in_use: Annotated[NonNegative, Meta(description="Number of those with an installation.")]


class UnknownKey(Struct):
    """A key that installations use and no license has."""

    product: str
    simulated: bool
    key_hash: Annotated[str, Meta(description="What stands for the key, as in changes of license.key.")]
    key_hint: str | None
    installations: NonNegative
    reporting: Annotated[NonNegative, Meta(description="Those that are neither late nor lost.")]
    networks: Annotated[NonNegative, Meta(description="Networks they report from: IPv4 /24, IPv6 /48.")]
    countries: NonNegative
    operators: NonNegative
    first_received_at: Moment
    last_received_at: Moment


class UnknownKeys(Struct):
    """The keys no license has, the most used first."""

    items: list[UnknownKey]
    total: _Total


async def license_seats(request: web.Request) -> web.Response:
    """Number of seats, and of those in use, by what was known at the time."""
    asked, now = read_query(request, OVER_TIME), datetime.now(UTC)
    license_id, pool = read_path(request, "license_id"), request.app[app_keys.POOL]
    last = asked.get("to", now.date())
    first = asked.get("from", last - timedelta(days=89))
    if not timedelta(0) <= last - first <= LONGEST_SPAN:
        raise BadRequest(f"to must not be before from, and at most {LONGEST_SPAN.days:,} days later.")
    async with reading(pool) as connection:
        found = await license_by_id(connection, license_id)
    if not request[VIEWER].sees(found.product):
        raise NotFound("There is no such license.")
    rows = await seats.seats_over_time(pool, license_id, first, last, now=now)
    return json_response(SeatDays([SeatDay(**row) for row in rows]))


async def over_seats(request: web.Request) -> web.Response:
    asked = read_query(request, OVER)
    wanted = filters.LICENSES.filter(asked, within=request[VIEWER].products)
    rows = await seats.over_seats(
        request.app[app_keys.POOL],
        wanted,
        now=datetime.now(UTC),
        limit=asked["limit"],
        offset=asked["offset"],
    )
    return json_response(LicensesOverSeats(*_items(OverSeats, rows)))


async def expiring(request: web.Request) -> web.Response:
    asked, now = read_query(request, EXPIRING), datetime.now(UTC)
    wanted = filters.LICENSES.filter(asked, within=request[VIEWER].products)
    pool, days = request.app[app_keys.POOL], asked["days"]
    counted = await seats.expiring(pool, wanted, now=now, days=days)
    rows = await seats.expiring_licenses(
        pool,
        wanted,
        now=now,
        days=days,
        in_use=asked["in_use"] == "true",
        limit=asked["limit"],
        offset=asked["offset"],
    )
    return json_response(ExpiringLicenses(*_items(ExpiringLicense, rows), counted.in_use))


async def unknown_keys(request: web.Request) -> web.Response:
    """The most used first; a license that is imported later takes its key out."""
    asked, now, viewer = read_query(request, UNKNOWN_KEYS), datetime.now(UTC), request[VIEWER]
    wanted = filters.filter_from(
        asked, now, within=viewer.products, addresses=viewer.may(Permission.ADDRESSES)
    )
    async with reading(request.app[app_keys.POOL]) as connection:
        rows = await keys.unknown_keys(
            connection, wanted, now=now, limit=asked["limit"], offset=asked["offset"]
        )
    return json_response(UnknownKeys(*_items(UnknownKey, rows)))


def _items(kind: Any, rows: list[Any]) -> tuple[list[Any], int]:
    """The rows as items, and their number without limit and offset."""
    named = kind.__struct_fields__
    return [kind(**{name: row[name] for name in named}) for row in rows], rows[0]["total"] if rows else 0


ROUTES = (
    get(
        "/api/v1/licenses/{license_id}/seats",
        license_seats,
        "Seats of a license over time",
        SeatDays,
        OVER_TIME,
        permission=Permission.LICENSES,
        audited="license",
        errors=(NotFound,),
    ),
    get(
        "/api/v1/licenses-over-seats",
        over_seats,
        "List licenses with more installations than seats",
        LicensesOverSeats,
        OVER,
        permission=Permission.LICENSES,
        audited="license",
    ),
    get(
        "/api/v1/licenses-expiring",
        expiring,
        "List licenses that end soon",
        ExpiringLicenses,
        EXPIRING,
        permission=Permission.LICENSES,
        audited="license",
    ),
    get(
        "/api/v1/unknown-keys",
        unknown_keys,
        "List keys that no license has",
        UnknownKeys,
        UNKNOWN_KEYS,
        permission=Permission.INSTALLATIONS,
        audited="installation",
    ),
)
