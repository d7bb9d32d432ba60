"""The last answer of a connection, without a request: to bytes that are not HTTP, too slow, or too many."""

import asyncio
import time
from email.utils import formatdate
from functools import lru_cache

from aiohttp import web

from telemetry_server.errors import TelemetryError, Unavailable
from telemetry_server.logs import Severity, log_rationed
from telemetry_server.middleware import problem
from telemetry_server.receive.capacity import Place

LINGER_SECONDS = 2.0


def no_memory() -> Unavailable:
    """The refusal of a request whose bytes exceed the budget of the process."""
    log_rationed("requests refused: memory for request bodies is in use", Severity.WARNING)
    return Unavailable(
        "The server has no memory for this request; send the same again after the time in Retry-After."
    )


def no_connection() -> Unavailable:
    """The refusal of a connection beyond the limit, if no other could be closed for it."""
    log_rationed("connections refused: the limit of open connections is reached", Severity.WARNING)
    return Unavailable("The server has no room for another connection; retry after the time in Retry-After.")


def on_the_wire(answer: web.Response, *, closing: bool) -> bytes:
    """The whole response: head and body."""
    assert isinstance(answer.body, bytes)
    lines = [f"HTTP/1.1 {answer.status} {answer.reason}"]
    lines += [f"{name}: {value}" for name, value in answer.headers.items()]
    return "\r\n".join([*lines, last_lines(len(answer.body), closing=closing)]).encode() + answer.body


def last_lines(length: int, *, closing: bool) -> str:
    """The last header lines, which all answers share, and the end of the head."""
    connection = "Connection: close\r\n" if closing else ""
    return f"Content-Length: {length}\r\nDate: {_date(int(time.time()))}\r\n{connection}\r\n"


@lru_cache(1)
def _date(second: int) -> str:
    return formatdate(second, usegmt=True)


class Departure(asyncio.Protocol):
    """A connection while its last answer is sent.

    Bytes that still arrive are dropped for two seconds: closing a connection with unread bytes resets it, and
    a reset can overtake the answer.
    """

    def __init__(self, transport: asyncio.Transport, place: Place, error: TelemetryError) -> None:
        self._place = place
        place.answered()
        place.waits()
        transport.set_protocol(self)
        transport.resume_reading()
        transport.write(on_the_wire(problem(error), closing=True))
        transport.write_eof()
        self._end = asyncio.get_running_loop().call_later(LINGER_SECONDS, transport.abort)

    def connection_lost(self, _: Exception | None) -> None:
        self._end.cancel()
        self._place.leave()
