"""The answers that are not pages."""

from typing import Any
from urllib.parse import urlencode
from uuid import UUID

import orjson
from aiohttp import web


def json_response(
    document: Any, *, status: int = 200, cache: str = "no-store", media_type: str = "application/json"
) -> web.Response:
    """`document` as JSON; moments in UTC end in Z."""
    body = orjson.dumps(document, option=orjson.OPT_UTC_Z, default=_plain)
    return web.Response(
        body=body, status=status, headers={"Content-Type": media_type, "Cache-Control": cache}
    )


def _plain(value: object) -> str:
    """The driver's UUIDs are a class of its own."""
    if isinstance(value, UUID):
        return str(value)
    raise TypeError


def see_other(path: str) -> web.Response:
    """Sends a browser on, by GET."""
    return web.Response(status=303, headers={"Location": path, "Cache-Control": "no-store"})


def path_with(request: web.Request, **changes: str | None) -> str:
    """This request's path and query with `changes`; None takes a parameter out."""
    query = [(name, value) for name, value in request.query.items() if name not in changes]
    query += [(name, value) for name, value in changes.items() if value is not None]
    return f"{request.path}?{urlencode(query)}" if query else request.path
