"""Live: the pings as they arrive, and one installation that is followed with what it sends.

The page has the newest fifty; `/live/stream` sends the same rows as server-sent events, and a script puts
them on top.
"""

import asyncio
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import orjson
from aiohttp import hdrs, web

from telemetry_server import app_keys
from telemetry_server.errors import NotFound, TelemetryError
from telemetry_server.permissions import Permission
from telemetry_server.routing import HTML, Parameter, get
from telemetry_server.show.addresses import shown_to
from telemetry_server.show.filters import chosen_product
from telemetry_server.show.links import link
from telemetry_server.show.live_feed import LIVE, SHOWN, LookedAt, Newest, newest
from telemetry_server.show.query import IDENTIFIER, read_query
from telemetry_server.show.render import attributions, fragment, page
from telemetry_server.show.scope import PRODUCT, read_scope
from telemetry_server.show.serializers import ping_item
from telemetry_server.show.viewer import VIEWER
from telemetry_server.store.fleet import installations

PARAMETERS = (PRODUCT, Parameter("installation_id", "Follow this installation.", IDENTIFIER))
STREAM = "text/event-stream"

_FIRST, _EVER = timedelta(days=1), timedelta(days=3_650)  # how far back the page looks
_STALLED_SECONDS = 5  # then a browser that takes nothing is left
_STREAM_SECONDS = 300  # then the browser connects again, and shows anew that it is signed in
_SILENT_SECONDS = 15  # proxies close a connection on which nothing comes
_HEADERS = {
    "Content-Type": STREAM,
    "Cache-Control": "no-store",
    "X-Accel-Buffering": "no",  # nginx would keep events back until its buffer is full
    "X-Content-Type-Options": "nosniff",
}


async def live(request: web.Request) -> web.Response:
    asked = read_query(request, PARAMETERS)
    what, scope = await _looked_at(request, asked), await read_scope(request, asked)
    within = _FIRST if what.installation_id is None else _EVER
    found = await newest(request.app[app_keys.POOL], what, within)
    return page(
        request,
        "live.html",
        scope=scope,
        stream=link("/live/stream", **{name: str(value) for name, value in asked.items()}),
        followed=what.installation_id,
        most=SHOWN,
        attributions=attributions(request),
        **_shown(request, found),
    )


async def stream(request: web.Request) -> web.StreamResponse:
    """Sends what is new once a second at most: rows of the table, and pings of a followed installation.

    To a client that does not ask for text/event-stream: what is there, once.
    """
    asked = read_query(request, PARAMETERS)
    what = await _looked_at(request, asked)
    if STREAM not in request.headers.get(hdrs.ACCEPT, "") or request.method == hdrs.METH_HEAD:
        _, events = _events(request, await newest(request.app[app_keys.POOL], what, _FIRST), frozenset())
        return web.Response(body=events or b":\n\n", headers=_HEADERS)
    leaving, loop = request.app[app_keys.LEAVING], asyncio.get_running_loop()
    ends, silent_since, seen = loop.time() + _STREAM_SECONDS, loop.time(), frozenset[Any]()
    answer = web.StreamResponse(headers=_HEADERS)
    async with request.app[LIVE].watching(what) as look:
        await answer.prepare(request)
        with suppress(ConnectionError, TelemetryError):  # the browser connects again
            await _send(request, answer, b"retry: 5000\n\n")
            while request.transport is not None and not leaving.is_set() and loop.time() < ends:
                seen, events = _events(request, await look(), seen)
                if events or loop.time() - silent_since > _SILENT_SECONDS:
                    await _send(request, answer, events or b":\n\n")
                    silent_since = loop.time()
    return answer


async def _send(request: web.Request, answer: web.StreamResponse, events: bytes) -> None:
    """Raises ConnectionResetError when the browser is gone, or takes nothing."""
    try:
        async with asyncio.timeout(_STALLED_SECONDS):
            await answer.write(events)
    except TimeoutError:
        if request.transport is not None:
            request.transport.abort()
        raise ConnectionResetError from None


def _events(request: web.Request, found: Newest, seen: frozenset[Any]) -> tuple[frozenset[Any], bytes]:
    """What was found, for the next time, and the events of what was not `seen`."""
    rows = {row["ping_id"]: row for row in found.rows}
    sent = {(one["received_at"], one["sequence"], one["ping_id"]): one for one in found.sent}
    fresh = Newest(
        [row for key, row in rows.items() if key not in seen],
        [one for key, one in sent.items() if key not in seen],
    )
    shown, events = _shown(request, fresh), b""
    if fresh.rows:
        events += _event("pings", fragment(request, "live_rows.html", part="rows", **shown))
    if fresh.sent:
        events += _event("sent", fragment(request, "live_rows.html", part="sent", **shown))
    return frozenset({*rows, *sent}), events


def _event(name: str, text: str) -> bytes:
    """A carriage return would end a line of the stream, too."""
    lines = text.replace("\r", " ").split("\n")
    return "".join(
        [f"event: {name}\n", *(f"data: {line}\n" for line in lines if line.strip()), "\n"]
    ).encode()


def _shown(request: web.Request, found: Newest) -> dict[str, Any]:
    return {
        "rows": [ping_item(row) for row in shown_to(request[VIEWER], found.rows)],
        "sent": [_sent(one) for one in found.sent],
    }


def _sent(one: dict[str, Any]) -> dict[str, Any]:
    """A ping of a followed installation, with its fields as indented JSON."""
    text = orjson.dumps(one["kept"], option=orjson.OPT_INDENT_2).decode()
    return {**one, "received_at": datetime.fromisoformat(one["received_at"]), "text": text}


async def _looked_at(request: web.Request, asked: dict[str, Any]) -> LookedAt:
    """Raises NotFound for an installation that is unknown, or of a product the viewer may not see."""
    viewer = request[VIEWER]
    product = chosen_product(asked.get("product"), viewer.products)
    followed: UUID | None = asked.get("installation_id")
    if followed is not None:
        known = await installations.installation(request.app[app_keys.POOL], followed)
        if known is None or not viewer.sees(known.row["product"]):
            raise NotFound("No installation has this id. It is known from its first ping on.")
        return LookedAt(None, followed)
    return LookedAt(viewer.products if product is None else frozenset({product}))


ROUTES = (
    get(
        "/live",
        live,
        "The newest pings",
        HTML,
        PARAMETERS,
        permission=Permission.INSTALLATIONS,
        audited="installation",
        errors=(NotFound,),
    ),
    get(
        "/live/stream",
        stream,
        "Pings as they arrive, as server-sent events",
        STREAM,
        PARAMETERS,
        permission=Permission.INSTALLATIONS,
        audited="installation",
        errors=(NotFound,),
    ),
)
