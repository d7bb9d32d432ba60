"""POST /v1/pings: an upload runs through the steps of the pipeline, is committed, and is answered."""

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, TypeAlias
from uuid import UUID

import msgspec
from aiohttp import web
from msgspec import UNSET, Meta, UnsetType

from telemetry_server.errors import BadRequest, Gone, TooManyRequests, Unavailable
from telemetry_server.middleware import problem
from telemetry_server.model import (
    Arrival,
    Moment,
    NonNegative,
    NumberRanges,
    Ping,
    Reason,
    RefusedPing,
    SignedUpload,
    Slices,
    Status,
    Step,
    Written,
)
from telemetry_server.receive.address import client_address
from telemetry_server.receive.body import read_body
from telemetry_server.receive.notice import NoticeText
from telemetry_server.receive.signature import RECEIPT, SIGNATURE, SignedRequest, receipt
from telemetry_server.receive.slow_lane import SlowLane, Work
from telemetry_server.setting_types import Network

PATH = "/v1/pings"

Write: TypeAlias = Callable[[SignedUpload, int], Awaitable[Written]]
NewsFor: TypeAlias = Callable[[str | None], tuple[NoticeText, ...]]


class Accepted(msgspec.Struct, frozen=True, gc=False):
    """The answer to an upload: its JSON, and the receipt for the header."""

    body: bytes
    receipt: str


class PingResult(msgspec.Struct, gc=False):
    """The outcome of one ping."""

    ping_id: Annotated[Any, Meta(extra_json_schema={"type": ["string", "null"]})]  # of a refused one, as sent
    sequence: int | None
    status: Status
    code: Annotated[Reason, Meta(description="Why a ping was rejected.")] | UnsetType = UNSET
    detail: str | UnsetType = UNSET


class UploadAnswer(msgspec.Struct, gc=False):
    """The answer to an upload."""

    upload_id: UUID | None
    results: Annotated[list[PingResult], Meta(description="In the order sent.")]
    missing: Annotated[NumberRanges, Meta(description="Not received; send again what is still there.")]
    next_ping_seconds: NonNegative
    notices: Annotated[
        tuple[NoticeText, ...],
        Meta(description="The notice in force, if the newest ping was collected under another one, or none."),
    ]
    server_time: Moment


_encode = msgspec.json.Encoder().encode


class Uploads:
    """The handler of uploads: runs the `steps` in order, the last of which commit and count, and answers.

    The steps from one that returns slices to the next that waits run in one turn of the `slow_lane`.
    `news_for` gives the notice in force to a copy that was shown another one.
    """

    def __init__(
        self,
        *,
        steps: Sequence[Step],
        slow_lane: SlowLane,
        news_for: NewsFor = lambda _: (),
        trusted_proxies: tuple[Network, ...] = (),
    ) -> None:
        self._steps = tuple(steps)
        self._slow_lane = slow_lane
        self._news_for = news_for
        self._trusted_proxies = trusted_proxies

    async def post(self, request: web.Request) -> web.Response:
        sent = await read_body(request)
        headers = {name.lower(): ", ".join(request.headers.getall(name)) for name in request.headers}
        return await self._response(self.arrival(request.path, headers, sent, request.remote))

    async def take_carried(self, carried: SignedRequest) -> web.Response:
        """Answers an upload that came in a bundle. Its address is unknown, and so is its place."""
        return await self._response(self.arrival(carried.path, carried.headers, carried.sent, None))

    async def _response(self, arrival: Arrival) -> web.Response:
        answer = await self.take(arrival)
        if isinstance(answer, web.Response):
            return answer
        return web.Response(
            body=answer.body, headers={"Content-Type": "application/json", RECEIPT: answer.receipt}
        )

    def arrival(self, path: str, headers: Mapping[str, str], sent: bytes, peer: str | None) -> Arrival:
        """The upload before the first step; `peer` is the address, headers are by lower-case name."""
        forwarded = headers.get("x-forwarded-for")
        return Arrival(
            path,
            headers.get(SIGNATURE, ""),
            sent,
            headers.get("content-encoding"),
            client_address(peer, (forwarded,) if forwarded else (), self._trusted_proxies),
            datetime.now(UTC),
        )

    async def take(self, arrival: Arrival) -> Accepted | web.Response:
        """Runs the steps and returns the answer; a refusal of a signed upload has a receipt too.

        Raises TelemetryError for an upload that is not signed.
        """
        try:
            steps = iter(self._steps)
            for step in steps:
                rest = step(arrival)  # None, for nearly every step of nearly every upload
                if rest is not None and not isinstance(rest, Awaitable):
                    rest = await self._slow_lane.run(arrival, _slowly(arrival, rest, steps))
                if rest is not None:
                    await rest
        except (BadRequest, Gone, TooManyRequests, Unavailable) as error:
            if arrival.sender is None:
                raise
            answer = problem(error)
            assert isinstance(answer.body, bytes)
            # The client may act upon it: it came from here, and is about these bytes.
            answer.headers[RECEIPT] = receipt(arrival.sender.secret, arrival.sent, answer.body)
            return answer
        return self._answer(arrival)

    def _answer(self, arrival: Arrival) -> Accepted:
        sender = arrival.known_sender
        newest = next((item for item in reversed(arrival.items) if isinstance(item, Ping)), None)
        answer = _encode(
            UploadAnswer(
                arrival.upload_id,
                _results(arrival.items, arrival.written),
                arrival.written.missing,
                sender.product.ping_interval_seconds,
                () if newest is None else self._news_for(newest.notice_version),
                arrival.received_at,
            )
        )
        return Accepted(answer, receipt(sender.secret, arrival.sent, answer))


def _slowly(arrival: Arrival, slices: Slices, steps: Iterator[Step]) -> Work:
    """The slices and the following steps, up to the first that waits."""
    yield from slices
    for step in steps:
        rest = step(arrival)
        if isinstance(rest, Awaitable):
            yield rest
        elif rest is not None:
            yield from rest


def commit(write: Write, *, keep_address: bool = True) -> Step:
    """The step that commits the pings that passed; `write` returns their outcomes.

    Raises Gone for an installation that was erased.
    """

    async def step(arrival: Arrival) -> None:
        # Each number once: a plain repetition within the upload is left out.
        pings = {item.sequence: item for item in arrival.items if isinstance(item, Ping)}
        if pings:
            upload = SignedUpload(
                arrival.known_sender.installation_id,
                arrival.known_sender.product.id,
                arrival.received_at,
                arrival.address if keep_address else None,
                arrival.place,
                list(pings.values()),
            )
            arrival.written = await write(upload, len(arrival.body))
            if arrival.written.erased:
                raise Gone

    return step


def _results(items: Sequence[Ping | RefusedPing], written: Written) -> list[PingResult]:
    results: list[PingResult] = []
    answered: set[int] = set()
    for item in items:
        if isinstance(item, RefusedPing):
            results.append(PingResult(item.ping_id, item.sequence, Status.REJECTED, item.reason, item.detail))
            continue
        status = written.others.get(item.sequence, Status.ACCEPTED)
        if status is Status.ACCEPTED and item.sequence in answered:
            status = Status.DUPLICATE
        answered.add(item.sequence)
        results.append(PingResult(item.ping_id, item.sequence, status))
    return results
