"""POST /webhooks/shop: what a shop system tells of the licenses it sold, signed as Standard Webhooks say.

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

import orjson
from aiohttp import web
from msgspec import UNSET, Meta, Struct, UnsetType

from telemetry_server.errors import Malformed, NotFound, TooLarge, Unauthenticated, Unprocessable
from telemetry_server.model import STATUS_AFTER, Moment, ShopMessage
from telemetry_server.receive.body import read_body

LARGEST_MESSAGE = 64 * 1024
TOLERANCE_SECONDS = 300  # as the specification advises: an old message is a replayed one
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
    """The handler of the shop's messages; `carry_out` does what one says, once for each id.

    Each of `secrets` is good, so that they can be changed one after the other; without any, the address
    takes nothing. A message of another type is acknowledged and ignored, whatever else is in it.
    `demand_time` raises Unavailable where the clock is wrong.
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
    """The id of the message, once its signature and its time were found good. Raises Unauthenticated."""
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
    """None for a message of another type, the rest of which is not looked at.

    Raises Malformed or Unprocessable.
    """
    try:
        raw = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Malformed(f"The body is not valid JSON in UTF-8: {error}") from None
    if not isinstance(raw, dict) or not isinstance(raw.get("type"), str):
        raise Unprocessable('A message is a JSON object {"type", "timestamp", "data"}.')
    if raw["type"] not in STATUS_AFTER:
        return None
    if not isinstance(raw.get("data"), dict):
        raise Unprocessable("data must be a JSON object.")
    return ShopMessage(message_id, raw["type"], raw["data"], _happened_at(raw.get("timestamp"), now))


def _happened_at(told: Any, now: datetime) -> datetime:
    """When it happened: a time, or seconds or milliseconds since 1970.

    Now, where there is none or one in the future. Raises Unprocessable.
    """
    if told is None:
        return now
    try:
        if isinstance(told, int | float) and not isinstance(told, bool):
            seconds = told / 1000 if told >= _FIRST_MILLISECONDS else told
            return min(datetime.fromtimestamp(seconds, UTC), now)
        moment = datetime.fromisoformat(told)
        return min(moment.replace(tzinfo=moment.tzinfo or UTC).astimezone(UTC), now)
    except (TypeError, ValueError, OverflowError, OSError):
        raise Unprocessable("timestamp must be a time such as 2026-11-22T10:00:00Z.") from None
