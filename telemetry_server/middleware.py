"""What surrounds every handler: errors become problem documents (RFC 9457), answers get their headers."""

import asyncio
import functools
import random
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Protocol, TypeVar

from aiohttp import ClientConnectionResetError, hdrs, web
from aiohttp.typedefs import Handler
from msgspec import UNSET, Struct, UnsetType, json

from telemetry_server.errors import (
    BadRequest,
    FieldProblem,
    Forbidden,
    MethodNotAllowed,
    NotFound,
    OperatorError,
    OutOfFiles,
    TelemetryError,
    TooLarge,
    Unavailable,
    UnknownExpectation,
)
from telemetry_server.logs import Severity, log, log_rationed
from telemetry_server.routing import plain_path

COME_BACK_SECONDS = (5, 60)  # a fleet must not come back at once

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
    417: UnknownExpectation,
}


class HasPath(Protocol):
    """A request of aiohttp's, or an upload that came without one."""

    @property
    def path(self) -> str: ...


class Problem(Struct):
    """What went wrong (RFC 9457). Tell cases apart by code."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    errors: tuple[FieldProblem, ...] | UnsetType = UNSET


Asked = TypeVar("Asked", bound=HasPath)
Answer = TypeVar("Answer")


def told(handler: Handler, leaving: asyncio.Event) -> Handler:
    """Every error is told; once `leaving` is set, every answer asks the client to close the connection."""
    caught = caught_for(handler)

    async def wrapped(request: web.Request) -> web.StreamResponse:
        response = await caught(request)
        if leaving.is_set():
            response.force_close()
        return response

    return wrapped


def caught_for(
    handler: Callable[[Asked], Awaitable[Answer]],
) -> Callable[[Asked], Awaitable[Answer | web.Response]]:
    """Every error is told as a problem document; what nobody foresaw is logged and told as 500."""

    async def wrapped(asked: Asked) -> Answer | web.Response:
        try:
            return await handler(asked)
        except Exception as error:  # noqa: BLE001  the last one to catch it
            return _tell(error, asked.path)

    return wrapped


def _tell(error: Exception, path: str) -> web.Response:
    if isinstance(error, OutOfFiles):
        log_rationed("no file left to open", Severity.ERROR, advice=error.detail)
    if isinstance(error, TelemetryError) and (error.status < 500 or not isinstance(error, OperatorError)):  # noqa: PLR2004
        return problem(error)
    if isinstance(error, web.HTTPException):
        if error.status < 400:  # noqa: PLR2004  a redirect is no error
            raise error
        return problem(translate(error))
    if isinstance(error, ClientConnectionResetError):
        return problem(BadRequest("The client left before its answer."))
    log("handler failed", Severity.ERROR, path=path, error=f"{type(error).__name__}: {error}"[:500])
    return problem(TelemetryError("The server made a mistake; it is in its log."))


def no_such_address(handlers: Mapping[str, Mapping[str, Handler]]) -> Handler:
    """For every path that no route takes; `handlers` by path and method.

    An address with a slash too many finds its route: installed software cannot be corrected, and a client
    that signs what it posts follows no redirect. Who only reads is sent to the right address.
    """

    async def handler(request: web.Request) -> web.StreamResponse:
        path = plain_path(request.path)
        if path == request.path or path not in handlers:
            raise NotFound
        if request.method not in handlers[path]:
            return await no_such_method(handlers[path])(request)
        if request.method in {"GET", "HEAD"}:
            query = request.rel_url.raw_query_string
            return web.Response(status=308, headers={"Location": f"{path}?{query}" if query else path})
        return await handlers[path][request.method](request)

    return handler


async def drop_server_header(_: web.Request, response: web.StreamResponse) -> None:
    """Takes out what aiohttp puts there: its version and Python's."""
    response.headers.popall(hdrs.SERVER, None)


def no_such_method(allowed: Collection[str]) -> Handler:
    """For the other methods of a path that has routes."""

    async def handler(_: web.Request) -> web.StreamResponse:
        response = problem(MethodNotAllowed())
        response.headers["Allow"] = ", ".join(sorted(allowed))
        return response

    return handler


def for_browsers(handler: Handler) -> Handler:
    """Tells browsers, with every answer, what they may do with it."""

    @functools.wraps(handler)
    async def wrapped(request: web.Request) -> web.StreamResponse:
        response = await handler(request)
        for name, value in _HEADERS.items():
            response.headers.setdefault(name, value)
        return response

    return wrapped


def problem(error: TelemetryError) -> web.Response:
    """The problem document of an error."""
    document = Problem(
        type=f"urn:license-telemetry:problem:{error.code}",
        title=type(error).__doc__ or "",
        status=error.status,
        detail=error.detail,
        code=error.code,
        errors=error.problems or UNSET,
    )
    headers = {**_HEADERS, "Content-Type": "application/problem+json", "Cache-Control": "no-store"}
    headers |= when_to_come_back(error)
    if error.status == 401:  # noqa: PLR2004
        headers["WWW-Authenticate"] = "Bearer"
    return web.Response(body=json.encode(document), status=error.status, headers=headers)


def when_to_come_back(error: TelemetryError) -> dict[str, str]:
    """The header Retry-After, where waiting helps."""
    seconds = error.retry_after
    if seconds is None and isinstance(error, Unavailable):
        seconds = random.randint(*COME_BACK_SECONDS)  # noqa: S311  spreads clients
    return {} if seconds is None else {"Retry-After": str(seconds)}


def translate(error: web.HTTPException) -> TelemetryError:
    """The error of ours that stands for one of aiohttp's."""
    if error.status in _BY_STATUS:
        return _BY_STATUS[error.status]()
    return Unavailable() if error.status >= 500 else BadRequest(error.reason)  # noqa: PLR2004
