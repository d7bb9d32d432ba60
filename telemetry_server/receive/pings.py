"""POST /v1/pings: an upload comes in, runs through the pipeline, is committed, and is answered."""

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, TypeAlias
from uuid import UUID

import msgspec
from aiohttp import web
from msgspec import UNSET, Meta, UnsetType

from telemetry_server.errors import BadRequest, TooManyRequests, Unavailable
from telemetry_server.middleware import problem
from telemetry_server.model import (
    Arrival,
    Moment,
    NonNegative,
    NumberRanges,
    Ping,
    Reason,
    RefusedPing,
    Sender,
    SignedUpload,
    Slices,
    Status,
    Step,
    Written,
)
from telemetry_server.receive.address import client_address
from telemetry_server.receive.body import read_body
from telemetry_server.receive.signature import RECEIPT, SIGNATURE, receipt
from telemetry_server.receive.slow_lane import SlowLane, Work
from telemetry_server.setting_types import Network

PATH = "/v1/pings"

Write: TypeAlias = Callable[[SignedUpload, int], Awaitable[Written]]


class Accepted(msgspec.Struct, frozen=True, gc=False):
    """The answer to an upload: its JSON, and the receipt for the header."""

    body: bytes
    receipt: str


class PingResult(msgspec.Struct, gc=False):
    """What became of one ping."""

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
    notices: tuple[()]
    server_time: Moment


_encode = msgspec.json.Encoder().encode


class Uploads:
    """The handler of uploads: the `steps` run in order, the last ones commit and count, then it answers.

    From a step that gives back slices to the next that waits, all is done in one turn of the `slow_lane`.
    """

    def __init__(
        self, *, steps: Sequence[Step], slow_lane: SlowLane, trusted_proxies: tuple[Network, ...] = ()
    ) -> None:
        self._steps = tuple(steps)
        self._slow_lane = slow_lane
        self._trusted_proxies = trusted_proxies

    async def post(self, request: web.Request) -> web.Response:
        sent = await read_body(request)
        headers = {name.lower(): ", ".join(request.headers.getall(name)) for name in request.headers}
        arrival = self.arrival(request.path, headers, sent, request.remote)
        answer = await self.take(arrival)
        if isinstance(answer, web.Response):
            return answer
        return web.Response(
            body=answer.body, headers={"Content-Type": "application/json", RECEIPT: answer.receipt}
        )

    def arrival(self, path: str, headers: Mapping[str, str], sent: bytes, peer: str | None) -> Arrival:
        """What came, from the address `peer`, at the beginning of its way. Headers by lower-case name."""
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
        """Runs the steps, and answers; a refusal of what was signed has a receipt too.

        Raises TelemetryError for what was not.
        """
        try:
            steps = iter(self._steps)
            for step in steps:
                rest = step(arrival)  # None, for nearly every step of nearly every upload
                if rest is not None and not isinstance(rest, Awaitable):
                    rest = await self._slow_lane.run(arrival, _slowly(arrival, rest, steps))
                if rest is not None:
                    await rest
        except (BadRequest, TooManyRequests, Unavailable) as error:
            if arrival.sender is None:
                raise
            return _receipted(arrival.sender, arrival.sent, problem(error))
        return _answer(arrival)


def _slowly(arrival: Arrival, slices: Slices, steps: Iterator[Step]) -> Work:
    """These slices and the steps that follow, up to the first that waits."""
    yield from slices
    for step in steps:
        rest = step(arrival)
        if isinstance(rest, Awaitable):
            yield rest
        elif rest is not None:
            yield from rest


def commit(write: Write, *, keep_address: bool = True) -> Step:
    """The step that commits the pings that passed; `write` says what became of each."""

    async def step(arrival: Arrival) -> None:
        if pings := _distinct(arrival.items):
            upload = SignedUpload(
                arrival.known_sender.installation_id,
                arrival.known_sender.product.id,
                arrival.received_at,
                arrival.address if keep_address else None,
                arrival.place,
                pings,
            )
            arrival.written = await write(upload, len(arrival.body))

    return step


def _distinct(items: Sequence[Ping | RefusedPing]) -> list[Ping]:
    """The pings that passed, each number once; a plain repetition within the upload comes out."""
    return list({item.sequence: item for item in items if isinstance(item, Ping)}.values())


def _receipted(sender: Sender, sent: bytes, answer: web.Response) -> web.Response:
    """A refusal the client may act upon: it came from here, and it is about these bytes."""
    assert isinstance(answer.body, bytes)
    answer.headers[RECEIPT] = receipt(sender.secret, sent, answer.body)
    return answer


def _answer(arrival: Arrival) -> Accepted:
    sender = arrival.known_sender
    answer = _encode(
        UploadAnswer(
            arrival.upload_id,
            _results(arrival.items, arrival.written),
            arrival.written.missing,
            sender.product.ping_interval_seconds,
            (),
            arrival.received_at,
        )
    )
    return Accepted(answer, receipt(sender.secret, arrival.sent, answer))


def _results(items: Sequence[Ping | RefusedPing], written: Written) -> list[PingResult]:
    results: list[PingResult] = []
    told: set[int] = set()
    for item in items:
        if isinstance(item, RefusedPing):
            results.append(PingResult(item.ping_id, item.sequence, Status.REJECTED, item.reason, item.detail))
            continue
        status = written.others.get(item.sequence, Status.ACCEPTED)
        if status is Status.ACCEPTED and item.sequence in told:
            status = Status.DUPLICATE
        told.add(item.sequence)
        results.append(PingResult(item.ping_id, item.sequence, status))
    return results
