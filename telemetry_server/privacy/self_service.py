"""What an installation does with its own data, by its secret: get it, or have it erased."""

import asyncio
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from aiohttp import web
from msgspec import UNSET, Struct, UnsetType, json

from telemetry_server.errors import (
    Malformed,
    SlowClient,
    TooLarge,
    TooManyRequests,
    Unauthenticated,
    Unavailable,
    Unprocessable,
    UnsupportedEncoding,
)
from telemetry_server.model import Author, Moment, Sender
from telemetry_server.privacy.store import erasing, requests, subject_export
from telemetry_server.privacy.store.requests import RequestKind
from telemetry_server.privacy.subjects import Subject
from telemetry_server.receive.address import client_address
from telemetry_server.receive.body import inflate, parse_json, read_body
from telemetry_server.receive.limiter import Limiter, network_of
from telemetry_server.receive.signature import (
    RECEIPT,
    LookAgain,
    SignedRequest,
    Verifier,
    receipt,
    sender_of,
)
from telemetry_server.routing import Access, Route
from telemetry_server.setting_types import Network
from telemetry_server.store.database import Pool, translated
from telemetry_server.text import written_out

LARGEST_WISH = 4 * 1024
_EXPORTS_PER_DAY = 4
_LONGEST_REASON = 1_000


class Wish(Struct):
    """Empty, or with a reason for the vendor's privacy team."""

    reason: str | UnsetType | None = UNSET


class Forgetting(Struct):
    """The erasure that was asked for; a repeated request gets the same."""

    request_id: UUID
    server_time: Moment


class OwnData(Struct):
    """The rows about the installation, by table; docs/privacy.md describes them, and which are left out."""

    installation_id: UUID
    tables: dict[str, list[dict[str, Any]]]
    server_time: Moment


class SelfService:
    """The handlers of requests that an installation signs about itself."""

    def __init__(
        self,
        *,
        verifier: Verifier,
        look_again: LookAgain,
        limiter: Limiter,
        pool: Pool,
        trusted_proxies: tuple[Network, ...] = (),
    ) -> None:
        self._verifier = verifier
        self._look_again = look_again
        self._limiter = limiter
        self._pool = pool
        self._trusted_proxies = trusted_proxies
        self._exports = Limiter(_EXPORTS_PER_DAY, 86_400)
        self._one_export = asyncio.Semaphore(1)  # its rows are in memory, and read for minutes

    async def forget(self, request: web.Request) -> web.Response:
        """Nothing of the installation is written from the answer on; what there is is deleted in a minute."""
        return await self.take(await self._asked(request))

    async def take(self, asked: SignedRequest) -> web.Response:
        """The same for a request that may have come in a bundle."""
        sender = await sender_of(asked, self._verifier, self._look_again)
        reason, now = _reason(asked), datetime.now(UTC)
        subject = Subject("installation", sender.installation_id)
        async with translated(), self._pool.acquire() as connection:
            erasure_id = await erasing.ask(
                connection, subject, by=erasing.INSTALLATION, reason=reason, now=now
            )
        return _receipted(sender, asked.sent, json.encode(Forgetting(erasure_id, now)), 202)

    async def access(self, request: web.Request) -> web.Response:
        """What is stored about the installation, but what a person reviews before."""
        asked = await self._asked(request)
        sender = await sender_of(asked, self._verifier, self._look_again)
        _reason(asked)
        self._exports.admit(sender.installation_id)
        subject, by = Subject("installation", sender.installation_id), erasing.INSTALLATION
        async with self._one_export, translated(), self._pool.acquire() as connection:
            await subject_export.record_access(connection, subject, by=by, network=self._network(request))
            tables = await subject_export.whole(connection, subject, without=subject_export.UNREVIEWED)
            author, now = Author(by), datetime.now(UTC)
            await requests.file_answered(connection, RequestKind.ACCESS, subject, by=author, now=now)
        body = json.encode(OwnData(sender.installation_id, tables, now))
        return _receipted(sender, asked.sent, body, 200)

    async def _asked(self, request: web.Request) -> SignedRequest:
        """The request. Raises TooManyRequests, and what `read_body` raises."""
        self._limiter.admit(self._network(request))
        headers = {name.lower(): value for name, value in request.headers.items()}
        return SignedRequest(request.path, headers, await read_body(request))

    def _network(self, request: web.Request) -> Any:
        forwarded = tuple(request.headers.getall("X-Forwarded-For", ()))
        return network_of(client_address(request.remote, forwarded, self._trusted_proxies))


def _receipted(sender: Sender, sent: bytes, body: bytes, status: int) -> web.Response:
    headers = {
        "Content-Type": "application/json",
        "Cache-Control": "no-store",
        RECEIPT: receipt(sender.secret, sent, body),
    }
    return web.Response(body=body, status=status, headers=headers)


def _reason(asked: SignedRequest) -> str | None:
    """The reason in the body, if any. Raises Malformed, Unprocessable, TooLarge or UnsupportedEncoding."""
    body = inflate(asked.sent, asked.headers.get("content-encoding"), LARGEST_WISH)
    raw = parse_json(body) if body.strip() else {}
    raw = {} if raw == [] else raw  # PHP's empty object
    found = raw.get("reason") if isinstance(raw, dict) else raw
    if not isinstance(raw, dict) or not isinstance(found, str | None):
        raise Unprocessable('Send {"reason": "…"}, or an empty object.')
    return written_out(found.strip())[:_LONGEST_REASON] if found else None


def routes(own: SelfService) -> tuple[Route, ...]:
    """The routes of installations; tests give an object without handlers."""
    errors = (
        *(Malformed, Unauthenticated, SlowClient, TooLarge, UnsupportedEncoding, Unprocessable),
        *(TooManyRequests, Unavailable),
    )
    about: dict[str, Any] = {"access": Access.SIGNATURE, "body": Wish, "errors": errors}
    return (
        Route("POST", "/v1/forget", own.forget, "Be erased", answers={202: Forgetting}, **about),
        Route("POST", "/v1/access", own.access, "Get all data about itself", answers={200: OwnData}, **about),
    )
