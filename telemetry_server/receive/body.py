"""The body of a request, within limits of size and time."""

import asyncio
import zlib
from collections.abc import Iterator
from typing import Any, NoReturn

import orjson
from aiohttp import web

from telemetry_server.errors import BadRequest, Malformed, SlowClient, TooLarge, UnsupportedEncoding
from telemetry_server.model import Arrival, Slices, Step
from telemetry_server.receive.capacity import BODY_SECONDS

LARGEST_SENT = 2**20
LARGEST_INFLATED = 8 * 2**20
_PART = 64 * 1024


async def read_body(request: web.Request, largest: int = LARGEST_SENT) -> bytes:
    """The body as sent.

    Raises TooLarge above `largest`, SlowClient after ten seconds, and BadRequest if it breaks off.
    """
    length = request.content_length
    if length is not None and length > largest:
        _refuse_size(largest)
    if request.content.is_eof() and largest <= LARGEST_SENT:
        return await request.read()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            gathered = bytearray()
            async for chunk in request.content.iter_any():
                gathered += chunk
                if len(gathered) > largest:
                    _refuse_size(largest)
            return bytes(gathered)
    except TimeoutError:
        raise SlowClient(f"The body did not arrive within {BODY_SECONDS} seconds.") from None
    except (web.RequestPayloadError, ConnectionError):
        raise BadRequest("The body broke off, or its chunks are damaged.") from None


def parse_json(body: bytes) -> Any:
    """The JSON value in a body. Raises Malformed."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Malformed(f"The body is not valid JSON in UTF-8: {error}") from None


def unpack() -> Step:
    """The step that inflates an upload, after the check of its signature, which costs less."""

    def step(arrival: Arrival) -> Slices | None:
        parts = _parts(arrival.sent, arrival.encoding, LARGEST_INFLATED)
        arrival.body = next(parts, b"")
        second = next(parts, None)
        return None if second is None else _join(arrival, second, parts)

    return step


def inflate(sent: bytes, encoding: str | None, largest: int = LARGEST_INFLATED) -> bytes:
    """The body without its Content-Encoding. Raises TooLarge, Malformed or UnsupportedEncoding.

    Never inflates more than `largest` bytes.
    """
    return b"".join(_parts(sent, encoding, largest))


def _join(arrival: Arrival, second: bytes, others: Iterator[bytes]) -> Slices:
    parts = [arrival.body, second]
    try:
        for part in others:
            yield
            parts.append(part)
    finally:
        arrival.body = b"".join(parts)  # also of one that is refused: what it took is charged for


def _parts(sent: bytes, encoding: str | None, largest: int) -> Iterator[bytes]:
    """The body in parts; each is inflated on demand, in less than a millisecond."""
    match (encoding or "identity").strip().lower():
        case "identity":
            return iter((sent,))
        case "gzip" | "x-gzip":
            return _gunzip(sent, largest)
        case _:
            raise UnsupportedEncoding


def _gunzip(sent: bytes, largest: int) -> Iterator[bytes]:
    member = zlib.decompressobj(wbits=31)
    rest, inflated = sent, 0
    while not member.eof:
        try:
            part = member.decompress(rest, min(_PART, largest - inflated + 1))
        except zlib.error as error:
            raise Malformed(f"The body is not gzip: {error}.") from None
        if not part:
            break
        rest, inflated = member.unconsumed_tail, inflated + len(part)
        if inflated > largest:
            _refuse_size(largest)
        yield part
    if not member.eof or member.unused_data:
        raise Malformed("The body is not one whole gzip member.")


def _refuse_size(limit: int) -> NoReturn:
    raise TooLarge(f"The body is larger than {limit} bytes; send fewer pings in one upload.")
