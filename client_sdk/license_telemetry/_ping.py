"""Composes pings of the license claim and the facts of this machine. Never raises."""

from __future__ import annotations

from typing import Any, Callable, Dict, Optional

from . import _facts as detectors
from . import _levels as levels
from . import _wire as wire
from ._claims import moment
from ._settings import Settings

NO_CLAIM = {"status": "unlicensed"}  # a copy that knows of no license claims none

Json = Dict[str, Any]


def claim(said: Json) -> Json:
    """The `license` section of the words of a statement; see `_claims.claim_words`."""
    made = {**said, "expires_at": moment(said.get("expires_at"))}
    section: Json = levels.strip({"license": made}, "license")["license"]
    return section


def facts(level: str, product: Optional[str]) -> Json:
    """The facts allowed by `level`: `boot_id`, and above level license those of the system.

    A fact that fails is left out; it never costs a ping.
    """
    found = {"boot_id": _fact("boot_id", product or "")}
    if level != "license":
        found["os"] = _fact("operating_system")
        found["host"] = _fact("host", product or "")
        found["virtualization"] = _fact("virtualization")
        found["runtime"] = _fact("runtime")
    return {name: value for name, value in found.items() if value is not None}


def machine(product: Optional[str]) -> Optional[str]:
    """A digest that identifies this machine; None if unknown, and in containers, where it often changes."""
    if (_fact("virtualization") or {}).get("container"):
        return None
    digest = _fact("machine_digest", product or "")
    return digest if isinstance(digest, str) else None


def _fact(name: str, *arguments: str) -> Any:
    try:
        detect: Callable[..., Any] = getattr(detectors, name)
        return detect(*arguments)
    except Exception:
        return None


def compose(
    settings: Settings,
    level: str,
    *,
    notice: Optional[str],
    reason: str,
    at: float,
    license_claim: Json,
    known: Json,
    lost: Json,
    usage: Optional[Json],
) -> Json:
    """A ping without its sequence number, stripped to `level`."""
    whole = {
        "ping_id": wire.uuid7(),
        "occurred_at": wire.timestamp(at),
        "reason": reason,
        "privacy": {"notice_version": notice, "level": level},
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
    return levels.strip(whole, level)
