"""One license: what it grants, the copies on it, and its history."""

from datetime import UTC, datetime, time, timedelta
from typing import Any

from aiohttp import web

from telemetry_server import app_keys
from telemetry_server.errors import NotFound
from telemetry_server.model import License, LicenseStatus
from telemetry_server.permissions import Permission
from telemetry_server.routing import HTML, Parameter, get
from telemetry_server.show.api.licenses import find_license
from telemetry_server.show.charts_time import Around, Series, TimeChart, lines
from telemetry_server.show.differences import LABELS, differences, in_words
from telemetry_server.show.query import IDENTIFIER, read_path, read_query
from telemetry_server.show.recorded_views import record
from telemetry_server.show.render import page
from telemetry_server.show.slow import unless_slow
from telemetry_server.show.time_zone import zone_of
from telemetry_server.show.viewer import VIEWER
from telemetry_server.store.fleet import licensed_copies
from telemetry_server.store.reading import reading
from telemetry_server.store.registry import history, license_lists, seats
from telemetry_server.store.registry.history import Entity

ID = Parameter("license_id", "Its id.", IDENTIFIER, where="path", required=True)
_COPIES, _DAYS = 50, 90
_SHOWN = (
    *("status", "type", "starts_at", "expires_at", "edition", "seats", "overage", "free_environments"),
    *("source", "source_detail", "order_reference", "domains", "addresses", "addresses_enforced"),
    *("directories", "custom"),
)
_ACTIONS = {
    LicenseStatus.ACTIVE: (("suspended", "Suspend"), ("revoked", "Revoke")),
    LicenseStatus.SUSPENDED: (("active", "Reinstate"), ("revoked", "Revoke")),
    LicenseStatus.REVOKED: (("active", "Reinstate"),),
    LicenseStatus.REFUNDED: (("active", "Reinstate"),),
}


async def one_license(request: web.Request) -> web.Response:
    read_query(request, ())
    license_id, viewer, now = read_path(request, "license_id"), request[VIEWER], datetime.now(UTC)
    async with reading(request.app[app_keys.POOL]) as connection:
        found = await find_license(connection, license_id, viewer)
        changes = await history.history(connection, Entity.LICENSE, str(license_id))
        counted = await licensed_copies.copies_by_license(connection, [license_id])
        copies = await licensed_copies.copies_of_license(connection, license_id, _COPIES)
        owner: dict[Any, str] = {}
        if found.customer_id is not None and viewer.may(Permission.CUSTOMERS):
            owner = await license_lists.customer_names(connection, [found.customer_id])
    if owner:
        await record(request.app[app_keys.POOL], request, "customer.view", found.customer_id)
    zone = found.time_zone
    return page(
        request,
        "license.html",
        license=found,
        values=[(LABELS[name], in_words(name, getattr(found, name), zone)) for name in _SHOWN],
        owner=owner.get(found.customer_id),
        counted=counted.get(license_id, licensed_copies.Copies()),
        chart=await unless_slow(_seats_chart(request, found, now)),
        copies=copies,
        actions=_ACTIONS[found.status],
        changes=[(each, differences(each.before, each.after, zone)) for each in changes],
        expired=found.expires_at is not None and found.expires_at <= now,
    )


async def _seats_chart(request: web.Request, found: License, now: datetime) -> TimeChart:
    """Seats used against seats, at the end of each day."""
    first = now.date() - timedelta(days=_DAYS - 1)
    pool = request.app[app_keys.POOL]
    rows = await seats.seats_over_time(pool, found.license_id, first, now.date(), now=now)
    starts = [datetime.combine(row["day"], time(), UTC) for row in rows]
    used, bought = [row["used"] for row in rows], [row["seats"] for row in rows]
    limited = bought if any(seats is not None for seats in bought) else ()
    around = Around(
        height=140, zone=zone_of(request), before=limited, before_text="Seats", still_open=starts[-1:]
    )
    return lines(f"Seats used, {_DAYS} days", starts, [Series("1", "Seats used", used)], around)


ROUTES = (
    get(
        "/licenses/{license_id}",
        one_license,
        "One license",
        HTML,
        (ID,),
        permission=Permission.LICENSES,
        audited="license",
        errors=(NotFound,),
    ),
)
