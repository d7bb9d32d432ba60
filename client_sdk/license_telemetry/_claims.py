"""The claim of the host about its license: the valid arguments of license(), and their words."""

from __future__ import annotations

from ._settings import SOURCES, STATUSES, printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, Optional

HINT_LENGTH = 4
SHORTEST_HINTED_KEY = 8


def why_no_status(status: object) -> Optional[str]:
    """Why license() is ignored as a whole; None if it is not."""
    if status in STATUSES:
        return None
    return f"that is no status: it must be one of {', '.join(STATUSES)}"  # not quoted: it may be a key


def why_left_out(
    key: object, source: object, source_detail: object, edition: object, expires_at: object
) -> Dict[str, str]:
    """The other arguments that are left out, each with its reason. No value is quoted: any may be the key."""
    found = {}
    if source is not None and source not in SOURCES:
        found["source"] = f"that is no source: it must be one of {', '.join(SOURCES)}; it is sent as unknown"
    texts = {"key": key, "source_detail": source_detail, "edition": edition}
    for name, value in texts.items():
        if value is not None and not isinstance(value, str):
            found[name] = f"the {name} is no text, but {type(value).__name__}: it is left out"
    if expires_at is not None and moment(_written(expires_at)) is None:
        found["expires_at"] = (
            "expires_at is neither a date nor a text like 2027-01-31 or 2027-01-31T12:00:00Z: it is left out"
        )
    return found


def claim_words(
    status: str, source: Any, source_detail: object, edition: object, expires_at: object
) -> Dict[str, Optional[str]]:
    """The words in which a claim is kept until its ping is made."""
    return {
        "status": status,
        "source": source if source is None or source in SOURCES else "unknown",
        "expires_at": printable(_written(expires_at), 64),
        "edition": printable(edition, 64),
        "source_detail": printable(source_detail, 256),  # last: what is too long for its place is cut here
    }


def key_words(product: Optional[str], key: object) -> Dict[str, Optional[str]]:
    """The words for the license key: the last characters of a long one, and its digest if the product is
    known. The key itself goes no further.
    """
    bare = key.strip() if isinstance(key, str) else ""
    if not bare:
        return {}
    hint = printable(bare[-HINT_LENGTH:], HINT_LENGTH) if len(bare) >= SHORTEST_HINTED_KEY else None
    if not product:
        return {"key_hint": hint}
    from ._sha256 import license_key_digest  # noqa: PLC0415  most calls come without a key

    return {"key_hint": hint, "key_digest": license_key_digest(product, bare)}


def moment(given: Optional[str]) -> Optional[str]:
    """The time in RFC 3339 and UTC, which is also the default offset; None for an invalid one."""
    from datetime import datetime, timezone  # noqa: PLC0415  most licenses have no end

    try:
        if given is None:
            return None
        found = datetime.fromisoformat(given.strip().replace("Z", "+00:00"))  # noqa: FURB162  3.8
        aware = found if found.tzinfo else found.replace(tzinfo=timezone.utc)
        return aware.astimezone(timezone.utc).replace(microsecond=0, tzinfo=None).isoformat() + "Z"
    except (ValueError, OverflowError):
        return None


def _written(given: Any) -> Optional[str]:
    written = given if isinstance(given, str) else getattr(given, "isoformat", lambda: None)()
    return written if isinstance(written, str) else None
