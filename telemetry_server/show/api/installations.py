"""GET /api/v1/installations and GET /api/v1/installations/{installation_id}."""

from datetime import UTC, datetime
from typing import Annotated
from uuid import UUID

from aiohttp import web
from msgspec import Meta, Struct
from msgspec.structs import asdict

from telemetry_server import app_keys
from telemetry_server.enrich.places.place import Place
from telemetry_server.errors import NotFound
from telemetry_server.model import Moment, NonNegative, NumberRanges, SequenceNumber
from telemetry_server.permissions import Permission
from telemetry_server.routing import Parameter, get
from telemetry_server.show.addresses import shown_to
from telemetry_server.show.filters import FILTERS, filter_from
from telemetry_server.show.paging import AFTER_ID, LIMIT, Page, page
from telemetry_server.show.query import IDENTIFIER, read_path, read_query
from telemetry_server.show.responses import json_response
from telemetry_server.show.serializers import Counters, Installation, installation_item, place
from telemetry_server.show.viewer import VIEWER
from telemetry_server.store.fleet import installations
from telemetry_server.uuid7 import HIGHEST

PARAMETERS = (*FILTERS, LIMIT, AFTER_ID)


class Fork(Struct):
    """A ping whose number another ping of the installation already has."""

    sequence: SequenceNumber
    ping_id: UUID
    stored_ping_id: UUID
    received_at: Moment
    occurred_at: Moment
    client_address: str | None
    place: Place


_FORK_COLUMNS = [name for name in Fork.__struct_fields__ if name != "place"]


class InstallationDetail(Installation):  # type: ignore[valid-type, misc]  # made from the field registry
    """Everything about one installation except its pings."""

    received_ranges: NumberRanges
    missing_ranges: NumberRanges
    features: Annotated[Counters, Meta(description="Uses over the pings that are kept.")]
    fork_count: NonNegative
    forks: Annotated[list[Fork], Meta(description="The newest hundred.")]
    hostname: Annotated[str | None, Meta(description="Name of client_address in the DNS; approximate.")]
    hostname_looked_up_at: Moment | None
    parent_id: Annotated[UUID | None, Meta(description="The identity this copy had before it was forked.")]
    children: tuple[UUID, ...]


class Installations(Page[Installation]):  # type: ignore[valid-type]  # made from the field registry
    """Installations, the newest identity first."""


async def list_installations(request: web.Request) -> web.Response:
    asked = read_query(request, PARAMETERS)
    limit, now, viewer = asked["limit"], datetime.now(UTC), request[VIEWER]
    rows = await installations.installations(
        request.app[app_keys.POOL],
        filter_from(asked, now, within=viewer.products, addresses=viewer.may(Permission.ADDRESSES)),
        now=now,
        below=asked.get("after", HIGHEST),
        limit=limit + 1,
    )
    return page(request, shown_to(viewer, rows), limit, installation_item, lambda row: row["installation_id"])


async def one_installation(request: web.Request) -> web.Response:
    read_query(request, ())
    known = await installations.installation(
        request.app[app_keys.POOL], read_path(request, "installation_id")
    )
    viewer = request[VIEWER]
    if known is None or not viewer.sees(known.row["product"]):
        raise NotFound("There is no such installation.")
    [row] = shown_to(viewer, [known.row])
    detail = InstallationDetail(
        **asdict(installation_item(row)),
        received_ranges=known.received,
        missing_ranges=known.missing,
        features={each["feature"]: int(each["uses"]) for each in known.features},
        fork_count=known.fork_count,
        forks=[
            Fork(place=place(fork["place"]), **{name: fork[name] for name in _FORK_COLUMNS})
            for fork in shown_to(viewer, known.forks)
        ],
        hostname=row["hostname"],
        hostname_looked_up_at=row["hostname_looked_up_at"],
        parent_id=known.parent,
        children=known.children,
    )
    return json_response(detail)


_ID = Parameter("installation_id", "Its id.", IDENTIFIER, where="path", required=True)

ROUTES = (
    get(
        "/api/v1/installations",
        list_installations,
        "List installations",
        Installations,
        PARAMETERS,
        permission=Permission.INSTALLATIONS,
        audited="installation",
    ),
    get(
        "/api/v1/installations/{installation_id}",
        one_installation,
        "Everything about one installation",
        InstallationDetail,
        (_ID,),
        audited="installation",
        errors=(NotFound,),
        permission=Permission.INSTALLATIONS,
    ),
)
