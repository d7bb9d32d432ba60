"""The bytes on the wire: protocol version 1. Pure but for the randomness of ids.

Client and server are tested with the same vectors, `tests/wire/*.json`.
"""

from __future__ import annotations

import hmac
import os
import time
from base64 import urlsafe_b64decode
from datetime import datetime, timezone
from hashlib import sha256
from typing import Optional

ENROLL_PATH = "/v1/enroll"
PINGS_PATH = "/v1/pings"
FORGET_PATH = "/v1/forget"
KEYS_PATH = "/v1/support-keys"
GRANTS_PATH = "/v1/support-grants"
BUNDLES_PATH = "/v1/bundles"
REVOKE_PATH = "/v1/support-grants/revoke"
SIGNATURE = "Telemetry-Signature"
RECEIPT = "Telemetry-Receipt"
SECRET_BYTES = 32


def secret_bytes(text: str) -> bytes:
    """The 32 bytes of a secret as the enrolment answer writes it: base64url without padding.

    Raises ValueError for anything else.
    """
    secret = urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4))
    if len(secret) != SECRET_BYTES:
        raise ValueError("a secret has 32 bytes")
    return secret


def sign(secret: bytes, method: str, path: str, body: bytes) -> str:
    """The signature of a request in lower-case hex; `body` as sent, after Content-Encoding."""
    return hmac.new(secret, f"v1\n{method}\n{path}\n".encode() + body, sha256).hexdigest()


def signature_header(slug: str, key: str, installation_id: str, mac: str) -> str:
    """The value of Telemetry-Signature; `key` names the master key, `mac` comes from sign()."""
    return f"v1 product={slug} key={key} installation={installation_id} hmac={mac}"


def receipt(secret: bytes, request_body: bytes, response_body: bytes) -> str:
    """The receipt of an answer in lower-case hex; both bodies as they went over the wire."""
    message = f"receipt\n{sha256(request_body).hexdigest()}\n".encode() + response_body
    return hmac.new(secret, message, sha256).hexdigest()


def is_receipt(header: Optional[str], secret: bytes, request_body: bytes, response_body: bytes) -> bool:
    """Whether `header`, the value of Telemetry-Receipt, is the receipt for this answer to this request."""
    expected = "v1 hmac=" + receipt(secret, request_body, response_body)
    return hmac.compare_digest((header or "").strip().encode("utf-8", "replace"), expected.encode())


def uuid7() -> str:
    """A new UUIDv7 (RFC 9562) in text: 48 bits of milliseconds, 74 random bits."""
    value = int(time.time() * 1000) << 80 | int.from_bytes(os.urandom(10), "big")
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    digits = f"{value & (1 << 128) - 1:032x}"
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


def timestamp(seconds: float) -> str:
    """RFC 3339 in UTC with milliseconds, from seconds since 1970."""
    moment = datetime.fromtimestamp(seconds, timezone.utc)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"
