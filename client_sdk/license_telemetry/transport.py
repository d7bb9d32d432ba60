"""One POST over HTTP: TLS always verified, proxies obeyed, redirects not followed, everything bounded."""

from __future__ import annotations

import http.client
import socket
import ssl
import time
import urllib.request
from encodings import idna  # noqa: F401  getaddrinfo would import it later, when a fork may cut it
from typing import Any
from urllib.parse import urlsplit

from .answers import Answer
from .identity import Request
from .settings import Settings
from .version import __version__

TIMEOUT_SECONDS = 10.0
DEADLINE_SECONDS = 30.0
LARGEST_ANSWER = 4 * 1024 * 1024
_CHUNK = 64 * 1024


class Transport:
    """Posts to one endpoint. `talking` is true between a finished connect and the end of the answer."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.talking = False

    def post(self, request: Request) -> Answer:
        """The answer, whatever its status; an Answer with status 0 when there was none. Never raises."""
        self.talking = False
        try:
            return self._post(request)
        except Exception as error:
            reason = getattr(error, "reason", None) or error
            return Answer(0, {}, b"", str(reason) or type(reason).__name__)

    def _post(self, request: Request) -> Answer:
        url = f"{self._settings.endpoint}{request.path}"
        scheme = urlsplit(url).scheme
        if scheme not in ("http", "https"):
            raise ValueError("the endpoint is no http or https address")
        headers = {
            "Content-Type": "application/json",
            "Accept": "application/json, application/problem+json",
            "Accept-Encoding": "identity",
            "User-Agent": f"license-telemetry-python/{__version__}",
            **request.headers,
        }
        message = urllib.request.Request(url, request.body, headers, method="POST")  # noqa: S310  checked above
        with self._opener(scheme).open(message, timeout=TIMEOUT_SECONDS) as answer:
            return Answer(answer.status, {n.lower(): v for n, v in answer.headers.items()}, _body(answer))

    def _opener(self, scheme: str) -> urllib.request.OpenerDirector:
        """Only what a POST needs: no files, no FTP, no redirects, no exceptions for a status."""
        opener = urllib.request.OpenerDirector()
        opener.add_handler(urllib.request.ProxyHandler(self._proxies()))
        opener.add_handler(_Https(self, self._tls()) if scheme == "https" else _Http(self))
        opener.add_handler(_AsItIs())
        return opener

    def _proxies(self) -> Any:
        if self._settings.proxy:
            return {"http": self._settings.proxy, "https": self._settings.proxy}
        return None  # the usual variables, read anew each time

    def _tls(self) -> ssl.SSLContext:
        context = ssl.create_default_context()
        if self._settings.ca_file:
            context.load_verify_locations(self._settings.ca_file)
        return context


class _Http(urllib.request.HTTPHandler):
    def __init__(self, transport: Transport) -> None:
        super().__init__()
        self._transport = transport

    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_telling(http.client.HTTPConnection, self._transport), req)


class _Https(urllib.request.HTTPSHandler):
    def __init__(self, transport: Transport, context: ssl.SSLContext) -> None:
        super().__init__(context=context)
        self._transport = transport
        self._tls = context

    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_telling(http.client.HTTPSConnection, self._transport), req, context=self._tls)


class _AsItIs(urllib.request.HTTPErrorProcessor):
    def http_response(self, request: Any, response: Any) -> Any:  # noqa: ARG002  urllib hands both over
        return response

    https_response = http_response


def _telling(kind: Any, transport: Transport) -> Any:
    """A connection of that kind which says when it stands: a black hole never gets there."""

    class Connection(kind):  # type: ignore[misc]  # the kind is one of http.client's two
        def connect(self) -> None:
            super().connect()
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            transport.talking = True

    return Connection


def _body(answer: Any) -> bytes:
    """The whole body. Raises ValueError when it is too large or drips for too long."""
    deadline, body = time.monotonic() + DEADLINE_SECONDS, b""
    while chunk := answer.read1(_CHUNK):
        body += chunk
        if len(body) > LARGEST_ANSWER or time.monotonic() > deadline:
            raise ValueError("the answer is too large or too slow")
    return body
