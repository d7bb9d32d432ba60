"""Responses that are not pages."""

from typing import Any
from urllib.parse import urlencode

import msgspec
from aiohttp import web

_encode = msgspec.json.Encoder().encode


def json_response(
    document: Any, *, status: int = 200, cache: str = "no-store", media_type: str = "application/json"
) -> web.Response:
    """`document`, usually a struct, as JSON; times in UTC end in Z."""
    headers = {"Content-Type": media_type, "Cache-Control": cache}
    return web.Response(body=_encode(document), status=status, headers=headers)


def see_other(path: str) -> web.Response:
    """A redirect that browsers follow with GET."""
    return web.Response(status=303, headers={"Location": path, "Cache-Control": "no-store"})


def without_empty(request: web.Request) -> web.Response | None:
    """A redirect to this path without empty parameters: a form sends all its fields. None: it has none."""
    empty = [name for name, value in request.query.items() if not value.strip()]
    return see_other(path_with(request, **dict.fromkeys(empty))) if empty else None


def path_with(request: web.Request, **changes: str | None) -> str:
    """This request's path and query with `changes`; None removes a parameter."""
    query = [(name, value) for name, value in request.query.items() if name not in changes]
    query += [(name, value) for name, value in changes.items() if value is not None]
    return f"{request.path}?{urlencode(query)}" if query else request.path
