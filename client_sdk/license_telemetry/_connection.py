"""A connection whose every step ends at one deadline, on the interpreter's own sockets (`_socket`).

TLS is done in memory: where gevent or eventlet have replaced `socket`, theirs would bring a hub to our
thread.
"""

from __future__ import annotations

import _socket
import ssl
import time
from encodings import idna  # noqa: F401  getaddrinfo would import it later, when a fork may cut it
from typing import Any

from . import _process_fork
from ._wakeups import Wakeup

CONNECT_SECONDS = 10.0  # for one of a host's addresses
CHUNK = 64 * 1024


class Connection:
    """A connection whose every step ends at `deadline`, by the monotonic clock."""

    def __init__(self, deadline: float) -> None:
        self._deadline = deadline
        self._socket: Any = None
        self._layers: list[_Tls] = []
        self._interrupted = Wakeup()
        self.more_head = b""
        self.origin = ""  # to write before the path

    @property
    def is_connected(self) -> bool:
        return self._socket is not None

    def goes_on(self, deadline: float) -> bool:
        """Whether a kept connection is still good, until `deadline`; else it is closed.

        Not if the other end closed it or sent anything more.
        """
        self._deadline = deadline
        try:
            self._socket.settimeout(0)
            self._socket.recv(1, _socket.MSG_PEEK)
        except BlockingIOError:
            return True
        except OSError:
            pass
        self.close()
        return False

    def connect(self, host: str, port: int) -> None:
        """Try all addresses of the host. Raises OSError."""
        trouble: OSError = OSError(f"{host} has no address")
        for family, kind, protocol, _, address in _socket.getaddrinfo(host, port, 0, _socket.SOCK_STREAM):
            connection = _socket.socket(family, kind, protocol)
            self._socket = connection
            _process_fork.descriptors.add(connection.fileno())
            try:
                connection.settimeout(min(self._left(), CONNECT_SECONDS))
                connection.connect(address)
            except OSError as error:
                trouble = error
                self.close()
            else:
                return
        raise trouble

    def start_tls(self, context: ssl.SSLContext, host: str) -> None:
        self._layers.append(_Tls(context, host, self._plain() if not self._layers else self._layers[-1]))

    def send(self, data: bytes) -> None:
        (self._layers[-1] if self._layers else self._plain()).send(data)

    def receive(self, most: int) -> bytes:
        """At most `most` bytes; empty at the end."""
        return (self._layers[-1] if self._layers else self._plain()).receive(most)

    def rest(self, seconds: float) -> None:
        """Before reading on."""
        self._interrupted.wait(min(seconds, self._deadline - time.monotonic()))

    def interrupt(self) -> None:
        """Ends all waits on it at once, from another thread."""
        self._deadline = 0.0
        self._interrupted.set()
        try:
            self._socket.shutdown(_socket.SHUT_RDWR)
        except (AttributeError, OSError):
            pass  # it is not connected yet, or not any more

    def close(self) -> None:
        if self._socket is not None:
            _process_fork.descriptors.discard(self._socket.fileno())
            self._socket.close()
            self._socket = None

    def _plain(self) -> _Plain:
        return _Plain(self._socket, self._left)

    def _left(self) -> float:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("no answer in time")
        return left


class _Plain:
    def __init__(self, connection: Any, left: Any) -> None:
        self._socket = connection
        self._left = left

    def send(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            self._socket.settimeout(self._left())
            view = view[self._socket.send(view) :]

    def receive(self, most: int) -> bytes:
        self._socket.settimeout(self._left())
        return bytes(self._socket.recv(most))


class _Tls:
    """TLS over another layer."""

    def __init__(self, context: ssl.SSLContext, host: str, below: Any) -> None:
        self._below = below
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._session = context.wrap_bio(self._incoming, self._outgoing, server_hostname=host)
        self._do(self._session.do_handshake)

    def send(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[self._do(self._session.write, view) :]

    def receive(self, most: int) -> bytes:
        try:
            return bytes(self._do(self._session.read, most))
        except ssl.SSLZeroReturnError:
            return b""

    def _do(self, step: Any, *arguments: Any) -> Any:
        """One step of the session, with what it wants to send and to receive."""
        while True:
            try:
                done = step(*arguments)
            except ssl.SSLWantReadError:
                self._flush()
                received = self._below.receive(CHUNK)
                if received:
                    self._incoming.write(received)
                else:
                    self._incoming.write_eof()
            else:
                self._flush()
                return done

    def _flush(self) -> None:
        if self._outgoing.pending:
            self._below.send(self._outgoing.read())
