"""Connections: the sockets we listen on, deadlines for slow clients, and a stop that resets no connection.

aiohttp closes connections that stay idle, but gives a client all the time it likes for its headers.
"""

import asyncio
import socket
from contextlib import suppress
from itertools import islice
from typing import Any

from aiohttp import StreamReader, web
from aiohttp.http_exceptions import BadHttpMethod, LineTooLong
from aiohttp.web_protocol import RequestHandler

from telemetry_server.errors import BadRequest, SlowClient, TelemetryError
from telemetry_server.logs import Severity, describe, log_rationed
from telemetry_server.middleware import caught_for, problem, translate
from telemetry_server.receive.body import LARGEST_SENT
from telemetry_server.receive.capacity import Capacity, Place
from telemetry_server.receive.fast_path import IDLE_SECONDS, LARGEST_DIRECT, Counter, DirectConnection
from telemetry_server.receive.pings import Uploads
from telemetry_server.receive.refusal import Departure, no_memory

HEADER_SECONDS = 5
UNTAKEN_SECONDS = 45
UNSENT_BYTES = 128 * 1024
PIPELINED_BYTES = 512 * 1024  # what aiohttp keeps at most of the requests behind the one it answers
LAME_DUCK_SECONDS = 0.5
DRAIN_SECONDS = 10
BACKLOG = 1024
ACCEPTED_AT_ONCE = 64

UPLOADS = web.AppKey("uploads", Uploads)
CAPACITY = web.AppKey("capacity", Capacity)

_ANSWERED = web.Response()  # stands for an answer that was written without aiohttp


class PatientHandler(RequestHandler):
    """aiohttp's connection, with deadlines and limits.

    It closes when the head of a request takes longer than five seconds, counts what came against the
    budget, and answers what is no HTTP with a problem document and a rationed line in the log. A client that
    closed its half of the connection after a whole request gets its answer.
    """

    __slots__ = ("_answered", "_ignored_body", "_place", "_too_slow", "half_closed")

    def __init__(self, place: Place, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.half_closed = False
        self._place = place
        self._answered = 0
        self._ignored_body: StreamReader | None = None
        self._too_slow: asyncio.TimerHandle | None = None

    # ── what came ───────────────────────────────────────────────────────────────────────────

    def data_received(self, data: bytes) -> None:
        if not self._ignores and not self._place.hears(len(data)):
            self._turn_away(no_memory())
            return
        queued = len(self._messages)
        super().data_received(data)
        if self._ignores:
            return
        if not all(self._has_room_for(message) for message, _ in islice(self._messages, queued, None)):
            self._turn_away(no_memory())
            return
        if self._whole:
            self._place.works()
        self._watch_the_head()

    @property
    def _ignores(self) -> bool:
        """Whether a body that was answered before its end is still coming; it is dropped, and not counted."""
        return self._ignored_body is not None and not self._ignored_body.is_eof()

    def _has_room_for(self, message: Any) -> bool:
        """Reserves a body of known length before it is read; one that is too large is refused unread."""
        length = message.headers.get("Content-Length", "") if hasattr(message, "headers") else ""
        return not length.isdecimal() or int(length) > LARGEST_SENT or self._place.expects(int(length))

    @property
    def _pending(self) -> int:
        """Number of requests with a whole head and no answer."""
        return self._request_count - self._answered

    @property
    def _whole(self) -> bool:
        """Whether there are pending requests, and the last one has come to the end of its body."""
        if self._messages:
            return self._messages[-1][1].is_eof()
        return self._pending > 0 and (self._current_request is None or self._current_request.content.is_eof())

    def _watch_the_head(self) -> None:
        if not self._pending and not self._close:  # bytes, but no whole request yet
            if self._too_slow is None and not self._force_close:
                self._too_slow = self._loop.call_later(HEADER_SECONDS, self._give_up_on_the_head)
        elif self._too_slow is not None:
            self._too_slow.cancel()
            self._too_slow = None

    def _give_up_on_the_head(self) -> None:
        self._turn_away(
            SlowClient(f"The head of the request did not arrive within {HEADER_SECONDS} seconds.")
        )

    def eof_received(self) -> bool:  # type: ignore[override] # aiohttp always closes
        """Whether the connection stays open for an answer."""
        self.half_closed = True
        return self._whole

    # ── what goes out ───────────────────────────────────────────────────────────────────────

    def pause_writing(self) -> None:
        super().pause_writing()
        self._place.waits()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._whole:
            self._place.works()

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Turns refusals of aiohttp's own into problem documents; afterwards the next request may come."""
        if resp is _ANSWERED:
            return resp, True
        if isinstance(resp, web.HTTPException) and resp.status >= 400:  # noqa: PLR2004  a redirect is no error
            resp = problem(translate(resp))
        try:
            return await super().finish_response(request, resp, start_time)
        finally:
            self._answered += 1
            self._ignored_body = request.content
            self._place.answered(PIPELINED_BYTES if self._pending else 0)
            if not self._pending:
                self._place.waits()
                if self.half_closed:
                    self.close()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002  the library's signature
    ) -> web.StreamResponse:
        """The answer to what aiohttp cannot read as HTTP."""
        if isinstance(exc, ConnectionError) or request.writer.output_size > 0:
            raise ConnectionResetError
        if status >= 500:  # noqa: PLR2004
            self.log_exception(exc_info=exc)
            self._turn_away(TelemetryError("The server made a mistake; it is in its log."))
            return _ANSWERED
        kind, detail = _not_http(exc)
        log_rationed("not HTTP", kind=kind)
        self._turn_away(BadRequest(detail))
        return _ANSWERED

    def log_exception(self, *_: Any, **kw: Any) -> None:
        """Without the message, which contains the client's address and what it sent."""
        log_rationed("connection failed", Severity.ERROR, **describe(kw.get("exc_info")))

    # ── the end ─────────────────────────────────────────────────────────────────────────────

    def connection_lost(self, exc: BaseException | None) -> None:
        self._place.leave()
        self._let_go(exc)

    def _let_go(self, exc: BaseException | None) -> None:
        if self._too_slow is not None:
            self._too_slow.cancel()
        super().connection_lost(exc)

    def _turn_away(self, error: TelemetryError) -> None:
        """Ends the connection, with this as its last answer unless another one has begun."""
        transport, self.transport = self.transport, None
        request, task = self._current_request, self._task_handler
        begun = self._pending > 1 or (request is not None and request.writer.output_size > 0)
        self._messages.clear()
        if task is not None and request is None:
            task.cancel()
        self._let_go(None)
        if transport is None:
            return
        if begun:
            self._place.vacate()
        else:
            Departure(transport, self._place, error)


def _not_http(exc: BaseException | None) -> tuple[str, str]:
    """The kind of what came, for the log, and what to tell the client; neither repeats what it sent."""
    if isinstance(exc, BadHttpMethod) and "HTTPS" in str(exc):
        return "TLS", "This port takes HTTP; HTTPS ends at the proxy in front of it."
    if isinstance(exc, LineTooLong):
        return "LineTooLong", "A line of the request's head is longer than 8190 bytes."
    return type(exc).__name__, "The request is not HTTP/1.1."


def bind(host: str, port: int, *, shared: bool = True) -> socket.socket:
    """A socket bound to the address, `shared` with other processes of this server. Raises OSError.

    Its connections are closed by the system when the client takes nothing for 45 seconds, and hold little of
    what the client did not take yet.
    """
    [(family, kind, protocol, _, address), *_] = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    listener = socket.socket(family, kind, protocol)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if shared:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNTAKEN_SECONDS * 1000)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES)
    try:
        listener.bind(address)
    except OSError:
        listener.close()
        raise
    listener.setblocking(False)
    return listener


class Listener:
    """An application on a listening socket. `leaving` is the event that the middleware watches.

    Uploads go by the application: what it holds under UPLOADS answers them.
    """

    def __init__(self, app: web.Application, leaving: asyncio.Event) -> None:
        self._runner = web.AppRunner(
            app, access_log=None, handle_signals=False, shutdown_timeout=DRAIN_SECONDS
        )
        self._listening: asyncio.Server | None = None
        self._socket: socket.socket | None = None
        self._leaving = leaving
        uploads = app[UPLOADS]
        self._counter = Counter(uploads, caught_for(uploads.take), self._handler, leaving, app[CAPACITY])

    async def open(self, listener: socket.socket) -> None:
        """Answers requests from now on."""
        await self._runner.setup()
        self._socket = listener
        loop = asyncio.get_running_loop()
        self._listening = await loop.create_server(self._connection, sock=listener, backlog=ACCEPTED_AT_ONCE)
        listener.listen(BACKLOG)  # asyncio accepts `backlog` connections at a time, and fails as often

    async def close(self) -> None:
        """Takes no more connections, answers what came in, then tears the application down.

        For a moment every answer carries Connection: close, so that clients leave by themselves.
        """
        self._leaving.set()
        await asyncio.sleep(LAME_DUCK_SECONDS)
        await self._take_the_last()
        await self._counter.close(DRAIN_SECONDS)
        await self._runner.cleanup()

    def _connection(self) -> DirectConnection:
        return DirectConnection(self._counter, asyncio.get_running_loop())

    def _handler(self, place: Place) -> PatientHandler:
        server = self._runner.server
        assert server is not None
        return PatientHandler(
            place,
            server,
            loop=asyncio.get_running_loop(),
            access_log=None,
            auto_decompress=False,
            keepalive_timeout=IDLE_SECONDS,
            lingering_time=HEADER_SECONDS,
            read_bufsize=LARGEST_DIRECT,
        )

    async def _take_the_last(self) -> None:
        """Connections the kernel accepted for us would be reset by closing the socket: take them first."""
        if self._listening is None or self._socket is None:
            return
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._socket.fileno())
        with suppress(BlockingIOError, OSError):
            while True:
                connection, _ = self._socket.accept()
                connection.setblocking(False)
                await loop.connect_accepted_socket(self._connection, connection)
        self._listening.close()
        await asyncio.sleep(LAME_DUCK_SECONDS)
