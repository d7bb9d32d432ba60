"""GET /api/v1/changes: changed facts of installations, with their times."""

from typing import Annotated
from uuid import UUID

from aiohttp import web
from msgspec import Meta, Struct

from telemetry_server import app_keys
from telemetry_server.model import Moment, SequenceNumber, Simulated
from telemetry_server.permissions import Permission
from telemetry_server.routing import Parameter, get
from telemetry_server.show.addresses import shown_to
from telemetry_server.show.paging import AFTER, LIMIT, Page, bigint, moment_key, page, read_moment_key
from telemetry_server.show.query import IDENTIFIER, MOMENT, read_query, text
from telemetry_server.show.viewer import VIEWER
from telemetry_server.store.fleet import installations

PARAMETERS = (
    Parameter("installation_id", "Only of this installation.", IDENTIFIER),
    Parameter("field", "Only this field, e.g. service.version, verdict or life.", text()),
    Parameter("since", "Noted at this time or later.", MOMENT),
    Parameter("until", "Noted before this time.", MOMENT),
    LIMIT,
    AFTER,
)


class Change(Struct):
    """A changed field of an installation; null is unknown."""

    installation_id: UUID
    product: str
    simulated: Simulated
    changed_at: Annotated[Moment, Meta(description="When the server learned it.")]
    sequence: Annotated[
        SequenceNumber, Meta(description="Of its ping; verdict and life: of the last ping before.")
    ]
    field: Annotated[str, Meta(description="Of the installation, e.g. service.version, verdict or life.")]
    before: str | None
    after: str | None


class Changes(Page[Change]):
    """Changes, the newest first."""


async def list_changes(request: web.Request) -> web.Response:
    asked = read_query(request, PARAMETERS)
    limit = asked["limit"]
    rows = await installations.changes(
        request.app[app_keys.POOL],
        installation_id=asked.get("installation_id"),
        field=asked.get("field"),
        since=asked.get("since"),
        until=asked.get("until"),
        below=read_moment_key(asked["after"], UUID, bigint, str)
        if "after" in asked
        else installations.NEWEST_CHANGE,
        limit=limit + 1,
        products=request[VIEWER].products,
    )
    return page(request, shown_to(request[VIEWER], rows), limit, lambda row: Change(**row), _key)


def _key(row: installations.Row) -> str:
    return moment_key(row["changed_at"], row["installation_id"], row["sequence"], row["field"])


ROUTES = (
    get(
        "/api/v1/changes",
        list_changes,
        "List what changed",
        Changes,
        PARAMETERS,
        permission=Permission.INSTALLATIONS,
        audited="installation",
    ),
)
