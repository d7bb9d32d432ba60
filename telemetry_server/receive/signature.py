"""The signature of a request, and the receipt of its answer. PROTOCOL: Identity, Uploading, The answer."""

import hashlib
import hmac
import re
from collections.abc import Awaitable, Callable, Mapping
from functools import lru_cache
from typing import NamedTuple, TypeAlias
from uuid import UUID

from telemetry_server.errors import Unauthenticated
from telemetry_server.keyring import Keyring, installation_secret
from telemetry_server.model import Arrival, Product, Sender, Step
from telemetry_server.routing import plain_path

SIGNATURE = "telemetry-signature"
RECEIPT = "Telemetry-Receipt"

FindProduct: TypeAlias = Callable[[str], Product | None]
LookAgain: TypeAlias = Callable[[], Awaitable[None]]

_CLAIM = re.compile(
    r"v1 product=([a-z0-9][a-z0-9-]{0,62}) key=([A-Za-z0-9_-]{1,32})"
    r" installation=([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}) hmac=([0-9a-f]{64})"
)
_HOW_TO_SIGN = (
    "The header Telemetry-Signature must read: v1 product=<slug> key=<key> installation=<uuid> hmac=<hex>"
)
_REMEMBERED_SENDERS = 50_000


class SignedRequest(NamedTuple):
    """A signed POST, as it came over a connection or in a bundle; names of headers are in lower case."""

    path: str
    headers: Mapping[str, str]
    sent: bytes


class UnknownSigner(Unauthenticated):
    """The request is not signed by anyone this server knows."""


class Verifier:
    """Verifies signatures. Secrets of installations are derived; the last ones used are cached."""

    def __init__(self, keyring: Keyring, find_product: FindProduct) -> None:
        self._keyring = keyring
        self._find_product = find_product
        self._derive = lru_cache(_REMEMBERED_SENDERS)(_derive)

    def sender(self, header: str, method: str, path: str, sent: bytes) -> Sender:
        """The installation that signed these bytes. Raises Unauthenticated, always with the same message.

        It is UnknownSigner if the product or the master key is not known yet: reload them and retry.
        """
        claim = _CLAIM.fullmatch(header)
        if claim is None:
            raise Unauthenticated(_HOW_TO_SIGN)
        slug, key, installation, claimed = claim.groups()
        product = self._find_product(slug)
        master = self._keyring.masters.get(key)
        if product is None or master is None:
            raise UnknownSigner
        installation_id, secret = self._derive(master, product.id, installation)
        message = f"v1\n{method}\n{path}\n".encode() + sent
        if not hmac.compare_digest(hmac.digest(secret, message, "sha256").hex(), claimed):
            raise Unauthenticated
        return Sender(product, installation_id, secret)

    def sender_at(self, path: str, header: str, sent: bytes) -> Sender:
        """The installation that posted these bytes to `path`. Raises Unauthenticated or UnknownSigner.

        The signed path is that of the protocol, or the one sent, with an extra slash.
        """
        plain = plain_path(path)
        try:
            return self.sender(header, "POST", plain, sent)
        except Unauthenticated:
            if plain == path:
                raise
            return self.sender(header, "POST", path, sent)


def _derive(master: bytes, product_id: UUID, installation: str) -> tuple[UUID, bytes]:
    """Takes the master key itself, not its id, so that a changed key misses the cache."""
    installation_id = UUID(installation)
    return installation_id, installation_secret(master, product_id, installation_id)


async def sender_of(signed: SignedRequest, verifier: Verifier, look_again: LookAgain) -> Sender:
    """The installation that signed a request. Raises Unauthenticated or Unavailable.

    Before an unknown signer is refused, `look_again` loads new products and master keys.
    """
    asked = signed.path, signed.headers.get(SIGNATURE, ""), signed.sent
    try:
        return verifier.sender_at(*asked)
    except UnknownSigner:
        await look_again()
        return verifier.sender_at(*asked)


def refuse_unsigned(verifier: Verifier, look_again: LookAgain) -> Step:
    """The step that identifies the sender of an upload, or refuses it.

    Before an unknown signer is refused, `look_again` loads new products and master keys.
    """

    def step(arrival: Arrival) -> Awaitable[None] | None:
        try:
            arrival.sender = verifier.sender_at(arrival.path, arrival.signature, arrival.sent)
        except UnknownSigner:
            return once_more(arrival)
        return None

    async def once_more(arrival: Arrival) -> None:
        await look_again()
        arrival.sender = verifier.sender_at(arrival.path, arrival.signature, arrival.sent)

    return step


def receipt(secret: bytes, sent: bytes, answer: bytes) -> str:
    """The value of Telemetry-Receipt for an answer to the bytes `sent`."""
    message = b"receipt\n" + hashlib.sha256(sent).hexdigest().encode() + b"\n" + answer
    return f"v1 hmac={hmac.digest(secret, message, 'sha256').hex()}"
