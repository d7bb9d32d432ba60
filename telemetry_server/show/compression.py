"""Answers compressed by gzip for those that accept it.

Pages hold secrets beside what was asked for: a random length hides how well these compress together (BREACH).
"""

import gzip
import io
import secrets
from string import ascii_letters

from aiohttp import hdrs, web

_MOST_PADDING = 100  # letters in the header of the gzip format, where it has the name of a file
_LEVEL = 6
_NOT_WORTH_IT = 512  # bytes


def accepts_gzip(request: web.Request) -> bool:
    """Whether the browser accepts gzip, and does not refuse it with q=0."""
    for coding in request.headers.get(hdrs.ACCEPT_ENCODING, "").lower().split(","):
        name, _, weight = coding.strip().partition(";")
        if name.strip() == "gzip":
            return weight.replace(" ", "") not in {"q=0", "q=0.0", "q=0.00", "q=0.000"}
    return False


def compressed(request: web.Request, response: web.Response) -> web.Response:
    """The response, its body compressed where it is accepted and worth it."""
    response.headers[hdrs.VARY] = hdrs.ACCEPT_ENCODING
    body = response.body
    if isinstance(body, bytes) and len(body) > _NOT_WORTH_IT and accepts_gzip(request):
        response.body = _zip(body)
        response.headers[hdrs.CONTENT_ENCODING] = "gzip"
    return response


def _zip(body: bytes) -> bytes:
    written = io.BytesIO()
    padding = "".join(secrets.choice(ascii_letters) for _ in range(secrets.randbelow(_MOST_PADDING) + 1))
    with gzip.GzipFile(padding, "wb", _LEVEL, written, mtime=0) as file:
        file.write(body)
    return written.getvalue()
