"""POST /v1/enroll: gives a copy its identity. Only the parent of a forked copy is stored."""

from base64 import urlsafe_b64encode
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Annotated, Protocol, TypeAlias
from uuid import UUID

from aiohttp import web
from msgspec import UNSET, Meta, Struct, UnsetType, json

from telemetry_server.errors import FieldProblem, Unauthenticated, Unprocessable
from telemetry_server.keyring import Keyring
from telemetry_server.model import Moment, NonNegative, Product
from telemetry_server.receive.address import client_address
from telemetry_server.receive.body import inflate, parse_json, read_body
from telemetry_server.receive.limiter import Limiter, network_of
from telemetry_server.receive.notice import Notice
from telemetry_server.receive.signature import LookAgain, SignedRequest, Verifier, sender_of
from telemetry_server.setting_types import Network
from telemetry_server.uuid7 import uuid7

PATH = "/v1/enroll"
LARGEST_ENROLMENT = 16 * 1024


class Enrolment(Struct):
    """A new identity: the answer to an enrolment, and the file for an offline copy."""

    installation_id: UUID
    secret: Annotated[str, Meta(description="32 bytes in base64url without padding.")]
    key: Annotated[str, Meta(description="The id of the master key; goes into the signature header.")]
    product: Annotated[str, Meta(description="The product's slug.")]
    next_ping_seconds: NonNegative
    notice: Notice | None
    server_time: Moment


class EnrolmentRequest(Struct):
    """Empty, or the former id of a forked copy; the request is then signed with its former secret."""

    forked_from: UUID | UnsetType | None = UNSET


FindByKey: TypeAlias = Callable[[str], Awaitable[Product | None]]


class KeepParent(Protocol):
    """Stores the former identity of a forked copy."""

    async def __call__(
        self,
        *,
        installation_id: UUID,
        parent_id: UUID,
        product: Product,
        now: datetime,
        client_address: str | None,
    ) -> None: ...


class Enrolments:
    """The handler of enrolments. `demand_time` raises Unavailable where the clock is wrong."""

    def __init__(
        self,
        *,
        keyring: Keyring,
        verifier: Verifier,
        find_by_key: FindByKey,
        keep_parent: KeepParent,
        limiter: Limiter,
        look_again: LookAgain,
        demand_time: Callable[[datetime], Awaitable[None]],
        notice: Callable[[], Notice | None] = lambda: None,
        trusted_proxies: tuple[Network, ...] = (),
        keep_address: bool = True,
    ) -> None:
        self._keyring = keyring
        self._verifier = verifier
        self._find_by_key = find_by_key
        self._keep_parent = keep_parent
        self._limiter = limiter
        self._look_again = look_again
        self._demand_time = demand_time
        self._notice = notice
        self._trusted_proxies = trusted_proxies
        self._keep_address = keep_address

    async def post(self, request: web.Request) -> web.Response:
        headers = request.headers
        forwarded = tuple(headers.getall("X-Forwarded-For", ()))
        address = client_address(request.remote, forwarded, self._trusted_proxies)
        self._limiter.admit(network_of(address))
        await self._demand_time(datetime.now(UTC))
        named = {name.lower(): value for name, value in headers.items()}
        return await self.enrol(SignedRequest(request.path, named, await read_body(request)), address)

    async def take(self, carried: SignedRequest) -> web.Response:
        """Answers a request that came in a bundle: the address of who carried it is not the copy's."""
        await self._demand_time(datetime.now(UTC))
        return await self.enrol(carried, None)

    async def enrol(self, asked: SignedRequest, address: str | None) -> web.Response:
        """The answer with an identity. Raises Unauthenticated, BadRequest or Unavailable."""
        headers, now = asked.headers, datetime.now(UTC)
        product = await self._product(headers.get("authorization", ""))
        claimed = _claimed_parent(inflate(asked.sent, headers.get("content-encoding"), LARGEST_ENROLMENT))
        enrolment = new_enrolment(self._keyring, product, notice=self._notice())
        if claimed is not None:
            parent = await self._parent(claimed, asked, product)
            await self._keep_parent(
                installation_id=enrolment.installation_id,
                parent_id=parent,
                product=product,
                now=now,
                client_address=address if self._keep_address else None,
            )
        return web.Response(
            body=json.encode(enrolment),
            status=201,
            headers={"Content-Type": "application/json", "Cache-Control": "no-store"},
        )

    async def _product(self, authorization: str) -> Product:
        scheme, _, key = authorization.partition(" ")
        plausible = scheme.lower() == "bearer" and key.isascii()
        product = await self._find_by_key(key.strip()) if plausible else None
        if product is None:
            raise Unauthenticated("Send a valid product key: Authorization: Bearer <product key>")
        return product

    async def _parent(self, claimed: UUID, asked: SignedRequest, product: Product) -> UUID:
        """The parent, proven by a signature with its secret. Raises Unauthenticated or Unavailable."""
        sender = await sender_of(asked, self._verifier, self._look_again)
        if sender.installation_id != claimed or sender.product.id != product.id:
            raise Unauthenticated("forked_from must be the installation that signed the request.")
        return sender.installation_id


def new_enrolment(keyring: Keyring, product: Product, *, notice: Notice | None) -> Enrolment:
    installation_id = uuid7()
    secret = keyring.secret(keyring.current, product.id, installation_id)
    return Enrolment(
        installation_id=installation_id,
        secret=urlsafe_b64encode(secret).rstrip(b"=").decode(),
        key=keyring.current,
        product=product.slug,
        next_ping_seconds=product.ping_interval_seconds,
        notice=notice,
        server_time=datetime.now(UTC),
    )


def _claimed_parent(body: bytes) -> UUID | None:
    """The id in `forked_from`, if any. Raises Malformed or Unprocessable."""
    if not body.strip():
        return None
    raw = parse_json(body)
    if raw == []:  # PHP's empty object
        return None
    if not isinstance(raw, dict):
        raise Unprocessable("An enrolment is a JSON object; an empty one will do.")
    if raw.get("forked_from") is None:
        return None
    try:
        return UUID(raw["forked_from"])
    except (ValueError, TypeError, AttributeError):
        raise Unprocessable(problems=[FieldProblem("/forked_from", "must be a UUID")]) from None
