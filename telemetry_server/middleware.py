"""Wrappers of all handlers: errors become problem documents (RFC 9457), responses get their headers."""

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
    """A request of aiohttp, or an upload of the fast path, which has none."""

    @property
    def path(self) -> str: ...


class Problem(Struct):
    """An error (RFC 9457); `code` identifies its kind."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    errors: tuple[FieldProblem, ...] | UnsetType = UNSET


Asked = TypeVar("Asked", bound=HasPath)
Answer = TypeVar("Answer")


def answering(handler: Handler, leaving: asyncio.Event) -> Handler:
    """The handler with problem documents for its errors; once `leaving` is set, connections are closed."""
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
    """The handler with problem documents for its errors; an unexpected one is logged, and becomes a 500."""

    async def wrapped(asked: Asked) -> Answer | web.Response:
        try:
            return await handler(asked)
        except Exception as error:  # noqa: BLE001  the outermost handler
            return _problem_for(error, asked.path)

    return wrapped


def _problem_for(error: Exception, path: str) -> web.Response:
    if isinstance(error, OutOfFiles):
        log_rationed("no file left to open", Severity.ERROR, advice=error.detail)
    if isinstance(error, TelemetryError) and (error.status < 500 or not isinstance(error, OperatorError)):  # noqa: PLR2004
        return problem(error)
    if isinstance(error, web.HTTPException):
        if error.status < 400:  # noqa: PLR2004  a redirect is no error
            raise error
        return problem(translate(error))
    if isinstance(error, ClientConnectionResetError):
        return problem(BadRequest("The client disconnected before its answer."))
    log("handler failed", Severity.ERROR, path=path, error=f"{type(error).__name__}: {error}"[:500])
    return problem(TelemetryError("An internal error; its log has the details."))


def no_such_address(handlers: Mapping[str, Mapping[str, Handler]]) -> Handler:
    """The handler of all paths without a route; `handlers` by path and method.

    A path with superfluous slashes finds its route: installed software cannot be corrected, and a client that
    signs its requests follows no redirect. GET and HEAD are redirected.
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
    """Removes the versions of aiohttp and Python."""
    response.headers.popall(hdrs.SERVER, None)


def no_such_method(allowed: Collection[str]) -> Handler:
    """The handler of the other methods of a path that has routes."""

    async def handler(_: web.Request) -> web.StreamResponse:
        response = problem(MethodNotAllowed())
        response.headers["Allow"] = ", ".join(sorted(allowed))
        return response

    return handler


def for_browsers(handler: Handler) -> Handler:
    """The handler with the security headers for browsers on its responses."""

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
    """The TelemetryError that corresponds to an error of aiohttp."""
    if error.status in _BY_STATUS:
        return _BY_STATUS[error.status]()
    return Unavailable() if error.status >= 500 else BadRequest(error.reason)  # noqa: PLR2004
