"""From what is known to a ping: the license claim, the facts of this machine, and the whole. Never raises."""

from __future__ import annotations

from datetime import date, datetime, timezone
from typing import Any, Callable, Dict, Optional

from . import facts as detectors
from . import levels, wire
from .forks import guard
from .settings import Settings

STATUSES = ("licensed", "trial", "expired", "invalid", "unlicensed")
SOURCES = ("direct", "reseller", "marketplace", "bundle", "trial", "gift", "unknown")
NO_CLAIM = {"status": "unlicensed"}  # a copy that was never told of a license claims none
HINT_LENGTH = 4
SHORTEST_HINTED_KEY = 8

Json = Dict[str, Any]


def claim(settings: Settings, product: Optional[str], said: Json) -> Optional[Json]:
    """The `license` section from the arguments of license(); None when the status is none of STATUSES.

    The key comes in here and goes no further: what is kept is its digest and its last characters.
    """
    if said.get("status") not in STATUSES:
        return None
    source = said.get("source")
    made = {
        "status": said["status"],
        **_key(product, said.get("key")),
        "source": source if source is None or source in SOURCES else "unknown",
        "source_detail": said.get("source_detail"),
        "edition": said.get("edition") or settings.edition,
        "expires_at": _moment(said.get("expires_at")),
    }
    section: Json = levels.strip({"license": made}, "license")["license"]
    return section


def _key(product: Optional[str], key: Any) -> Json:
    if not isinstance(key, str) or not key.strip():
        return {}
    bare = key.strip()
    found: Json = {"key_hint": bare[-HINT_LENGTH:] if len(bare) >= SHORTEST_HINTED_KEY else None}
    if product:
        found["key_digest"] = wire.license_key_digest(product, bare)
    return found


def _moment(given: Any) -> Optional[str]:
    """RFC 3339 with an offset; times without one are UTC."""
    try:
        if isinstance(given, str):
            given = datetime.fromisoformat(given.strip().replace("Z", "+00:00"))  # noqa: FURB162  3.8
        elif isinstance(given, date) and not isinstance(given, datetime):
            given = datetime(given.year, given.month, given.day, tzinfo=timezone.utc)
        if not isinstance(given, datetime):
            return None
        aware = given if given.tzinfo else given.replace(tzinfo=timezone.utc)
        return aware.astimezone(timezone.utc).replace(microsecond=0, tzinfo=None).isoformat() + "Z"
    except (ValueError, OverflowError):
        return None


def facts(settings: Settings, product: Optional[str]) -> Json:
    """What the level lets us look at: `boot_id`, and above level license the facts of the system.

    A fact that breaks is left out; it never costs a ping.
    """
    found = {"boot_id": _fact("boot_id", product or "")}
    if settings.level != "license":
        found["os"] = _fact("operating_system")
        found["host"] = _fact("host", product or "")
        found["virtualization"] = _fact("virtualization")
        found["runtime"] = _fact("runtime")
    return {name: value for name, value in found.items() if value is not None}


def machine(product: Optional[str]) -> Optional[str]:
    """A digest that names this machine; None where unknown, and in containers, which any start makes anew."""
    if (_fact("virtualization") or {}).get("container"):
        return None
    digest = _fact("machine_digest", product or "")
    return digest if isinstance(digest, str) else None


def _fact(name: str, *arguments: str) -> Any:
    try:
        detect: Callable[..., Any] = getattr(detectors, name)
        with guard:  # some import what only their system has
            return detect(*arguments)
    except Exception:
        return None


def compose(
    settings: Settings,
    *,
    reason: str,
    at: float,
    license_claim: Json,
    known: Json,
    lost: Json,
    usage: Optional[Json],
) -> Json:
    """A ping but for its sequence number, stripped to the level."""
    whole = {
        "ping_id": wire.uuid7(),
        "occurred_at": wire.timestamp(at),
        "reason": reason,
        "privacy": {"notice_version": settings.notice_version, "level": settings.level},
        "license": license_claim,
        "service": {
            "version": settings.version,
            "build": settings.build,
            "environment": settings.environment,
        },
        "outbox": lost,
        **known,
        "usage": usage or {},
    }
    return levels.strip(whole, settings.level)
