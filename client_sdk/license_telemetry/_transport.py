"""One POST over HTTP: TLS always verified, proxies used, redirects not followed, all under one deadline.

Uses the interpreter's original sockets (`_socket`), with TLS in memory: sockets replaced by gevent or
eventlet would bring a hub to our thread.
"""

from __future__ import annotations

import _socket
import http.client
import io
import ssl
import sys
import time
import urllib.request
from base64 import b64encode
from encodings import idna  # noqa: F401  getaddrinfo would import it later, when a fork may cut it
from typing import Any, Callable, Dict, Optional
from urllib.parse import SplitResult, unquote, urlsplit

from . import _process_fork
from ._answers import Answer
from ._identity import Request
from ._primitives import get_native_id, has_ended, start_new_thread
from ._settings import Settings
from ._version import __version__
from ._wakeups import Wakeup
from ._wire import PINGS_PATH

DEADLINE_SECONDS = 30.0
CONNECT_SECONDS = 10.0  # for one of a host's addresses
LARGEST_ANSWER = 256 * 1024  # with its head and framing
SHOWS_THREADS = sys.version_info >= (3, 12)  # fork() warns of threads
DROP_BYTES, MOST_DROPS = 16, 2  # an answer that comes in more and smaller pieces is read ever more slowly
MOST_BROKEN_OFF = 3  # in a row
_CHUNK = 64 * 1024
_PORTS = {"http": 80, "https": 443}


class Transport:
    """Posts to one endpoint."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def post(self, request: Request, connected: Callable[[_Wire], None] = lambda _wire: None) -> Answer:
        """The answer, with any status; an Answer with status 0 if there was none. Never raises."""
        try:
            answer = self._post(request, time.monotonic() + DEADLINE_SECONDS, connected)
            Posting.broken_off = 0
            return answer
        except Exception as error:
            return Answer(0, {}, b"", _words(error))

    def _post(self, request: Request, deadline: float, connected: Callable[[_Wire], None]) -> Answer:
        target = _address(f"{self._settings.endpoint}{request.path}", "the endpoint")
        wire = _Wire(deadline)
        connected(wire)
        try:
            path = self._connect(wire, target)
            wire.send(_head(target, path, request, wire.more_head) + request.body)
            return _answer(wire)
        finally:
            wire.close()

    def _connect(self, wire: _Wire, target: SplitResult) -> str:
        """Connects to the host, or to its proxy; returns the connection and the request target."""
        host, port = str(target.hostname), target.port or _PORTS[target.scheme]
        path = target.path + (f"?{target.query}" if target.query else "")
        proxy = self.proxy()
        if proxy is None:
            wire.connect(host, port)
        else:
            wire.connect(str(proxy.hostname), proxy.port or _PORTS.get(proxy.scheme, 80))
            if proxy.scheme == "https":
                wire.start_tls(self._tls(), str(proxy.hostname))
        authorization = _proxy_authorization(proxy)
        if target.scheme == "https":
            if proxy is not None:
                _tunnel(wire, host, port, authorization)
            wire.start_tls(self._tls(), host)
        elif proxy is not None:
            wire.more_head = authorization
            return f"http://{_host(target)}{path}"
        return path

    def proxy(self) -> Optional[SplitResult]:
        """The configured proxy, else that of the usual variables, read each time. Raises ValueError."""
        named = self._settings.proxy
        if not named:
            target = urlsplit(self._settings.endpoint or "")
            if urllib.request.proxy_bypass(target.hostname or ""):
                return None
            proxies = urllib.request.getproxies()
            named = proxies.get(target.scheme) or proxies.get("all")
        if not named:
            return None
        return _address(named if "://" in named else f"http://{named}", "the proxy")

    def _tls(self) -> ssl.SSLContext:
        context = ssl.create_default_context()
        if self._settings.ca_file:
            context.load_verify_locations(self._settings.ca_file)
        return context


class Posting:
    """One POST on a separate thread, so that the background thread continues while the network hangs.

    `done` becomes true with its `answer`, and `wakeup` is set; the thread may hang longer, in a resolver that
    does not answer, and until `ended` no other one is started.
    """

    broken_off = 0  # in a row, because of forks

    def __init__(self, transport: Transport, request: Request, wakeup: Wakeup) -> None:
        self._transport = transport
        self._request = request
        self._wakeup = wakeup
        self.answer = Answer(0, {}, b"", "no answer in time")
        self.done = self.ended = False
        self._native_id = 0
        self._wire: Optional[_Wire] = None
        if SHOWS_THREADS:
            _process_fork.add(self)
        self.deadline = time.monotonic() + DEADLINE_SECONDS + 1
        try:
            start_new_thread(self._run_apart, ())
        except RuntimeError:
            self._run()  # at the end of a process there are none: this one has nothing else to do

    def _run_apart(self) -> None:
        self._native_id = get_native_id()
        self._run()

    def _run(self) -> None:
        try:
            self.answer = self._transport.post(self._request, self._connected)
        finally:
            self._wire = None
            self.done = self.ended = True
            self._wakeup.set()

    def _connected(self, wire: _Wire) -> None:
        self._wire = wire

    importing = False

    def pause(self) -> None:
        """Breaks off for a fork, which warns of threads; the same bytes are sent again. Limited in a row."""
        wire, self._wire = self._wire, None
        if wire is not None and self._request.path == PINGS_PATH and Posting.broken_off < MOST_BROKEN_OFF:
            Posting.broken_off += 1
            wire.interrupt()

    def is_paused(self) -> bool:
        if self.ended:
            return has_ended(self._native_id)
        return self._request.path != PINGS_PATH or Posting.broken_off >= MOST_BROKEN_OFF

    def resume(self) -> None:
        """Nothing to do: the request is tried again when due."""

    def begin_anew(self) -> None:
        """Nothing to do: the child has a new background."""


class _Wire:
    """A connection in which every step ends at `deadline`, by the monotonic clock."""

    def __init__(self, deadline: float) -> None:
        self._deadline = deadline
        self._socket: Any = None
        self._layers: list[_Tls] = []
        self._interrupted = Wakeup()
        self.more_head = b""

    def connect(self, host: str, port: int) -> None:
        """Tries all addresses of the host. Raises OSError."""
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
        """Pauses before the next read."""
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
        """Runs one step of the session, with its input and output."""
        while True:
            try:
                done = step(*arguments)
            except ssl.SSLWantReadError:
                self._flush()
                received = self._below.receive(_CHUNK)
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


class _Received(io.RawIOBase):
    """The file from which http.client reads an answer."""

    def __init__(self, wire: _Wire) -> None:
        self._wire = wire
        self._left = LARGEST_ANSWER
        self._drops = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if self._drops > MOST_DROPS:
            self._wire.rest(4.0 ** (self._drops - MOST_DROPS))  # each piece would be a wake-up
        received = self._wire.receive(len(buffer))
        self._drops += len(received) < DROP_BYTES
        self._left -= len(received)
        if self._left < 0:
            raise ValueError("the answer is too large")
        buffer[: len(received)] = received
        return len(received)

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(self, _CHUNK)


def _answer(wire: _Wire) -> Answer:
    """Reads one answer. Raises ValueError if it is too large."""
    response = http.client.HTTPResponse(_Received(wire), method="POST")  # type: ignore[arg-type]  # it reads only
    response.begin()
    body = response.read()
    return Answer(response.status, {name.lower(): value for name, value in response.getheaders()}, body)


def _address(url: str, name: str) -> SplitResult:
    """The host and port. Raises ValueError without a quote: a part of it may be a password."""
    try:
        found = urlsplit(url)
        if found.scheme in _PORTS and found.hostname and found.port != 0:
            return found
    except ValueError:
        pass
    raise ValueError(f"{name} is no http or https address")


def _head(target: SplitResult, path: str, request: Request, more: bytes) -> bytes:
    headers: Dict[str, str] = {
        "Host": _host(target),
        "Content-Type": "application/json",
        "Content-Length": str(len(request.body)),
        "Accept": "application/json, application/problem+json",
        "Accept-Encoding": "identity",
        "User-Agent": f"license-telemetry-python/{__version__}",
        "Connection": "close",
        **request.headers,
    }
    lines = [f"POST {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items()), ""]
    return "\r\n".join(lines).encode("latin-1") + more + b"\r\n"


def _tunnel(wire: _Wire, host: str, port: int, authorization: bytes) -> None:
    """Opens a tunnel through an HTTP proxy. Raises OSError if it refuses."""
    place = f"{_bracketed(host)}:{port}".encode("ascii")
    wire.send(b"CONNECT " + place + b" HTTP/1.1\r\nHost: " + place + b"\r\n" + authorization + b"\r\n")
    head = b""
    while b"\r\n\r\n" not in head:  # byte by byte: what follows belongs to the tunnel
        received = wire.receive(1)
        if not received or len(head) > _CHUNK:
            raise OSError("the proxy broke off")
        head += received
    status = head.split(b"\r\n", 1)[0].split(b" ", 2)
    if len(status) < 2 or status[1] != b"200":  # noqa: PLR2004  OK
        raise OSError(f"the proxy said {head[:100].decode('latin-1').splitlines()[0]}")


def _proxy_authorization(proxy: Optional[SplitResult]) -> bytes:
    if proxy is None or not proxy.username:
        return b""
    who = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}"
    return b"Proxy-Authorization: Basic " + b64encode(who.encode()) + b"\r\n"


def _host(target: SplitResult) -> str:
    host = _bracketed(str(target.hostname))
    return host if target.port in (None, _PORTS[target.scheme]) else f"{host}:{target.port}"


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _words(error: Exception) -> str:
    return str(getattr(error, "reason", None) or error) or type(error).__name__
