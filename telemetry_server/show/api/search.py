"""GET /api/v1/search: one text, searched in everything that the sender may see."""

from datetime import UTC, datetime
from typing import Annotated
from uuid import UUID

from aiohttp import web
from msgspec import Meta, Struct

from telemetry_server import app_keys
from telemetry_server.check.searching import LONGEST
from telemetry_server.model import NonNegative
from telemetry_server.permissions import Permission
from telemetry_server.routing import Parameter, get
from telemetry_server.show.query import read_query, text
from telemetry_server.show.recorded_views import record_customers
from telemetry_server.show.responses import json_response
from telemetry_server.show.viewer import VIEWER, Viewer
from telemetry_server.store.reports.search import Found, Hit, Sees, search

_WHAT = (
    "An id or its beginning, the end of a key, an order, a customer, company or e-mail, an address or "
    "network, a network operator, a hostname, a version (7.4.*), a verdict or another value, or a filter."
)
PARAMETERS = (Parameter("q", _WHAT, text() | {"maxLength": LONGEST}),)


class SearchHit(Struct):
    """A finding: one installation, license or customer by its id, or the installations of a filter."""

    kind: Annotated[
        str,
        Meta(description="installation, license, customer; of a filter what the text is in it, as version."),
    ]
    label: str
    id: UUID | None
    filter: Annotated[str | None, Meta(description="For the parameter filter of /api/v1/installations.")]
    count: Annotated[
        NonNegative | None,
        Meta(
            description="Installations of the filter, licenses of the customer; null: took too long, or one."
        ),
    ]


class SearchResult(Struct):
    """What was found."""

    taken_for: Annotated[str | None, Meta(description="What the text was taken for; null: it is too short.")]
    exact: Annotated[SearchHit | None, Meta(description="What the text names exactly.")]
    suggestions: list[SearchHit]


def sees(viewer: Viewer) -> Sees:
    """What the viewer may find."""
    return Sees(
        installations=viewer.may(Permission.INSTALLATIONS),
        licenses=viewer.may(Permission.LICENSES),
        customers=viewer.may(Permission.CUSTOMERS),
        addresses=viewer.may(Permission.ADDRESSES),
        products=viewer.products,
    )


async def find(request: web.Request) -> web.Response:
    """The most certain meaning first. Customers and addresses only for those who may see them."""
    asked = read_query(request, PARAMETERS)
    found: Found = await search(
        request.app[app_keys.POOL], asked.get("q", ""), sees=sees(request[VIEWER]), now=datetime.now(UTC)
    )
    if any(hit.kind == "customer" for hit in found.suggestions):
        await record_customers(request)
    hits = [_hit(one) for one in found.suggestions]
    return json_response(SearchResult(found.taken_for, _hit(found.exact) if found.exact else None, hits))


def _hit(one: Hit) -> SearchHit:
    return SearchHit(one.kind, one.label, one.id, one.filter, one.count)


ROUTES = (
    get(
        "/api/v1/search",
        find,
        "Search in everything",
        SearchResult,
        PARAMETERS,
        permission=Permission.INSTALLATIONS,
        audited="search",
    ),
)
