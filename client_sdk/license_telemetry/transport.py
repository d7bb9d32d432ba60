"""One POST over HTTP: TLS always verified, proxies obeyed, redirects not followed, everything bounded."""

from __future__ import annotations

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
    """Posts to one endpoint."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def post(self, request: Request) -> Answer:
        """The answer, whatever its status; an Answer with status 0 when there was none. Never raises."""
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
        opener.add_handler(self._handler(scheme))
        opener.add_handler(_AsItIs())
        return opener

    def _handler(self, scheme: str) -> urllib.request.BaseHandler:
        if scheme == "http":
            return urllib.request.HTTPHandler()
        return urllib.request.HTTPSHandler(context=self._tls())

    def _proxies(self) -> Any:
        if self._settings.proxy:
            return {"http": self._settings.proxy, "https": self._settings.proxy}
        return None  # the usual variables, read anew each time

    def _tls(self) -> ssl.SSLContext:
        context = ssl.create_default_context()
        if self._settings.ca_file:
            context.load_verify_locations(self._settings.ca_file)
        return context


class _AsItIs(urllib.request.HTTPErrorProcessor):
    def http_response(self, request: Any, response: Any) -> Any:  # noqa: ARG002  urllib hands both over
        return response

    https_response = http_response


def _body(answer: Any) -> bytes:
    """The whole body. Raises ValueError when it is too large or drips for too long."""
    deadline, body = time.monotonic() + DEADLINE_SECONDS, b""
    while chunk := answer.read1(_CHUNK):
        body += chunk
        if len(body) > LARGEST_ANSWER or time.monotonic() > deadline:
            raise ValueError("the answer is too large or too slow")
    return body
