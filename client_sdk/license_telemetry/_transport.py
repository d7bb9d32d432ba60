"""A request over HTTP: TLS always verified, proxies used, redirects not followed, all under one deadline."""

from __future__ import annotations

import http.client
import io
import ssl
import sys
import time
import urllib.request
from base64 import b64encode
from typing import Any, Callable, Dict, Optional, Tuple
from urllib.parse import SplitResult, unquote, urlsplit

from . import _process_fork
from ._answers import Answer
from ._connection import CHUNK, Connection
from ._identity import Request
from ._primitives import get_native_id, has_ended, start_new_thread
from ._settings import Settings
from ._version import __version__
from ._wakeups import Wakeup
from ._wire import PINGS_PATH

DEADLINE_SECONDS = 30.0
LARGEST_ANSWER = 256 * 1024  # with its head and framing
SHOWS_THREADS = sys.version_info >= (3, 12)  # fork() warns of threads
DROP_BYTES, MOST_DROPS = 16, 2  # an answer that comes in more and smaller pieces is read ever more slowly
MOST_BROKEN_OFF = 3  # in a row
_PORTS = {"http": 80, "https": 443}


class Transport:
    """Posts to one endpoint, one request at a time. Its connection is kept behind a request with `more`."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._kept: Optional[Connection] = None

    def post(self, request: Request, connected: Callable[[Connection], None] = lambda _wire: None) -> Answer:
        """The answer, with any status; an Answer with status 0 if there was none. Never raises."""
        try:
            answer = self._post(request, time.monotonic() + DEADLINE_SECONDS, connected)
            Posting.broken_off = 0
            return answer
        except Exception as error:
            return Answer(0, {}, b"", _words(error))

    def _post(self, request: Request, deadline: float, connected: Callable[[Connection], None]) -> Answer:
        target = _address(f"{self._settings.endpoint}{request.path}", "the endpoint")
        wire, self._kept = self._kept, None
        if wire is None or not wire.goes_on(deadline):
            wire = Connection(deadline)
        connected(wire)
        may_keep = False
        try:
            if not wire.is_connected:
                self._connect(wire, target)
            wire.send(_head(target, request, wire) + request.body)
            answer, may_keep = _answer(wire)
        finally:
            if may_keep and request.more:
                self._kept = wire
            else:
                wire.close()
        return answer

    def hang_up(self) -> None:
        """Close the connection that was kept: no request follows now."""
        wire, self._kept = self._kept, None
        if wire is not None:
            wire.close()

    def _connect(self, wire: Connection, target: SplitResult) -> None:
        """Connects to the host, or to its proxy."""
        host, port = str(target.hostname), target.port or _PORTS[target.scheme]
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
            wire.more_head, wire.origin = authorization, f"http://{_host(target)}"

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
        self.transport = transport
        self._request = request
        self._wakeup = wakeup
        self.answer = Answer(0, {}, b"", "no answer in time")
        self.done = self.ended = False
        self._native_id = 0
        self._wire: Optional[Connection] = None
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
            self.answer = self.transport.post(self._request, self._connected)
        finally:
            self._wire = None
            self.done = self.ended = True
            self._wakeup.set()

    def _connected(self, wire: Connection) -> None:
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


class _Received(io.RawIOBase):
    """The file from which http.client reads an answer."""

    def __init__(self, wire: Connection) -> None:
        self._wire = wire
        self._left = LARGEST_ANSWER
        self._drops = 0
        self.has_ended = False
        self.has_rest = False  # behind the answer

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if self.has_ended:
            return 0
        if self._drops > MOST_DROPS:
            self._wire.rest(4.0 ** (self._drops - MOST_DROPS))  # each piece would be a wake-up
        received = self._wire.receive(len(buffer))
        self._drops += len(received) < DROP_BYTES
        self._left -= len(received)
        if self._left < 0:
            raise OSError("the answer is too large")  # a ValueError is what http.client takes for a bad chunk
        buffer[: len(received)] = received
        return len(received)

    def makefile(self, _mode: str) -> io.BufferedReader:
        return _Reader(self, CHUNK)


class _Reader(io.BufferedReader):
    """Notes, when the answer ends, whether more came."""

    raw: _Received

    def close(self) -> None:
        if not self.closed and not self.raw.has_ended:
            self.raw.has_ended = True
            self.raw.has_rest = bool(self.peek())
        super().close()


def _answer(wire: Connection) -> Tuple[Answer, bool]:
    """Reads one answer; returns it, and whether another may follow. Raises OSError if it is too large."""
    received = _Received(wire)
    response = http.client.HTTPResponse(received, method="POST")  # type: ignore[arg-type]  # it reads only
    response.begin()
    body = response.read()
    answer = Answer(response.status, {name.lower(): value for name, value in response.getheaders()}, body)
    return answer, received.has_ended and not received.has_rest and not response.will_close


def _address(url: str, name: str) -> SplitResult:
    """The host and port. Raises ValueError without a quote: a part of it may be a password."""
    try:
        found = urlsplit(url)
        if found.scheme in _PORTS and found.hostname and found.port != 0:
            return found
    except ValueError:
        pass
    raise ValueError(f"{name} is no http or https address")


def _head(target: SplitResult, request: Request, wire: Connection) -> bytes:
    headers: Dict[str, str] = {
        "Host": _host(target),
        "Content-Type": "application/json",
        "Content-Length": str(len(request.body)),
        "Accept": "application/json, application/problem+json",
        "Accept-Encoding": "identity",
        "User-Agent": f"license-telemetry-python/{__version__}",
        "Connection": "keep-alive" if request.more else "close",
        **request.headers,
    }
    path = wire.origin + target.path + (f"?{target.query}" if target.query else "")
    lines = [
        f"{request.method} {path} HTTP/1.1",
        *(f"{name}: {value}" for name, value in headers.items()),
        "",
    ]
    return "\r\n".join(lines).encode("latin-1") + wire.more_head + b"\r\n"


def _tunnel(wire: Connection, host: str, port: int, authorization: bytes) -> None:
    """Opens a tunnel through an HTTP proxy. Raises OSError if it refuses."""
    place = f"{_bracketed(host)}:{port}".encode("ascii")
    wire.send(b"CONNECT " + place + b" HTTP/1.1\r\nHost: " + place + b"\r\n" + authorization + b"\r\n")
    head = b""
    while b"\r\n\r\n" not in head:  # byte by byte: what follows belongs to the tunnel
        received = wire.receive(1)
        if not received or len(head) > CHUNK:
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
