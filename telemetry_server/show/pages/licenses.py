"""The list of licenses, and the same rows as a file."""

from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime
from typing import Any

from aiohttp import web

from telemetry_server import app_keys
from telemetry_server.check.filters.filter_fields import LICENSES as FIELDS
from telemetry_server.check.filters.parser import BadFilter
from telemetry_server.check.filters.terms import Filter, term
from telemetry_server.model import LicenseSource, LicenseStatus
from telemetry_server.permissions import Permission
from telemetry_server.routing import FILE, HTML, Parameter, Route, get
from telemetry_server.show import filters
from telemetry_server.show.csv_file import MOST_ROWS, csv_file
from telemetry_server.show.links import link
from telemetry_server.show.month_strip import month_strip
from telemetry_server.show.query import one_of, read_query
from telemetry_server.show.recorded_views import record_customers
from telemetry_server.show.render import page
from telemetry_server.show.responses import path_with, without_empty
from telemetry_server.show.scope import read_scope
from telemetry_server.show.sorting import PAGE, heads, pager, sort_parameter, wanted_part
from telemetry_server.show.viewer import VIEWER, Viewer
from telemetry_server.store.database import Connection
from telemetry_server.store.fleet import keys
from telemetry_server.store.fleet.clear_up_facts import subject_of_key
from telemetry_server.store.fleet.licensed_copies import copies_by_license
from telemetry_server.store.reading import reading
from telemetry_server.store.registry import license_lists as store

TABS = {
    "all": "All",
    "over": "Over seats",
    "expiring": "Expiring in 30 days",
    "unused": "Unused",
    "ended": "Revoked, suspended, refunded",
    "unknown": "Keys without a license",
}
PARAMETERS = (
    *filters.LICENSES.parameters,
    Parameter("show", "The tab.", one_of(*TABS) | {"default": "all"}),
    sort_parameter(store.LICENSE_SORTS, "-created"),
    PAGE,
)
_COLUMNS = (
    *("license_id", "product", "key_hint", "status", "type", "source", "source_detail", "order_reference"),
    *("edition", "seats", "seats_used", "overage", "starts_at", "expires_at", "created_at", "updated_at"),
)


async def license_list(request: web.Request) -> web.Response:
    if (shorter := without_empty(request)) is not None:
        return shorter
    asked, viewer, now = read_query(request, PARAMETERS), request[VIEWER], datetime.now(UTC)
    scope, problem, context = await read_scope(request, asked), None, _NOTHING
    if scope.product is not None:
        asked["product"] = scope.product
    try:
        base = filters.LICENSES.filter(asked, within=viewer.products)
        async with reading(request.app[app_keys.POOL]) as connection:
            context = await _found(connection, viewer, asked, base, now)
    except BadFilter as error:
        problem = error.detail
    if context["customers"]:
        await record_customers(request)
    return page(
        request,
        "licenses.html",
        scope=scope,
        status=400 if problem else 200,
        problem=problem,
        asked=asked,
        tabs={name: (text, _tab_path(request, name)) for name, text in TABS.items()},
        heads=heads(request, asked, store.LICENSE_SORTS),
        pages=pager(request, asked, context["totals"].get(asked["show"], 0)),
        file=link("/licenses/export", **{name: value for name, value in asked.items() if name != "page"}),
        chosen=[] if problem else list(_chosen(request, asked)),
        products=scope.shown_products,
        statuses=list(LicenseStatus),
        sources=list(LicenseSource),
        fields=FIELDS.values(),
        **context,
    )


_NOTHING: Mapping[str, Any] = {
    "rows": [],
    "totals": {},
    "copies": {},
    "customers": {},
    "months": [],
    "unknown": [],
}


async def _found(
    connection: Connection, viewer: Viewer, asked: Mapping[str, Any], base: Filter, now: datetime
) -> Mapping[str, Any]:
    part = wanted_part(asked)
    of_product = {name: value for name, value in asked.items() if name == "product"}
    using = filters.filter_from(of_product, now, within=viewer.products)  # a filter of licenses has no keys
    totals = {
        **await store.license_totals(connection, base, now=now),
        "unknown": await keys.unknown_key_total(connection, using, now=now),
    }
    if asked["show"] == "unknown":
        found = await keys.unknown_keys(connection, using, now=now, limit=part.limit, offset=part.offset)
        unknown = [{**row, "item": _item_of(row) if row["active"] else None} for row in found]
        return {**_NOTHING, "totals": totals, "unknown": unknown}
    rows = await store.licenses_shown(connection, base + _of_tab(asked["show"], now), part, now=now)
    ids = [row["license_id"] for row in rows]
    customers = {row["customer_id"] for row in rows if row["customer_id"] is not None}
    counted, today = await store.expiries(connection, base, now=now), now.date()
    return {
        **_NOTHING,
        "rows": rows,
        "totals": totals,
        "copies": await copies_by_license(connection, ids),
        "customers": await store.customer_names(connection, customers)
        if viewer.may(Permission.CUSTOMERS)
        else {},
        "months": month_strip(today, counted, lambda first, last: _expiring(asked, today, first, last)),
    }


def _item_of(key: Mapping[str, Any]) -> str:
    """The path to what is to be cleared up about an unknown key."""
    return link("/to-clear-up", subject=subject_of_key(key["product_id"], key["key_hash"]))


def _of_tab(show: str, now: datetime) -> Filter:
    active = term(FIELDS["status"], "=", LicenseStatus.ACTIVE)
    match show:
        case "over":
            return term(FIELDS["exceeded"], "=", "true")
        case "expiring":
            soon = term(FIELDS["expires"], "<", now + store.SOON)
            return active + term(FIELDS["expires"], ">=", now) + soon
        case "unused":
            return active + term(FIELDS["seats_used"], "=", 0)
        case "ended":
            return term(FIELDS["status"], "!=", LicenseStatus.ACTIVE)
    return Filter()


def _expiring(asked: Mapping[str, Any], today: date, first: date, last: date) -> str:
    """The path to the active licenses whose last day is one of these, without those that expired today."""
    since = "expires>0d" if first == today else f"expires>={first}"
    span = f"status=active {since} expires<={last}"
    return link("/licenses", product=asked.get("product"), filter=span, sort="expires")


def _tab_path(request: web.Request, name: str) -> str:
    sort = {"over": "-over", "expiring": "expires"}.get(name)
    return path_with(request, show=None if name == "all" else name, page=None, sort=sort)


def _chosen(request: web.Request, asked: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Each filter in use: its name, its value, and the path without it."""
    for name in filters.LICENSES.terms:
        if name in asked:
            yield name.replace("_", " "), str(asked[name]), path_with(request, **{name: None}, page=None)
    wanted = filters.LICENSES.filter({"filter": asked.get("filter", "")}, within=None)
    for index, one in enumerate(wanted.terms):
        rest = Filter(wanted.terms[:index] + wanted.terms[index + 1 :])
        condition = str(one).removeprefix(one.field.name)
        yield one.field.name, condition, path_with(request, filter=str(rest) or None, page=None)


async def license_file(request: web.Request) -> web.Response:
    """All rows of the list, not only its page. Customers are in the export of the API."""
    asked, now = read_query(request, PARAMETERS), datetime.now(UTC)
    wanted = filters.LICENSES.filter(asked, within=request[VIEWER].products) + _of_tab(asked["show"], now)
    part = store.ListPage(asked["sort"], MOST_ROWS + 1)
    async with reading(request.app[app_keys.POOL]) as connection:
        rows = await store.licenses_shown(connection, wanted, part, now=now)
    return await csv_file("licenses", _COLUMNS, rows, now)


ROUTES = (
    Route(
        "GET",
        "/licenses",
        license_list,
        "The list of licenses",
        permission=Permission.LICENSES,
        page=True,
        audited="license",
        parameters=PARAMETERS,
        answers={200: HTML, 303: "", 400: HTML},
    ),
    get(
        "/licenses/export",
        license_file,
        "The list of licenses as CSV",
        FILE,
        PARAMETERS,
        permission=Permission.LICENSES,
        audited="license",
    ),
)
