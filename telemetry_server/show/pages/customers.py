"""The list of customers, and the same rows as a file."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from aiohttp import web

from telemetry_server import app_keys
from telemetry_server.check.filters.filter_fields import CUSTOMERS as FIELDS
from telemetry_server.check.filters.parser import BadFilter
from telemetry_server.permissions import Permission
from telemetry_server.routing import FILE, HTML, Parameter, Route, get
from telemetry_server.show import filters
from telemetry_server.show.csv_file import MOST_ROWS, csv_file
from telemetry_server.show.links import link
from telemetry_server.show.query import read_query, text
from telemetry_server.show.render import page
from telemetry_server.show.responses import without_empty
from telemetry_server.show.sorting import PAGE, heads, pager, sort_parameter, wanted_part
from telemetry_server.store.database import Connection
from telemetry_server.store.fleet.installations import product_names
from telemetry_server.store.fleet.licensed_copies import Copies, copies_by_license
from telemetry_server.store.reading import reading
from telemetry_server.store.registry import license_lists as store

PARAMETERS = (
    *filters.CUSTOMERS.parameters,
    Parameter("q", "A part of the e-mail, the name, the company or the account.", text()),
    sort_parameter(store.CUSTOMER_SORTS, "-created"),
    PAGE,
)
_COLUMNS = (
    *("customer_id", "email", "name", "company", "account", "licenses", "seats_used", "seats", "over"),
    *("next_expiry", "created_at"),
)


async def customer_list(request: web.Request) -> web.Response:
    if (shorter := without_empty(request)) is not None:
        return shorter
    asked, now = read_query(request, PARAMETERS), datetime.now(UTC)
    problem, rows, total = None, [], 0
    copies: Mapping[UUID, Copies] = {}
    try:
        wanted = filters.CUSTOMERS.filter(asked, within=None)
        async with reading(request.app[app_keys.POOL]) as connection:
            part, named = wanted_part(asked), asked.get("q")
            rows = await store.customers_shown(connection, wanted, named, part, now=now)
            total = await store.customer_total(connection, wanted, named, now=now)
            copies = await _copies(connection, [row["customer_id"] for row in rows])
    except BadFilter as error:
        problem = error.detail
    return page(
        request,
        "customers.html",
        status=400 if problem else 200,
        problem=problem,
        asked=asked,
        rows=rows,
        copies=copies,
        heads=heads(request, asked, store.CUSTOMER_SORTS),
        pages=pager(request, asked, total),
        filtered=bool(asked.keys() & {"filter", "q", "email"}),
        file=link("/customers/export", **{name: value for name, value in asked.items() if name != "page"}),
        fields=FIELDS.values(),
        products=await product_names(request.app[app_keys.POOL]),
    )


async def _copies(connection: Connection, customer_ids: list[UUID]) -> Mapping[UUID, Copies]:
    """The copies on the licenses of each of these customers."""
    owners = await store.license_owners(connection, customer_ids)
    found: dict[UUID, Copies] = {}
    for license_id, each in (await copies_by_license(connection, owners.keys())).items():
        found.setdefault(owners[license_id], Copies()).join(each)
    return found


async def customer_file(request: web.Request) -> web.Response:
    """All rows of the list, not only its page."""
    asked, now = read_query(request, PARAMETERS), datetime.now(UTC)
    wanted = filters.CUSTOMERS.filter(asked, within=None)
    part = store.ListPage(asked["sort"], MOST_ROWS + 1)
    async with reading(request.app[app_keys.POOL]) as connection:
        rows: list[dict[str, Any]] = await store.customers_shown(
            connection, wanted, asked.get("q"), part, now=now
        )
    return await csv_file("customers", _COLUMNS, rows, now)


ROUTES = (
    Route(
        "GET",
        "/customers",
        customer_list,
        "The list of customers",
        permission=Permission.CUSTOMERS,
        page=True,
        audited="customer",
        parameters=PARAMETERS,
        answers={200: HTML, 303: "", 400: HTML},
    ),
    get(
        "/customers/export",
        customer_file,
        "The list of customers as CSV",
        FILE,
        PARAMETERS,
        permission=Permission.CUSTOMERS,
        step_up=True,
        audited="customer",
    ),
)
