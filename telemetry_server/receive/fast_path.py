"""Uploads that arrive whole, answered without what aiohttp puts around a request.

For each request aiohttp makes a task, a request, a stream and a response, and asks the router: of what
an upload cost the server, that was the largest part. So connections begin here, and an upload of the
one shape that leaves no doubt of where it ends (HTTP/1.1, plain header lines, each name once, a
Content-Length, the body whole and nothing behind it) is answered with one write. At the first sign of
anything else (another address, another way to frame or encode, bytes that are no HTTP, a slow, large or
pipelined upload, a server that wants to leave) the connection becomes aiohttp's for good, with the bytes
as they came, as if it had been aiohttp's from the start.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

from aiohttp import web
from aiohttp.base_protocol import BaseProtocol

from telemetry_server.middleware import problem
from telemetry_server.model import Arrival
from telemetry_server.receive.capacity import Capacity, Place
from telemetry_server.receive.pings import PATH, Accepted, Uploads
from telemetry_server.receive.refusal import Departure, last_lines, no_connection, no_memory, on_the_wire
from telemetry_server.receive.signature import RECEIPT

FIRST_BYTE_SECONDS = 10
IDLE_SECONDS = 75
PATIENCE_SECONDS = 0.1  # a head and its body often come one after the other
LARGEST_DIRECT = 64 * 1024
LARGEST_HEAD = 8 * 1024

_BEGINNING = f"POST {PATH} HTTP/1.1\r\n".encode()
_END_OF_HEAD = b"\r\n\r\n"
_HEAD = re.compile(
    _BEGINNING.replace(b".", rb"\.")
    + rb"([A-Za-z0-9-]+: [!-~][ -~]*(?:\r\n[A-Za-z0-9-]+: [!-~][ -~]*)*)\r\n\r\n"
)
# Say where a request ends, or what is to follow.
_FRAMES = {"transfer-encoding", "upgrade", "expect", "te", "trailer"}
_CONNECTIONS = {"keep-alive", "close"}
_MOST_DIGITS = 7
_MOST_LINES = 64

Take: TypeAlias = Callable[[Arrival], Awaitable[Accepted | web.Response]]


@dataclass(slots=True)
class Counter:
    """Where uploads are taken: what all connections share.

    `take` answers an upload, and never raises; `make_handler` makes aiohttp's end of a connection.
    Once `leaving` is set, clients are asked to go.
    """

    uploads: Uploads
    take: Take
    make_handler: Callable[[Place], asyncio.Protocol]
    leaving: asyncio.Event
    capacity: Capacity
    connections: "set[DirectConnection]" = field(default_factory=set)

    async def close(self, seconds: float) -> None:
        """Answers what came in, for so long at most, then closes the connections."""
        answering = [c.answering for c in self.connections if c.answering is not None]
        if answering:
            await asyncio.wait(answering, timeout=seconds)
        for connection in list(self.connections):
            connection.close()


class DirectConnection(BaseProtocol):
    """A connection for as long as nothing but whole uploads comes over it, one after the other."""

    __slots__ = (
        "_came",
        "_counter",
        "_half_closed",
        "_head",
        "_idle",
        "_late",
        "_peer",
        "_place",
        "_silent_since",
        "answering",
    )

    def __init__(self, counter: Counter, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self.answering: asyncio.Task[None] | None = None
        self._counter = counter
        self._peer: str | None = None
        self._came = b""  # what came of the next request
        self._head: _Head | None = None  # of the next request, once all of it came
        self._late: asyncio.TimerHandle | None = None
        self._half_closed = False
        self._silent_since: float | None = None  # since its last answer; None before the first
        self._idle = loop.call_later(FIRST_BYTE_SECONDS, self._close_if_idle)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        assert self.transport is not None
        place = self._counter.capacity.admit(self.transport)
        if place is None:
            self._idle.cancel()
            self.transport.write(on_the_wire(problem(no_connection()), closing=True))
            self.transport.close()
            return
        self._place = place
        self._counter.connections.add(self)
        peer = transport.get_extra_info("peername")
        self._peer = peer[0] if isinstance(peer, tuple) else None

    def connection_lost(self, exc: BaseException | None) -> None:
        super().connection_lost(exc)
        if self in self._counter.connections:
            self._place.leave()
            self._forget()

    def eof_received(self) -> bool:
        """Whether the connection stays open for an answer: the client sends nothing more, but may read."""
        self._half_closed = True
        return self.answering is not None

    def data_received(self, data: bytes) -> None:
        came = self._came = self._came + data if self._came else data
        if not self._place.hears(len(data)):
            self._turn_away()
        elif self.answering is not None:
            self._pause_transport_reading()  # pipelined: what is in memory stays bounded
        elif not self._may_be_an_upload():
            self._hand_over()
        elif self._head is None and came.find(_END_OF_HEAD, 0, LARGEST_HEAD) < 0 and len(came) < LARGEST_HEAD:
            self._wait_a_little()
        elif (head := self._head or _read_head(came)) is None or head.ends < len(came):
            self._hand_over()
        elif head.ends > len(came):
            self._head = head
            self._wait_a_little()
        else:
            self._take(head, came[head.body :])

    def close(self) -> None:
        if self.transport is not None:
            self.transport.close()

    # ── what came ───────────────────────────────────────────────────────────────────────────

    def _may_be_an_upload(self) -> bool:
        """Whether it begins like one, of a client that reads its answers, and the server stays."""
        begins = self._came.startswith(_BEGINNING) or _BEGINNING.startswith(self._came)
        stays = not self.writing_paused and not self._counter.leaving.is_set()
        return begins and len(self._came) <= LARGEST_DIRECT and stays

    def _wait_a_little(self) -> None:
        if self._late is None:
            self._late = self._loop.call_later(PATIENCE_SECONDS, self._hand_over)

    def _take(self, head: "_Head", body: bytes) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None
        self._came, self._head = b"", None
        self._place.works()
        arrival = self._counter.uploads.arrival(PATH, head.headers, body, self._peer)
        self.answering = self._loop.create_task(self._answer(arrival, closing=head.closes))

    # ── answering ───────────────────────────────────────────────────────────────────────────

    async def _answer(self, arrival: Arrival, *, closing: bool) -> None:
        """Once it is `closing`, what came behind the upload is no request (RFC 9112, 9.6)."""
        answer = await self._counter.take(arrival)
        self.answering = None
        if self.transport is None:
            return
        self._place.answered()
        self._place.waits()
        closing = closing or self._counter.leaving.is_set() or (self._half_closed and not self._came)
        self.transport.write(_on_the_wire(answer, closing=closing))
        self._silent_since = self._loop.time()
        if closing:
            self.transport.close()
        elif self._came:
            self._hand_over()

    # ── the end ─────────────────────────────────────────────────────────────────────────────

    def _hand_over(self) -> None:
        """From here on, aiohttp decides what becomes of the connection, and how much time it gets."""
        transport = self.transport
        if transport is None:
            return
        self._resume_transport_reading()
        self.transport = None
        self._forget()
        self._place.answered()  # the handler counts the bytes again
        handler = self._counter.make_handler(self._place)
        transport.set_protocol(handler)
        handler.connection_made(transport)
        if self.writing_paused:
            handler.pause_writing()
        handler.data_received(self._came)
        if self._half_closed and not handler.eof_received():
            transport.close()

    def _turn_away(self) -> None:
        """The budget has no room for what came."""
        transport, self.transport = self.transport, None
        self._forget()
        if transport is None:
            return
        if self.answering is not None:  # what came is behind an upload that may be committed by now
            self._place.vacate()
        else:
            Departure(transport, self._place, no_memory())

    def _close_if_idle(self) -> None:
        now = self._loop.time()
        if self.answering is not None or self._came:
            closes_at = now + IDLE_SECONDS
        elif self._silent_since is None:
            closes_at = now
        else:
            closes_at = self._silent_since + IDLE_SECONDS
        if closes_at <= now:
            self.close()
        else:
            self._idle = self._loop.call_at(closes_at, self._close_if_idle)

    def _forget(self) -> None:
        self._counter.connections.discard(self)
        self._idle.cancel()
        if self._late is not None:
            self._late.cancel()


class _Head(NamedTuple):
    """What stands before the body: headers by lower-case name, where the body is, and what comes after.

    `closes`: the client sends no other request over this connection.
    """

    headers: dict[str, str]
    body: int
    ends: int
    closes: bool


def _read_head(came: bytes) -> _Head | None:
    """None where the head is not of the one shape that needs no parser."""
    head = _HEAD.match(came, 0, LARGEST_HEAD)
    if head is None:
        return None
    lines = head[1].decode().split("\r\n")
    if len(lines) > _MOST_LINES:
        return None
    headers = {name.lower(): value.rstrip() for name, _, value in [line.partition(": ") for line in lines]}
    length, connection = headers.get("content-length", ""), headers.get("connection", "keep-alive").lower()
    plain = (
        len(headers) == len(lines)
        and "host" in headers
        and connection in _CONNECTIONS
        and _FRAMES.isdisjoint(headers)
        and length.isdigit()
        and len(length) <= _MOST_DIGITS
    )
    if not plain:
        return None
    return _Head(headers, head.end(), head.end() + int(length), connection == "close")


def _on_the_wire(answer: Accepted | web.Response, *, closing: bool) -> bytes:
    """The whole response: head and body."""
    if not isinstance(answer, Accepted):
        return on_the_wire(answer, closing=closing)
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n{RECEIPT}: {answer.receipt}\r\n"
    return f"{head}{last_lines(len(answer.body), closing=closing)}".encode() + answer.body
