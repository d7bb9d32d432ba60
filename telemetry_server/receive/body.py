"""The bytes of a request, within limits of size and time."""

import asyncio
import zlib
from collections.abc import AsyncIterator
from typing import NoReturn

from aiohttp import web

from telemetry_server.errors import Malformed, SlowClient, TooLarge, UnsupportedEncoding
from telemetry_server.model import Arrival, Step

LARGEST_SENT = 2**20
LARGEST_INFLATED = 8 * 2**20
BODY_SECONDS = 10


async def read_body(request: web.Request) -> bytes:
    """The body as sent. Raises TooLarge above 1 MiB and SlowClient after ten seconds."""
    length = request.content_length
    if length is not None and length > LARGEST_SENT:
        _refuse_size(LARGEST_SENT)
    if request.content.is_eof():
        return await request.read()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            return await _gather(request.content.iter_any())
    except TimeoutError:
        raise SlowClient(f"The body did not arrive within {BODY_SECONDS} seconds.") from None


def unpack() -> Step:
    """The step that inflates an upload; after its signature was checked, because inflating costs more."""

    def step(arrival: Arrival) -> None:
        arrival.body = inflate(arrival.sent, arrival.encoding)

    return step


def inflate(sent: bytes, encoding: str | None, largest: int = LARGEST_INFLATED) -> bytes:
    """The body after Content-Encoding. Raises TooLarge, Malformed or UnsupportedEncoding.

    Never makes more than the `largest` number of bytes, whatever those sent promise.
    """
    match (encoding or "identity").strip().lower():
        case "identity":
            return sent
        case "gzip":
            return _gunzip(sent, largest)
        case _:
            raise UnsupportedEncoding


async def _gather(chunks: AsyncIterator[bytes]) -> bytes:
    gathered = bytearray()
    async for chunk in chunks:
        gathered += chunk
        if len(gathered) > LARGEST_SENT:
            _refuse_size(LARGEST_SENT)
    return bytes(gathered)


def _gunzip(sent: bytes, largest: int) -> bytes:
    member = zlib.decompressobj(wbits=31)
    try:
        body = member.decompress(sent, largest)
    except zlib.error as error:
        raise Malformed(f"The body is not gzip: {error}.") from None
    if member.unconsumed_tail:
        _refuse_size(largest)
    if not member.eof or member.unused_data:
        raise Malformed("The body is not one whole gzip member.")
    return body


def _refuse_size(limit: int) -> NoReturn:
    raise TooLarge(f"The body is larger than {limit} bytes; send fewer pings in one upload.")
