"""SHA-256 without OpenSSL, of which `hashlib` would load three megabytes into a host that only counts."""

from __future__ import annotations

try:
    from _sha2 import sha256  # type: ignore[import-not-found,unused-ignore]  # Python 3.12
except ImportError:
    try:
        from _sha256 import sha256  # type: ignore[import-not-found,unused-ignore,no-redef]
    except ImportError:  # an interpreter built without them
        from hashlib import sha256  # type: ignore[assignment,unused-ignore]


def digest(data: bytes) -> str:
    """SHA-256 in lower-case hex."""
    return str(sha256(data).hexdigest())


def license_key_digest(slug: str, key: str) -> str:
    """The digest of a license key on the wire, in hex, without white space around the key."""
    return digest(f"license\n{slug}\n{key.strip()}".encode("utf-8", "replace"))
