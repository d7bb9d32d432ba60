"""Connections: the sockets we listen on, deadlines for slow clients, and a stop that resets nobody.

aiohttp closes connections that stay idle, but gives a client all the time it likes for its headers.
"""

import asyncio
import socket
from contextlib import suppress
from typing import Any

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from telemetry_server.middleware import caught_for
from telemetry_server.receive.direct import IDLE_SECONDS, Counter, DirectConnection
from telemetry_server.receive.pings import Uploads

HEADER_SECONDS = 5
LAME_DUCK_SECONDS = 0.5
DRAIN_SECONDS = 10
BACKLOG = 1024

UPLOADS = web.AppKey("uploads", Uploads)


class PatientHandler(RequestHandler):
    """aiohttp's connection, which closes when the headers of a request take longer than five seconds."""

    __slots__ = ("_too_slow",)

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._too_slow: asyncio.TimerHandle | None = None

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._current_request is None and not self._messages:  # bytes, but no whole request yet
            if self._too_slow is None and not self._force_close:
                self._too_slow = self._loop.call_later(HEADER_SECONDS, self.force_close)
        elif self._too_slow is not None:
            self._too_slow.cancel()
            self._too_slow = None

    def connection_lost(self, exc: BaseException | None) -> None:
        if self._too_slow is not None:
            self._too_slow.cancel()
        super().connection_lost(exc)


def bind(host: str, port: int, *, shared: bool = True) -> socket.socket:
    """A socket bound to the address, `shared` with other processes of this server. Raises OSError."""
    [(family, kind, protocol, _, address), *_] = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    listener = socket.socket(family, kind, protocol)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if shared:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        listener.bind(address)
    except OSError:
        listener.close()
        raise
    listener.setblocking(False)
    return listener


class Door:
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
        self._counter = Counter(uploads, caught_for(uploads.take), self._handler, leaving)

    async def open(self, listener: socket.socket) -> None:
        """Answers requests from now on."""
        await self._runner.setup()
        self._socket = listener
        loop = asyncio.get_running_loop()
        self._listening = await loop.create_server(self._connection, sock=listener, backlog=BACKLOG)

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

    def _handler(self) -> PatientHandler:
        server = self._runner.server
        assert server is not None
        return PatientHandler(
            server,
            loop=asyncio.get_running_loop(),
            access_log=None,
            auto_decompress=False,
            keepalive_timeout=IDLE_SECONDS,
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
