"""What surrounds every handler: errors become problem documents (RFC 9457), answers get their headers."""

import asyncio
import functools
from typing import Any

import orjson
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from telemetry_server.errors import (
    Forbidden,
    MethodNotAllowed,
    NotFound,
    TelemetryError,
    TooLarge,
    Unavailable,
)
from telemetry_server.logs import Severity, log

_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
    ),
}
_BY_STATUS: dict[int, type[TelemetryError]] = {
    403: Forbidden,
    404: NotFound,
    405: MethodNotAllowed,
    413: TooLarge,
}


def surround(leaving: asyncio.Event) -> Middleware:
    """Every error is told as a problem document; what nobody foresaw is logged and told as 500.

    Once `leaving` is set, every answer asks the client to close the connection.
    """

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        response = await _answer(request, handler)
        if leaving.is_set():
            response.force_close()
        return response

    return middleware


async def _answer(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except TelemetryError as error:
        return problem(error)
    except web.HTTPException as error:
        if error.status < 400:  # noqa: PLR2004  a redirect is no error
            raise
        return problem(_translate(error), dict(error.headers))
    except Exception as error:  # noqa: BLE001  the last one to catch it
        log(
            "handler failed",
            Severity.ERROR,
            path=request.path,
            error=f"{type(error).__name__}: {error}"[:500],
        )
        return problem(TelemetryError("The server made a mistake; it is in its log."))


def for_browsers(handler: Handler) -> Handler:
    """Tells browsers, with every answer, what they may do with it."""

    @functools.wraps(handler)
    async def wrapped(request: web.Request) -> web.StreamResponse:
        response = await handler(request)
        for name, value in _HEADERS.items():
            response.headers.setdefault(name, value)
        return response

    return wrapped


def problem(error: TelemetryError, headers: dict[str, str] | None = None) -> web.Response:
    """The problem document of an error."""
    document: dict[str, Any] = {
        "type": f"urn:license-telemetry:problem:{error.code}",
        "title": type(error).__doc__,
        "status": error.status,
        "detail": error.detail,
        "code": error.code,
    }
    if error.problems:
        document["errors"] = [{"pointer": p.pointer, "detail": p.detail} for p in error.problems]
    kept = {name: value for name, value in (headers or {}).items() if name == "Allow"}
    if error.retry_after is not None:
        kept["Retry-After"] = str(error.retry_after)
    if error.status == 401:  # noqa: PLR2004
        kept["WWW-Authenticate"] = "Bearer"
    return web.Response(
        body=orjson.dumps(document),
        status=error.status,
        headers={**_HEADERS, "Content-Type": "application/problem+json", "Cache-Control": "no-store", **kept},
    )


def _translate(error: web.HTTPException) -> TelemetryError:
    kind = _BY_STATUS.get(error.status, Unavailable if error.status >= 500 else TelemetryError)  # noqa: PLR2004
    if kind is TelemetryError:
        return _with_status(error)
    return kind()


def _with_status(error: web.HTTPException) -> TelemetryError:
    unforeseen = type("UnforeseenRefusal", (TelemetryError,), {"status": error.status, "code": "bad_request"})
    refusal: TelemetryError = unforeseen(error.reason)
    return refusal
