"""GET /api/v1/pings."""

from uuid import UUID

from aiohttp import web

from telemetry_server import app_keys
from telemetry_server.permissions import Permission
from telemetry_server.routing import Parameter, get
from telemetry_server.show.addresses import shown_to
from telemetry_server.show.paging import AFTER, LIMIT, Page, bigint, moment_key, page, read_moment_key
from telemetry_server.show.query import IDENTIFIER, MOMENT, read_query
from telemetry_server.show.serializers import PingShown, ping_item
from telemetry_server.show.viewer import VIEWER
from telemetry_server.store.fleet import installations

PARAMETERS = (
    Parameter("installation_id", "Only pings of this installation.", IDENTIFIER),
    Parameter("since", "Received at this time or later.", MOMENT),
    Parameter("until", "Received before this time.", MOMENT),
    LIMIT,
    AFTER,
)


class Pings(Page[PingShown]):  # type: ignore[valid-type]  # made from the field registry
    """Pings, the latest received first."""


async def list_pings(request: web.Request) -> web.Response:
    asked = read_query(request, PARAMETERS)
    limit = asked["limit"]
    rows = await installations.pings(
        request.app[app_keys.POOL],
        installation_id=asked.get("installation_id"),
        since=asked.get("since"),
        until=asked.get("until"),
        below=read_moment_key(asked["after"], UUID, bigint) if "after" in asked else installations.NEWEST,
        limit=limit + 1,
        products=request[VIEWER].products,
    )
    return page(request, shown_to(request[VIEWER], rows), limit, ping_item, _key)


def _key(row: installations.Row) -> str:
    return moment_key(row["received_at"], row["installation_id"], row["sequence"])


ROUTES = (
    get(
        "/api/v1/pings",
        list_pings,
        "List pings",
        Pings,
        PARAMETERS,
        permission=Permission.INSTALLATIONS,
        audited="installation",
    ),
)
