"""The identity that the server issued, and the requests signed with it."""

from __future__ import annotations

import json
from typing import Any, Dict, NamedTuple, Optional
from uuid import UUID

from . import _wire as wire
from ._settings import slug_of

MOST_KEY_CHARACTERS = 64


class Identity(NamedTuple):
    """An installation's identity; `secret` in base64url, `key` names the master key it was derived from."""

    installation_id: str
    secret: str
    key: str
    product: str

    def signature(self, path: str, body: bytes) -> str:
        """The value of Telemetry-Signature for a POST of `body` to `path`."""
        mac = wire.sign(wire.secret_bytes(self.secret), "POST", path, body)
        return wire.signature_header(self.product, self.key, self.installation_id, mac)

    def is_receipt(self, header: Optional[str], request_body: bytes, response_body: bytes) -> bool:
        return wire.is_receipt(header, wire.secret_bytes(self.secret), request_body, response_body)


class Request(NamedTuple):
    """A POST, or another `method`: path, specific headers, body. `more`: another one follows at once."""

    path: str
    headers: Dict[str, str]
    body: bytes
    more: bool = False
    method: str = "POST"


def from_answer(answer: Any) -> Identity:
    """The identity in an answer to an enrolment, or in an enrolment file. Raises ValueError."""
    fields = [answer.get(name) for name in Identity._fields] if isinstance(answer, dict) else [None]
    if not all(isinstance(field, str) for field in fields):
        raise ValueError("this is no enrolment")
    found = Identity(*map(str, fields))
    UUID(found.installation_id)
    wire.secret_bytes(found.secret)
    if slug_of(f"pk_{found.product}_") != found.product or not _is_token(found.key):
        raise ValueError("this is no enrolment")
    return found


def enrolment(product_key: str, parent: Optional[Identity]) -> Request:
    """The request for an identity; a fork signs it as `parent`, so that no one else can claim that parent."""
    headers = {"Authorization": "Bearer " + product_key}
    if parent is None:
        return Request(wire.ENROLL_PATH, headers, b"{}")
    body = json.dumps({"forked_from": parent.installation_id}).encode()
    headers[wire.SIGNATURE] = parent.signature(wire.ENROLL_PATH, body)
    return Request(wire.ENROLL_PATH, headers, body)


def upload(identity: Identity, body: bytes, encoding: Optional[str]) -> Request:
    """The request with the stored bytes of an upload."""
    headers = {wire.SIGNATURE: identity.signature(wire.PINGS_PATH, body)}
    if encoding:
        headers["Content-Encoding"] = encoding
    return Request(wire.PINGS_PATH, headers, body)


def forgetting(identity: Identity, body: bytes) -> Request:
    """The request to erase the data of this installation."""
    return signed(identity, wire.FORGET_PATH, body)


def signed(identity: Identity, path: str, body: bytes) -> Request:
    """A signed request."""
    return Request(path, {wire.SIGNATURE: identity.signature(path, body)}, body)


def _is_token(text: str) -> bool:
    """Whether it fits the signature header: no white space, no control characters."""
    return 0 < len(text) <= MOST_KEY_CHARACTERS and text.isascii() and text.isprintable() and " " not in text
