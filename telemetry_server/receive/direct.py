"""Uploads that arrive whole, answered without what aiohttp puts around a request.

For each request aiohttp makes a task, a request, a stream and a response, and asks the router: of what
an upload cost the server, that was the largest part. So connections begin here. What is HTTP is still
for aiohttp's parser to say; an ordinary upload that has arrived whole is answered with one write. At
the first sign of anything else (another address, bytes that are no HTTP, a slow, large, chunked or
pipelined upload, a client or a server that wants to leave) the connection becomes aiohttp's for good,
with the bytes as they came, as if it had been aiohttp's from the start.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from email.utils import formatdate
from functools import lru_cache
from typing import TypeAlias

from aiohttp import web
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http import HttpProcessingError, HttpRequestParser, RawRequestMessage
from aiohttp.streams import StreamReader
from aiohttp.web_protocol import RequestHandler

from telemetry_server.model import Arrival
from telemetry_server.receive.pings import Accepted, Uploads
from telemetry_server.receive.signature import RECEIPT

IDLE_SECONDS = 75
PATIENCE_SECONDS = 0.1  # a head and its body often come one after the other
LARGEST_DIRECT = 64 * 1024

_BEGINNING = b"POST /v1/pings HTTP/1.1\r\n"
_END_OF_HEAD = b"\r\n\r\n"

Take: TypeAlias = Callable[[Arrival], Awaitable[Accepted | web.Response]]


@dataclass(slots=True)
class Counter:
    """Where uploads are taken: what all connections share.

    `take` answers an upload, and never raises; `make_handler` makes aiohttp's end of a connection.
    Once `leaving` is set, clients are asked to go.
    """

    uploads: Uploads
    take: Take
    make_handler: Callable[[], RequestHandler]
    leaving: asyncio.Event
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

    __slots__ = ("_came", "_counter", "_idle", "_idle_since", "_late", "_message", "_peer", "answering")

    def __init__(self, counter: Counter, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self.answering: asyncio.Task[None] | None = None
        self._counter = counter
        self._peer: str | None = None
        self._came = b""  # what came of the next request
        self._message: tuple[RawRequestMessage, StreamReader] | None = None
        self._late: asyncio.TimerHandle | None = None
        self._idle_since = loop.time()
        self._idle = loop.call_later(IDLE_SECONDS, self._close_if_idle)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._counter.connections.add(self)
        peer = transport.get_extra_info("peername")
        self._peer = peer[0] if isinstance(peer, tuple) else None

    def connection_lost(self, exc: BaseException | None) -> None:
        super().connection_lost(exc)
        self._forget()

    def data_received(self, data: bytes) -> None:
        self._came = self._came + data if self._came else data
        if self.answering is not None:
            self._pause_transport_reading()  # pipelined: what is in memory stays bounded
        elif self._may_be_an_upload() and self._parse(data):
            self._answer_if_whole()
        else:
            self._hand_over()

    def resume_reading(self, resume_parser: bool = True) -> None:
        """What aiohttp's stream asks for with each body taken from it; so little never made it pause."""

    def close(self) -> None:
        if self.transport is not None:
            self.transport.close()

    # ── what came ───────────────────────────────────────────────────────────────────────────

    def _may_be_an_upload(self) -> bool:
        begins = self._came.startswith(_BEGINNING) or _BEGINNING.startswith(self._came)
        return begins and len(self._came) <= LARGEST_DIRECT and not self._counter.leaving.is_set()

    def _parse(self, data: bytes) -> bool:
        """Whether what came so far is, or may become, one request of HTTP."""
        if self._parser is None:
            self._parser = HttpRequestParser(self, self._loop, LARGEST_DIRECT, auto_decompress=False)
        try:
            messages, _, _ = self._parser.feed_data(data)
        except HttpProcessingError:
            return False
        if messages:
            self._message, *others = messages
            return not others
        return True

    def _answer_if_whole(self) -> None:
        if self._message is None or not self._message[1].is_eof():
            if self._late is None:
                self._late = self._loop.call_later(PATIENCE_SECONDS, self._hand_over)
            return
        if self._late is not None:
            self._late.cancel()
            self._late = None
        message, payload = self._message
        body = payload.read_nowait()
        if not self._is_ordinary(message, body):
            self._hand_over()
            return
        self._came, self._message = b"", None
        arrival = self._counter.uploads.arrival(message.path, message.headers, body, self._peer)
        self.answering = self._loop.create_task(self._answer(arrival))

    def _is_ordinary(self, message: RawRequestMessage, body: bytes) -> bool:
        """Whether all that came is this upload, sent plainly, by a client that reads and stays."""
        plain = self._came.find(_END_OF_HEAD) + len(_END_OF_HEAD) + len(body) == len(self._came)
        return plain and not message.should_close and not message.upgrade and not self.writing_paused

    # ── answering ───────────────────────────────────────────────────────────────────────────

    async def _answer(self, arrival: Arrival) -> None:
        answer = await self._counter.take(arrival)
        self.answering = None
        if self.transport is None:
            return
        leaving = self._counter.leaving.is_set()
        self.transport.write(_on_the_wire(answer, leaving=leaving))
        self._idle_since = self._loop.time()
        if leaving:
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
        handler = self._counter.make_handler()
        transport.set_protocol(handler)
        handler.connection_made(transport)
        if self.writing_paused:
            handler.pause_writing()
        handler.data_received(self._came)

    def _close_if_idle(self) -> None:
        idle = 0.0 if self.answering else self._loop.time() - self._idle_since
        if idle >= IDLE_SECONDS:
            self.close()
        else:
            self._idle = self._loop.call_later(IDLE_SECONDS - idle, self._close_if_idle)

    def _forget(self) -> None:
        self._counter.connections.discard(self)
        self._parser = None  # knows this connection: a circle
        self._idle.cancel()
        if self._late is not None:
            self._late.cancel()


def _on_the_wire(answer: Accepted | web.Response, *, leaving: bool) -> bytes:
    """The whole response: head and body."""
    if isinstance(answer, Accepted):
        body = answer.body
        head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n{RECEIPT}: {answer.receipt}\r\n"
    else:
        assert isinstance(answer.body, bytes)
        body = answer.body
        lines = [f"HTTP/1.1 {answer.status} {answer.reason}"]
        lines += [f"{name}: {value}" for name, value in answer.headers.items()]
        head = "\r\n".join([*lines, ""])
    closing = "Connection: close\r\n" if leaving else ""
    rest = f"Content-Length: {len(body)}\r\nDate: {_date(int(time.time()))}\r\n{closing}\r\n"
    return f"{head}{rest}".encode() + body


@lru_cache(1)
def _date(second: int) -> str:
    return formatdate(second, usegmt=True)
