"""Bundles: files of signed requests, carried over an air gap, and the receipts that go back the same way.

PROTOCOL: Bundles. Each request is answered by the handler that would have answered it over the network.
"""

import hashlib
from base64 import b64decode, b64encode
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple, TypeAlias
from uuid import UUID

import orjson
from aiohttp import web

from telemetry_server.errors import Malformed, NotFound, TelemetryError, TooLarge, Unauthenticated
from telemetry_server.middleware import problem
from telemetry_server.model import Sender
from telemetry_server.receive.address import client_address
from telemetry_server.receive.body import read_body
from telemetry_server.receive.enroll import PATH as ENROLL_PATH
from telemetry_server.receive.limiter import Limiter, network_of
from telemetry_server.receive.pings import PATH as PINGS_PATH
from telemetry_server.receive.signature import (
    RECEIPT,
    SIGNATURE,
    LookAgain,
    SignedRequest,
    Verifier,
    receipt,
    sender_of,
)
from telemetry_server.setting_types import Network

PATH = "/v1/bundles"
LARGEST_BUNDLE = 2 * 2**20
MOST_REQUESTS = 200
MEDIA_TYPE = "application/x-ndjson"
_CARRIED_HEADERS = frozenset({"authorization", "content-encoding", SIGNATURE})
_ANSWER_HEADERS = ("Content-Type", RECEIPT, "Retry-After")
_HTTP_OK = 200

Taker: TypeAlias = Callable[[SignedRequest], Awaitable[web.Response]]


class Bundle(NamedTuple):
    """A bundle as read, its seal not checked yet. `lines` are all bytes before the seal."""

    bundle_id: str
    lines: bytes
    seal: dict[str, Any]
    requests: list[SignedRequest]


class Receipts(NamedTuple):
    """The file that goes back; `installation_id` is None for a copy that had no identity."""

    content: bytes
    bundle_id: str
    installation_id: UUID | None


class Bundles:
    """Takes bundles. `takers` answers the requests, by path.

    The limiter is of networks: it counts bundles, and the requests in them that are not uploads of pings.
    """

    def __init__(
        self,
        *,
        verifier: Verifier,
        look_again: LookAgain,
        limiter: Limiter,
        takers: Mapping[str, Taker],
        trusted_proxies: tuple[Network, ...] = (),
    ) -> None:
        self._verifier = verifier
        self._look_again = look_again
        self._limiter = limiter
        self._takers = takers
        self._trusted_proxies = trusted_proxies

    async def post(self, request: web.Request) -> web.Response:
        """Answers a bundle with its receipts."""
        self.admit(request)
        taken = await self.take(await read_body(request, LARGEST_BUNDLE), self.network(request))
        return web.Response(
            body=taken.content, headers={"Content-Type": MEDIA_TYPE, "Cache-Control": "no-store"}
        )

    def admit(self, request: web.Request) -> None:
        """Charges the network of who carries a bundle. Raises TooManyRequests."""
        self._limiter.admit(self.network(request))

    def network(self, request: web.Request) -> str | None:
        """The network of who carries a bundle."""
        forwarded = tuple(request.headers.getall("X-Forwarded-For", ()))
        return network_of(client_address(request.remote, forwarded, self._trusted_proxies))

    async def take(self, content: bytes, network: str | None) -> Receipts:
        """Has each request answered, in order. Nothing is taken of a bundle that is refused.

        `network`: that of who carries it.

        Raises Malformed, TooLarge or Unauthenticated. Taking a bundle again changes nothing.
        """
        bundle = read_bundle(content)
        sender = await self._sealed_by(bundle)
        answers = [await self._answer(each, network) for each in bundle.requests]
        head = {
            "receipts": 1,
            "bundle_id": bundle.bundle_id,
            "installation_id": sender and str(sender.installation_id),
            "server_time": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        }
        answered = zip(bundle.requests, answers, strict=True)
        lines = b"".join(_line(each) for each in (head, *(_receipt_of(*pair) for pair in answered)))
        seal = (
            {"seal": receipt(sender.secret, bundle.bundle_id.encode(), lines)}
            if sender
            else {"sha256": hashlib.sha256(lines).hexdigest()}
        )
        return Receipts(lines + _line(seal), bundle.bundle_id, sender.installation_id if sender else None)

    async def _sealed_by(self, bundle: Bundle) -> Sender | None:
        """The installation that sealed the bundle; None for a copy that asks for its identity.

        Raises Malformed or Unauthenticated.
        """
        if "sha256" in bundle.seal:
            if bundle.seal["sha256"] != hashlib.sha256(bundle.lines).hexdigest():
                raise Malformed("The bundle was changed on its way. Copy the file again, or export it again.")
            if [each.path for each in bundle.requests] != [ENROLL_PATH]:
                raise Unauthenticated("A bundle without an identity carries one enrolment, and nothing else.")
            return None
        sealed = SignedRequest(PATH, {SIGNATURE: str(bundle.seal["seal"])}, bundle.lines)
        try:
            return await sender_of(sealed, self._verifier, self._look_again)
        except Unauthenticated:
            raise Unauthenticated(
                "The seal of the bundle does not fit: it was changed on its way, or it is for the server of "
                "another vendor. Copy the file again, or export it again."
            ) from None

    async def _answer(self, carried: SignedRequest, network: str | None) -> web.Response:
        """The answer to one request; an error is its problem document, as over the network."""
        take = self._takers.get(carried.path)
        try:
            if take is None:
                raise NotFound("A bundle cannot carry that request to this server.")
            if carried.path != PINGS_PATH:  # which has a limit for each installation
                self._limiter.admit(network)
            return await take(carried)
        except TelemetryError as error:
            return problem(error)


BUNDLES = web.AppKey("bundles", Bundles)


def read_bundle(content: bytes) -> Bundle:
    """The bundle in a file. Raises Malformed or TooLarge."""
    *lines, last = content.removesuffix(b"\n").split(b"\n", MOST_REQUESTS + 2)
    head, seal = _json(lines[0] if lines else last), _json(last)
    if head.get("receipts") == 1:
        raise Malformed("This is a receipts file: take it to the copy, with license-telemetry import FILE.")
    if head.get("bundle") != 1 or not isinstance(head.get("bundle_id"), str):
        raise Malformed("This is no bundle: license-telemetry export --to FILE writes them.")
    if len(lines) > MOST_REQUESTS + 1:
        raise TooLarge(f"A bundle has at most {MOST_REQUESTS} requests; export again.")
    if not isinstance(seal.get("seal"), str) and not isinstance(seal.get("sha256"), str):
        raise Malformed("The bundle was cut short: its seal is missing. Copy the whole file.")
    before = content[: content.rindex(last)]
    return Bundle(head["bundle_id"][:64], before, seal, [_request(each) for each in lines[1:]])


def _request(line: bytes) -> SignedRequest:
    """Raises Malformed."""
    found = _json(line)
    headers, path, body = found.get("headers"), found.get("path"), found.get("body")
    if not isinstance(headers, dict) or not isinstance(path, str) or not isinstance(body, str):
        raise Malformed("A line of the bundle is no request.")
    kept = {name.lower(): value for name, value in headers.items() if name.lower() in _CARRIED_HEADERS}
    try:
        sent = b64decode(body, validate=True)
    except ValueError:
        raise Malformed("A line of the bundle is no request.") from None
    if not all(isinstance(value, str) for value in kept.values()):
        raise Malformed("A line of the bundle is no request.")
    return SignedRequest(path, kept, sent)


def _json(line: bytes) -> dict[str, Any]:
    """The object in a line; empty for anything else."""
    try:
        found = orjson.loads(line)
    except orjson.JSONDecodeError:
        return {}
    return found if isinstance(found, dict) else {}


def _line(content: Mapping[str, Any]) -> bytes:
    return orjson.dumps(content) + b"\n"


def _receipt_of(carried: SignedRequest, answer: web.Response) -> dict[str, Any]:
    assert isinstance(answer.body, bytes)
    return {
        "path": carried.path,
        "sha256": hashlib.sha256(carried.sent).hexdigest(),
        "status": answer.status,
        "headers": {name: answer.headers[name] for name in _ANSWER_HEADERS if name in answer.headers},
        "body": b64encode(answer.body).decode(),
    }


def outcome_of(receipts: bytes) -> tuple[Counter[str], list[tuple[str, int]]]:
    """What a receipts file says: its pings by status, and path and HTTP status of each answer without pings.

    Raises Malformed.
    """
    if _json(receipts.partition(b"\n")[0]).get("receipts") != 1:
        raise Malformed("This is no receipts file.")
    pings: Counter[str] = Counter()
    others = []
    for line in receipts.splitlines():
        answer = _json(line)
        if answer.get("path") == PINGS_PATH and answer["status"] == _HTTP_OK:
            pings.update(each["status"] for each in orjson.loads(b64decode(answer["body"]))["results"])
        elif "path" in answer:
            others.append((answer["path"], answer["status"]))
    return pings, others
