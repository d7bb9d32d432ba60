"""Write the golden vectors beside this file, from docs/protocol.md and nothing else.

    python tests/wire/generate.py [DIRECTORY]

Imports no code of ours but the golden pings: server and SDK are both held against what comes out.
"""

import hmac
import json
import struct
import sys
import zlib
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Iterable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import UUID

import golden_grants
import golden_pings

Json = dict[str, Any]

SLUG = "acme-billing"
KEY = "k1"
MASTER = sha256(b"golden master k1").digest()
PRODUCT = UUID("019ab6e0-0c5e-7b11-8a52-6d1c0f2b9a01")
INSTALLATION = UUID("019ab6ee-8f00-7aa0-b1c2-3d4e5f607182")
EXAMPLE = "the example in docs/protocol.md"

PING = {
    "ping_id": "019ab6ef-f2a0-7c44-8d53-1b6a0f4e7c90",
    "sequence": 1,
    "occurred_at": "2026-11-22T09:59:58.004Z",
    "privacy": {"level": "license"},
    "license": {"status": "trial"},
}
UPLOAD = {
    "upload_id": "019ab6f0-3c1e-7d2a-9b1e-5f0c2a7d9e11",
    "sent_at": "2026-11-22T10:00:03.120Z",
    "sdk": {"name": "acme-php", "version": "1.0.0"},
    "pings": [PING],
}
ANSWER = {
    "upload_id": UPLOAD["upload_id"],
    "results": [{"ping_id": PING["ping_id"], "sequence": 1, "status": "accepted"}],
    "missing": [],
    "next_ping_seconds": 86400,
    "notices": [],
    "server_time": "2026-11-22T10:00:03.207Z",
}
GONE = {
    "type": "about:blank",
    "title": "Gone",
    "status": 410,
    "detail": "This product no longer takes pings.",
    "code": "gone",
}
REFUSED = {
    "type": "about:blank",
    "title": "Unprocessable Content",
    "status": 422,
    "detail": "The body is JSON, but not what this address takes.",
    "code": "unprocessable",
    "errors": [{"pointer": "/pings", "detail": "must be an array of 1 to 500 pings"}],
}


def compact(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def gzipped(data: bytes) -> bytes:
    """One stored block: the same bytes from every zlib."""
    block = struct.pack("<BHH", 1, len(data), len(data) ^ 0xFFFF) + data
    return b"\x1f\x8b\x08" + bytes(6) + b"\xff" + block + struct.pack("<II", zlib.crc32(data), len(data))


# ── what the page promises, computed ────────────────────────────────────────────────────────


def secret_of(master: bytes, product: UUID, installation: UUID) -> bytes:
    return hmac.digest(master, b"installation" + product.bytes + installation.bytes, "sha256")


def signature(secret: bytes, method: str, path: str, body: bytes) -> str:
    return hmac.digest(secret, f"v1\n{method}\n{path}\n".encode() + body, "sha256").hex()


def receipt(secret: bytes, request_body: bytes, response_body: bytes) -> str:
    text = f"receipt\n{sha256(request_body).hexdigest()}\n".encode() + response_body
    return hmac.digest(secret, text, "sha256").hex()


def key_digest(slug: str, stripped_key: str) -> str:
    return sha256(f"license\n{slug}\n{stripped_key}".encode()).hexdigest()


def base64url(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()


# ── the vectors ─────────────────────────────────────────────────────────────────────────────

SECRET = secret_of(MASTER, PRODUCT, INSTALLATION)
PARENT_SECRET = secret_of(MASTER, PRODUCT, UUID(int=INSTALLATION.int + 1))


def secrets() -> Iterator[Json]:
    other_master = sha256(b"golden master k2").digest()
    other_product = UUID("019ab6e0-0c5e-7b11-8a52-6d1c0f2b9a02")
    for name, master, product, installation in (
        (EXAMPLE, MASTER, PRODUCT, INSTALLATION),
        ("another master key", other_master, PRODUCT, INSTALLATION),
        ("another product", MASTER, other_product, INSTALLATION),
        ("another installation", MASTER, PRODUCT, UUID(int=INSTALLATION.int + 1)),
        ("the product's and the installation's ids exchanged", MASTER, INSTALLATION, PRODUCT),
        ("ids of zeros and of ones", MASTER, UUID(int=0), UUID(int=2**128 - 1)),
    ):
        yield {
            "name": name,
            "master_hex": master.hex(),
            "product_id": str(product),
            "installation_id": str(installation),
            "secret": base64url(secret_of(master, product, installation)),
        }


def signatures() -> Iterator[Json]:
    upload = compact(UPLOAD)
    foreign = compact({**UPLOAD, "sdk": {"name": "Größe 日本語 😀", "version": "1"}})
    full = compact({**UPLOAD, "pings": [golden_pings.FULL]})
    fork = compact({"forked_from": str(UUID(int=INSTALLATION.int + 1))})
    yield signed(EXAMPLE, upload)
    yield signed("the same upload in gzip", gzipped(upload))
    yield signed("the same upload with one more space", upload + b" ")
    yield signed("an upload with every field", full)
    yield signed("characters beyond ASCII, unescaped", foreign)
    yield signed("an empty body", b"")
    yield signed("a body of line feeds", b"\n\n\n")
    yield signed("bytes that are no UTF-8", bytes(range(256)))
    yield signed("another path", upload, path="/v1/enroll")
    yield signed("another method", upload, method="PUT")
    yield signed("enrolling anew after a fork", fork, secret=PARENT_SECRET, path="/v1/enroll", offset=1)


def signed(
    name: str,
    body: bytes,
    *,
    secret: bytes = SECRET,
    method: str = "POST",
    path: str = "/v1/pings",
    offset: int = 0,
) -> Json:
    digest = signature(secret, method, path, body)
    installation = UUID(int=INSTALLATION.int + offset)
    return {
        "name": name,
        "secret": base64url(secret),
        "product": SLUG,
        "key": KEY,
        "installation_id": str(installation),
        "method": method,
        "path": path,
        "body_base64": b64encode(body).decode(),
        "hmac": digest,
        "header": f"v1 product={SLUG} key={KEY} installation={installation} hmac={digest}",
    }


def receipts() -> Iterator[Json]:
    upload, answer, gone = compact(UPLOAD), compact(ANSWER), compact(GONE)
    duplicate = answer.replace(b"accepted", b"duplicate")
    foreign = compact({**GONE, "detail": "Größe 日本語 😀"})
    yield receipted(EXAMPLE, upload, answer)
    yield receipted("the answer to the same upload in gzip", gzipped(upload), answer)
    yield receipted("the answer to the same upload, sent again", upload, duplicate)
    yield receipted("a product that is gone", upload, gone)
    yield receipted("an upload that is refused", compact({**UPLOAD, "pings": []}), compact(REFUSED))
    yield receipted("characters beyond ASCII, unescaped", upload, foreign)
    yield receipted("an empty answer to an empty body", b"", b"")
    yield receipted("an answer ending in a line feed", upload, answer + b"\n")
    yield receipted("another installation's secret", upload, answer, secret=PARENT_SECRET)


def receipted(name: str, request_body: bytes, response_body: bytes, *, secret: bytes = SECRET) -> Json:
    digest = receipt(secret, request_body, response_body)
    return {
        "name": name,
        "secret": base64url(secret),
        "request_body_base64": b64encode(request_body).decode(),
        "response_body_base64": b64encode(response_body).decode(),
        "hmac": digest,
        "header": f"v1 hmac={digest}",
    }


def key_digests() -> Iterator[Json]:
    plain = "ACME-1234-5678-7Q2K"
    for name, slug, key, stripped in (
        (EXAMPLE, SLUG, plain, plain),
        ("another product", "acme-hosting", plain, plain),
        ("spaces around it", SLUG, f"  {plain} ", plain),
        (
            "tab, line feed, vertical tab, form feed and carriage return around it",
            SLUG,
            f"\t\v{plain}\f\r\n",
            plain,
        ),
        ("no-break spaces around it", SLUG, f"\u00a0{plain}\u202f", plain),
        ("wide and thin spaces around it", SLUG, f"\u3000\u2003{plain}\u2009\u205f", plain),
        ("line and paragraph separators around it", SLUG, f"\u2028{plain}\u2029", plain),
        ("next line characters around it", SLUG, f"\u0085{plain}\u0085", plain),
        ("white space inside it stays", SLUG, " ACME 1234\t5678\n7Q2K ", "ACME 1234\t5678\n7Q2K"),
        ("a zero width space around it stays", SLUG, f"\u200b{plain}\u200b", f"\u200b{plain}\u200b"),
        ("a byte order mark around it stays", SLUG, f"\ufeff{plain}\ufeff", f"\ufeff{plain}\ufeff"),
        ("small letters stay small", SLUG, plain.lower(), plain.lower()),
        ("composed letters stay composed", SLUG, "Gr\u00f6\u00dfe-1", "Gr\u00f6\u00dfe-1"),
        ("decomposed letters stay decomposed", SLUG, "Gro\u0308\u00dfe-1", "Gro\u0308\u00dfe-1"),
        ("characters beyond the basic plane", SLUG, "鍵-😀", "鍵-😀"),
        ("a long key", SLUG, "k" * 300, "k" * 300),
        ("a key of one character", SLUG, " 0", "0"),
    ):
        yield {"name": name, "product": slug, "license_key": key, "key_digest": key_digest(slug, stripped)}


FILES = {
    "secrets.json": secrets,
    "signatures.json": signatures,
    "receipts.json": receipts,
    "key_digests.json": key_digests,
    "grants.json": golden_grants.grants,
    "pings_valid.json": golden_pings.valid,
    "pings_invalid.json": golden_pings.invalid,
}


def write(path: Path, entries: Iterable[Json]) -> None:
    """One entry a line, so that a change shows as the lines that changed."""
    lines = ",\n".join(json.dumps(entry) for entry in entries)
    path.write_text(f"[\n{lines}\n]\n", "ascii", newline="\n")


if __name__ == "__main__":
    directory = Path(sys.argv[1]) if sys.argv[1:] else Path(__file__).parent
    for file, entries in FILES.items():
        write(directory / file, entries())
