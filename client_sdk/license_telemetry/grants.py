"""Seals support access to the keys of the vendor's support team. Needs the extra `grants`.

    keys = verify_keys(signed_list, root)["keys"]
    sealed = seal(b"...", keys[0]["public_key"], product="acme-billing", installation="019a…", case="4711",
                  key_id=keys[0]["id"], not_after="2026-12-06T12:00:00Z", notice="2018-04-17")

RFC 9180, base mode, DHKEM(P-256, HKDF-SHA256), HKDF-SHA256, AES-256-GCM. Only the support team can open the
result, and only for this case, installation and expiry.
"""

from __future__ import annotations

import json
import warnings
from base64 import urlsafe_b64decode
from typing import Any, Dict

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # the last cryptography for Python 3.8 warns of that
    try:
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP256R1, EllipticCurvePublicKey
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        from cryptography.hazmat.primitives.hashes import SHA256
        from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite
        from cryptography.hazmat.primitives.serialization import (
            Encoding,
            NoEncryption,
            PrivateFormat,
            PublicFormat,
        )
    except ImportError as error:
        raise ImportError(
            "support grants need cryptography 47 or newer: pip install 'license-telemetry-client[grants]'"
        ) from error

__all__ = ["seal", "verify_keys"]

FORMAT = "license-telemetry/grant/v1"
KEYS_FORMAT = "license-telemetry/support-keys/v1"
SUITE = b"\0\1"


def seal(
    plaintext: bytes,
    public_key: str,
    *,
    product: str,
    installation: str,
    case: str,
    key_id: str,
    not_after: str,
    notice: str,
) -> bytes:
    """The envelope of `plaintext`: suite, encapsulated key, ciphertext and tag; 83 bytes more than it.

    `public_key` is the point of a key of the list, in base64url; `not_after` a time like
    2026-12-06T12:00:00Z. Raises ValueError for another key.
    """
    bound = info(product, installation, case, key_id, not_after, notice)
    suite = Suite(KEM.P256, KDF.HKDF_SHA256, AEAD.AES_256_GCM)
    return SUITE + suite.encrypt(plaintext, _point(public_key), info=bound)


def info(*bound: str) -> bytes:
    """The `info` of the seal: the format and what it is bound to, each after its length in two bytes."""
    fields = [text.encode() for text in (FORMAT, *bound)]
    return b"".join(len(field).to_bytes(2, "big") + field for field in fields)


def verify_keys(signed_list: str, root: str) -> Dict[str, Any]:
    """The list of support keys, if the vendor's offline root has signed it. Raises ValueError.

    `root` is the public key that the vendor's software pins, in base64url.
    """
    line, _, signature = signed_list.strip().partition("\n")
    try:
        _point(root).verify(_decoded(signature), f"{KEYS_FORMAT}\n{line}".encode(), ECDSA(SHA256()))
    except (InvalidSignature, ValueError):
        raise ValueError("the list of support keys is not signed by the vendor's root key") from None
    found = json.loads(line)
    if not isinstance(found, dict) or found.get("format") != KEYS_FORMAT:
        raise ValueError("this is no list of support keys")
    return found


def ssh_key_pair() -> Dict[str, str]:
    """A key pair made for one grant, in OpenSSH's formats."""
    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
    public = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    return {"private": private.decode(), "public": public.decode()}


def _point(text: str) -> EllipticCurvePublicKey:
    return EllipticCurvePublicKey.from_encoded_point(SECP256R1(), _decoded(text))


def _decoded(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))
