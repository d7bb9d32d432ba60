"""/healthz: the process answers. /readyz: it can do its work."""

from typing import Literal

from aiohttp import web
from msgspec import Struct

from telemetry_server import app_keys
from telemetry_server.readiness import Check
from telemetry_server.receive.capacity import Capacity
from telemetry_server.receive.connections import CAPACITY
from telemetry_server.routing import Access, Route, get
from telemetry_server.show.responses import json_response
from telemetry_server.version import version


class Health(Struct):
    """The process answers."""

    status: Literal["ok"]
    version: str


class Readiness(Struct):
    """What this server needs for its work, and whether it has it."""

    status: Literal["ready", "degraded", "not ready"]
    version: str
    checks: list[Check]


async def healthz(_: web.Request) -> web.Response:
    return json_response(Health("ok", version()))


async def readyz(request: web.Request) -> web.Response:
    """503 if pings cannot be accepted; 200 and "degraded" if only something else is wrong.

    A load balancer removes each server that is not ready, so an alarm must not become an outage. Anyone may
    call this at any rate, so concurrent calls share one check of the database.
    """
    checks = [
        *await request.app[app_keys.DATABASE_CHECKS](),
        request.app[app_keys.KEYRING_WATCH].check(),
        _room(request.app[CAPACITY]),
        _pings(request.app[app_keys.WRITER].problem),
    ]
    ready = all(check.ok for check in checks if check.needed)
    whole = all(check.ok for check in checks)
    document = Readiness("ready" if whole else "degraded" if ready else "not ready", version(), checks)
    return json_response(document, status=200 if ready else 503)


def _room(capacity: Capacity) -> Check:
    limits = (
        f"{capacity.most_connections} connections and {capacity.most_bytes >> 20} MiB of requests at most"
    )
    if capacity.was_exceeded:
        return Check("capacity", ok=False, detail=f"{limits}; reached in the last 10 minutes", needed=False)
    return Check("capacity", ok=True, detail=limits, needed=False)


def _pings(problem: str | None) -> Check:
    """Of this process; a database that answers may still have no space for a row."""
    return Check(
        "pings", ok=not problem, detail=f"can't be written: {problem}" if problem else "can be written"
    )


ROUTES = (
    get("/healthz", healthz, "Whether the process answers", Health, access=Access.PUBLIC),
    Route(
        "GET",
        "/readyz",
        readyz,
        "Whether the server can do its work",
        Access.PUBLIC,
        answers={200: Readiness, 503: Readiness},
    ),
)
