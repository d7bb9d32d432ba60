"""Downloads from other servers: HTTPS only, also after redirects; errors with advice."""

from http.client import HTTPMessage, HTTPResponse
from typing import IO
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

import click

TIMEOUT_SECONDS = 30
GONE = (404, 410)


class NotPublished(click.ClickException):
    """There is no file at this URL."""


def open_url(url: str, *, plain_loopback: bool = False) -> HTTPResponse:
    """The answer to GET `url`; `plain_loopback` also allows http://127.0.0.1.

    Raises NotPublished for 404 and 410, another ClickException for an unsafe URL or another status, and
    OSError or http.client.HTTPException if the connection fails.
    """
    redirects = _SafeRedirects(plain_loopback)
    refuse_unsafe(url, plain_loopback)
    request = Request(url, headers={"User-Agent": "license-telemetry-server"})  # noqa: S310 - just checked
    try:
        answer: HTTPResponse = build_opener(redirects).open(request, timeout=TIMEOUT_SECONDS)
    except HTTPError as refusal:
        refusal.close()
        error = NotPublished if refusal.code in GONE else click.ClickException
        raise error(f"{shown(url)} answers {refusal.code} {refusal.reason}.") from refusal
    return answer


def shown(url: str) -> str:
    """The URL without parts that may be secret."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname}{parts.path}"


def refuse_unsafe(url: str, plain_loopback: bool) -> None:
    """Raises ClickException unless `url` is safe to fetch."""
    parts = urlsplit(url)
    if "@" in parts.netloc:
        raise click.ClickException(
            f"{shown(url)}: a URL with a password isn't supported. Let the maker's own updater download "
            "the file, and install that."
        )
    if parts.scheme == "http" and parts.hostname == "127.0.0.1" and plain_loopback:
        return
    if parts.scheme != "https":
        raise click.ClickException(f"{shown(url)} is not an https:// address; nothing was fetched from it.")


class _SafeRedirects(HTTPRedirectHandler):
    def __init__(self, plain_loopback: bool) -> None:
        self.plain_loopback = plain_loopback

    def redirect_request(  # noqa: PLR0917 - the signature of urllib
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> Request | None:
        refuse_unsafe(newurl, self.plain_loopback)
        return super().redirect_request(req, fp, code, msg, headers, newurl)
