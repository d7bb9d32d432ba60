"""POST /webhooks/shop: a shop system reports the licenses it sold, signed as in Standard Webhooks.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md: the header
webhook-signature holds, for one of the secrets, `v1,` and the base64 of
HMAC-SHA256(secret, webhook-id "." webhook-timestamp "." body).
"""

import base64
import hmac
import re
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, TypeAlias

from aiohttp import web
from msgspec import UNSET, Meta, Struct, UnsetType

from telemetry_server.errors import NotFound, TooLarge, Unauthenticated, Unprocessable
from telemetry_server.model import STATUS_AFTER, Moment, ShopMessage
from telemetry_server.receive.body import parse_json, read_body

LARGEST_MESSAGE = 64 * 1024
TOLERANCE_SECONDS = 300  # as the specification advises: older messages are replays
_ID = re.compile(r"[\x21-\x7e]{1,256}")
_FIRST_MILLISECONDS = 10**11  # March 1973; as seconds it would be the year 5138


class SoldLicense(Struct):
    """A license, with any column of a license import."""

    product: str
    key: str


class ShopMessageBody(Struct):
    """A message of the shop."""

    type: Annotated[str, Meta(examples=sorted(STATUS_AFTER))]
    data: SoldLicense
    timestamp: Moment | UnsetType = UNSET


CarryOut: TypeAlias = Callable[[ShopMessage, datetime], Awaitable[None]]


class ShopWebhook:
    """The handler of the shop's messages; `carry_out` executes a message, once per id.

    Any of `secrets` is valid, so that they can be rotated; without secrets the route answers NotFound.
    Unknown message types are acknowledged and ignored.
    `demand_time` raises Unavailable if the clock is wrong.
    """

    def __init__(
        self,
        secrets: Sequence[bytes],
        carry_out: CarryOut,
        demand_time: Callable[[datetime], Awaitable[None]],
    ) -> None:
        self._secrets = tuple(secrets)
        self._carry_out = carry_out
        self._demand_time = demand_time

    async def post(self, request: web.Request) -> web.Response:
        if not self._secrets:
            raise NotFound("No webhook is set up here; set TELEMETRY_SHOP_WEBHOOK_SECRET.")
        body = await read_body(request)
        if len(body) > LARGEST_MESSAGE:
            raise TooLarge(f"A message may take {LARGEST_MESSAGE} bytes.")
        now = datetime.now(UTC)
        await self._demand_time(now)
        message_id = verify(self._secrets, request.headers, body, now)
        message = _message(message_id, body, now)
        if message is not None:
            await self._carry_out(message, now)
        return web.Response(status=204)


def verify(secrets: Sequence[bytes], headers: Any, body: bytes, now: datetime) -> str:
    """The id of the message, if its signature and its time are valid. Raises Unauthenticated."""
    message_id, timestamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not _ID.fullmatch(message_id) or not re.fullmatch(r"[0-9]{1,12}", timestamp, re.ASCII):
        raise Unauthenticated("Send webhook-id, webhook-timestamp and webhook-signature (Standard Webhooks).")
    if abs(now.timestamp() - int(timestamp)) > TOLERANCE_SECONDS:
        raise Unauthenticated(f"webhook-timestamp is more than {TOLERANCE_SECONDS} seconds off.")
    signed = f"{message_id}.{timestamp}.".encode() + body
    given = headers.get("webhook-signature", "").split(" ")
    good = [
        f"v1,{base64.b64encode(hmac.digest(secret, signed, 'sha256')).decode()}".encode()
        for secret in secrets
    ]
    if not any(hmac.compare_digest(one.encode("utf-8", "replace"), other) for one in given for other in good):
        raise Unauthenticated("No signature in webhook-signature is made with a secret known here.")
    return str(message_id)


def _message(message_id: str, body: bytes, now: datetime) -> ShopMessage | None:
    """The message; None for an unknown type, without further checks. Raises Malformed or Unprocessable."""
    raw = parse_json(body)
    if not isinstance(raw, dict) or not isinstance(raw.get("type"), str):
        raise Unprocessable('A message is a JSON object {"type", "timestamp", "data"}.')
    if raw["type"] not in STATUS_AFTER:
        return None
    if not isinstance(raw.get("data"), dict):
        raise Unprocessable("data must be a JSON object.")
    return ShopMessage(message_id, raw["type"], raw["data"], _happened_at(raw.get("timestamp"), now))


def _happened_at(reported: Any, now: datetime) -> datetime:
    """The time of the message, reported as ISO 8601 or as seconds or milliseconds since 1970.

    It is `now` if it is absent or in the future. Raises Unprocessable.
    """
    if reported is None:
        return now
    try:
        if isinstance(reported, int | float) and not isinstance(reported, bool):
            seconds = reported / 1000 if reported >= _FIRST_MILLISECONDS else reported
            return min(datetime.fromtimestamp(seconds, UTC), now)
        moment = datetime.fromisoformat(reported)
        return min(moment.replace(tzinfo=moment.tzinfo or UTC).astimezone(UTC), now)
    except (TypeError, ValueError, OverflowError, OSError):
        raise Unprocessable("timestamp must be a time such as 2026-11-22T10:00:00Z.") from None
