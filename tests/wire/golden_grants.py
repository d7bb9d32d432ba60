"""The golden vectors of sealed support access, computed step by step as RFC 9180 says.

The curve and the ciphers are those of `cryptography`; its HPKE is not used, so that it is held against this.
"""

import hmac
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator
from hashlib import sha256
from itertools import count
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

Json = dict[str, Any]

SUITE = 1
AES_128_GCM, AES_256_GCM, CHACHA20_POLY1305 = 1, 2, 3
ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
FIELDS = ("product", "installation", "case", "key_id", "not_after", "notice")
BOUND = {
    "product": "acme-billing",
    "installation": "019ab6ee-8f00-7aa0-b1c2-3d4e5f607182",
    "case": "4711",
    "key_id": "2026w49-1a2b3c4d",
    "not_after": "2026-12-06T12:00:00Z",
    "notice": "2018-04-17",
}
CONTENT = b'{"root_dir": "/srv/billing", "ssh": {"user": "acme", "host": "203.0.113.7", "port": "22"}}'

PUBLISHED = (
    {
        "aead_id": 1,
        "info": "4f6465206f6e2061204772656369616e2055726e",
        "skEm": "4995788ef4b9d6132b249ce59a77281493eb39af373d236a1fe415cb0c2d7beb",
        "skRm": "f3ce7fdae57e1a310d87f1ebbde6f328be0a99cdbcadf4d6589cf29de4b8ffd2",
        "enc": (
            "04a92719c6195d5085104f469a8b9814d5838ff72b60501e2c4466e5e67b325ac98536d7b61a1af4"
            "b78e5b7f951c0900be863c403ce65c9bfcb9382657222d18c4"
        ),
        "shared_secret": "c0d26aeab536609a572b07695d933b589dcf363ff9d93c93adea537aeabb8cb8",
        "key": "868c066ef58aae6dc589b6cfdd18f97e",
        "base_nonce": "4e0bc5018beba4bf004cca59",
        "pt": "4265617574792069732074727574682c20747275746820626561757479",
        "aad": "436f756e742d30",
        "ct": ("5ad590bb8baa577f8619db35a36311226a896e7342a6d836d8b7bcd2f20b6c7f9076ac232e3ab2523f39513434"),
    },
    {
        "aead_id": 3,
        "info": "4f6465206f6e2061204772656369616e2055726e",
        "skEm": "7550253e1147aae48839c1f8af80d2770fb7a4c763afe7d0afa7e0f42a5b3689",
        "skRm": "a4d1c55836aa30f9b3fbb6ac98d338c877c2867dd3a77396d13f68d3ab150d3b",
        "enc": (
            "04c07836a0206e04e31d8ae99bfd549380b072a1b1b82e563c935c095827824fc1559eac6fb9e3c7"
            "0cd3193968994e7fe9781aa103f5b50e934b5b2f387e381291"
        ),
        "shared_secret": "806520f82ef0b03c823b7fc524b6b55a088f566b9751b89551c170f4113bd850",
        "key": "a8f45490a92a3b04d1dbf6cf2c3939ad8bfc9bfcb97c04bffe116730c9dfe3fc",
        "base_nonce": "726b4390ed2209809f58c693",
        "pt": "4265617574792069732074727574682c20747275746820626561757479",
        "aad": "436f756e742d30",
        "ct": ("6469c41c5c81d3aa85432531ecf6460ec945bde1eb428cb2fedf7a29f5a685b4ccb0d057f03ea2952a27bb458b"),
    },
)
"""RFC 9180, appendices A.3.1 and A.5.1, the first encryption of each, in hex."""


def private(scalar: bytes) -> ec.EllipticCurvePrivateKey:
    return ec.derive_private_key(int.from_bytes(scalar, "big"), ec.SECP256R1())


def point(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


def exchanged(own: ec.EllipticCurvePrivateKey, other: ec.EllipticCurvePrivateKey) -> bytes:
    return own.exchange(ec.ECDH(), other.public_key())


def labeled_extract(suite_id: bytes, salt: bytes, label: bytes, ikm: bytes) -> bytes:
    return hmac.digest(salt or bytes(32), b"HPKE-v1" + suite_id + label + ikm, "sha256")


def labeled_expand(suite_id: bytes, prk: bytes, label: bytes, info: bytes, length: int) -> bytes:
    labeled, block, output = length.to_bytes(2, "big") + b"HPKE-v1" + suite_id + label + info, b"", b""
    for number in range(1, -(-length // 32) + 1):
        block = hmac.digest(prk, block + labeled + bytes([number]), "sha256")
        output += block
    return output[:length]


def set_up(ephemeral: bytes, recipient: bytes, info: bytes, aead: int) -> Json:
    """SetupBaseS with the ephemeral key given; all keys as scalars of 32 bytes."""
    own, other = private(ephemeral), private(recipient)
    enc, kem_id = point(own), b"KEM\x00\x10"
    prk = labeled_extract(kem_id, b"", b"eae_prk", exchanged(own, other))
    shared = labeled_expand(kem_id, prk, b"shared_secret", enc + point(other), 32)
    suite_id = b"HPKE\x00\x10\x00\x01" + aead.to_bytes(2, "big")
    context = b"\x00" + labeled_extract(suite_id, b"", b"psk_id_hash", b"")
    context += labeled_extract(suite_id, b"", b"info_hash", info)
    secret = labeled_extract(suite_id, shared, b"secret", b"")
    key = labeled_expand(suite_id, secret, b"key", context, 16 if aead == AES_128_GCM else 32)
    nonce = labeled_expand(suite_id, secret, b"base_nonce", context, 12)
    return {"enc": enc, "shared_secret": shared, "key": key, "base_nonce": nonce}


def encrypted(made: Json, aead: int, plaintext: bytes, aad: bytes) -> bytes:
    cipher = (ChaCha20Poly1305 if aead == CHACHA20_POLY1305 else AESGCM)(made["key"])
    return cipher.encrypt(made["base_nonce"], plaintext, aad)


def info_of(bound: Json) -> bytes:
    fields = [text.encode() for text in ("license-telemetry/grant/v1", *(bound[name] for name in FIELDS))]
    return b"".join(len(field).to_bytes(2, "big") + field for field in fields)


def base64url(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def scalar(seed: str, holds: Callable[[ec.EllipticCurvePrivateKey], bool] = lambda _: True) -> bytes:
    """The first scalar of the seed whose key is as wanted."""
    for number in count():
        candidate = sha256(f"golden grant {seed} {number}".encode()).digest()
        if 0 < int.from_bytes(candidate, "big") < ORDER and holds(private(candidate)):
            return candidate
    raise AssertionError


def vector(
    name: str, *, ephemeral: bytes = b"", recipient: bytes = b"", plaintext: bytes = CONTENT, **bound: str
) -> Json:
    ephemeral, recipient = ephemeral or scalar("ephemeral"), recipient or scalar("recipient")
    whole = BOUND | bound
    made = set_up(ephemeral, recipient, info_of(whole), AES_256_GCM)
    sealed = SUITE.to_bytes(2, "big") + made["enc"] + encrypted(made, AES_256_GCM, plaintext, b"")
    return {
        "name": name,
        "suite": SUITE,
        "recipient_private_key": base64url(recipient),
        "recipient_key": base64url(point(private(recipient))),
        "ephemeral_private_key": base64url(ephemeral),
        **whole,
        "info": base64url(info_of(whole)),
        "plaintext": base64url(plaintext),
        "sealed": base64url(sealed),
    }


def grants() -> Iterator[Json]:
    recipient = scalar("recipient")
    yield vector("the example in docs/support.md")
    yield vector("nothing", plaintext=b"")
    yield vector("one byte", plaintext=b"\0")
    yield vector("letters beyond ASCII", plaintext='{"root_dir": "/srv/größe/鍵"}'.encode())
    yield vector("a long content", plaintext=b"0123456789abcdef" * 2048)
    yield vector("a grant from a browser, of no installation", installation="", notice="")
    yield vector("a notice beyond ASCII", notice="größe-鍵")
    yield vector("a long case", case="c" * 63)
    leads = {
        "x of the encapsulated key": lambda key: point(key)[1] == 0,
        "y of the encapsulated key": lambda key: point(key)[33] == 0,
        "x and y of the encapsulated key": lambda key: point(key)[1] == 0 and point(key)[33] == 0,
        "the shared secret": lambda key: exchanged(key, private(recipient))[0] == 0,
    }
    for name, holds in leads.items():
        yield vector(f"a leading zero in {name}", ephemeral=scalar(name, holds))
    for number, name in ((1, "x"), (33, "y")):
        other = scalar(f"recipient {name}", lambda key, at=number: point(key)[at] == 0)
        yield vector(f"a leading zero in {name} of the recipient's key", recipient=other)
