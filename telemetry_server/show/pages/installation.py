"""One installation: its present state, its history and its features."""

from dataclasses import replace
from datetime import timedelta
from itertools import groupby
from operator import itemgetter

from aiohttp import web

from telemetry_server import app_keys
from telemetry_server.errors import NotFound
from telemetry_server.permissions import Permission
from telemetry_server.routing import HTML, Parameter, get
from telemetry_server.show.addresses import shown_to
from telemetry_server.show.charts import Bar
from telemetry_server.show.formatting import inert
from telemetry_server.show.history import entries
from telemetry_server.show.query import IDENTIFIER, integer, read_path, read_query
from telemetry_server.show.render import attributions, page
from telemetry_server.show.responses import path_with
from telemetry_server.show.serializers import installation_item
from telemetry_server.show.verdicts import rests_on
from telemetry_server.show.viewer import VIEWER
from telemetry_server.store.fleet import installations

PARAMETERS = (
    Parameter("installation_id", "Its id.", IDENTIFIER, where="path", required=True),
    Parameter("before", "Show the pings before this number.", integer(1, installations.LAST_NUMBER)),
)

_PINGS = 90
_CHANGES = 100
_FEATURES = 25

CARDS = (
    ("License", "license", ("status", "source", "source_detail", "edition", "key_hint", "expires_at")),
    ("Service", "service", ("version", "build", "environment")),
    ("Place", "place", ("country", "region", "city", "organisation", "asn", "hosting")),
    ("Operating system", "os", ("name", "version", "type", "kernel")),
    ("Virtualization", "virtualization", ("vm", "container", "cloud")),
    ("Host", "host", ("arch",)),
    ("Runtime", "runtime", ("name", "version")),
    ("Telemetry", "privacy", ("level", "notice_version")),
)


async def installation(request: web.Request) -> web.Response:
    asked = read_query(request, PARAMETERS)
    pool, installation_id = request.app[app_keys.POOL], read_path(request, "installation_id")
    known = await installations.installation(pool, installation_id)
    viewer = request[VIEWER]
    if known is None or not viewer.sees(known.row["product"]):
        raise NotFound("No installation has this id. It may have been erased, or has never sent a ping.")
    below = asked.get("before", installations.LAST_NUMBER)
    [row], forks = shown_to(viewer, [known.row]), shown_to(viewer, known.forks)
    rows = await installations.history(pool, installation_id, below=below, limit=_PINGS + 1)
    changes = shown_to(
        viewer, await installations.changes(pool, installation_id=installation_id, limit=_CHANGES)
    )
    more, interval = len(rows) > _PINGS, timedelta(seconds=known.row["ping_interval_seconds"])
    return page(
        request,
        "installation.html",
        item=installation_item(row),
        known=replace(known, row=row, forks=forks),
        hostname=row["hostname"],
        rests_on=rests_on(known.row, known.license),
        cards=CARDS,
        features=[Bar(inert(row["feature"]), int(row["uses"])) for row in known.features[:_FEATURES]],
        entries=entries(rows[:_PINGS], rows[_PINGS] if more else None, interval),
        older=path_with(request, before=str(rows[_PINGS - 1]["sequence"])) if more else None,
        newest=path_with(request, before=None) if "before" in asked else None,
        timeline=[list(group) for _, group in groupby(changes, key=itemgetter("changed_at", "sequence"))],
        attributions=attributions(request),
    )


ROUTES = (
    get(
        "/installations/{installation_id}",
        installation,
        "One installation",
        HTML,
        PARAMETERS,
        audited="installation",
        errors=(NotFound,),
        permission=Permission.INSTALLATIONS,
    ),
)
