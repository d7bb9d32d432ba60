"""The last filter: only declared, allowed and well-formed members of a ping are sent."""

from __future__ import annotations

from typing import Any, Callable, Dict

from ._counters import LARGEST_COUNT
from ._fields import FIELDS
from ._settings import LEVELS, is_name

LONGEST_STRING = 64
LONGER = {"license.source_detail": 256, "service.build": 128, "os.kernel": 128}
MOST_FEATURES = 256
MOST_DIGESTS = 16
DIGEST_LENGTH = 64

Json = Dict[str, Any]


def strip(ping: Json, level: str) -> Json:
    """`ping` without undeclared, malformed or higher members, and without empty sections."""
    allowed = LEVELS[: LEVELS.index(level) + 1]
    kept: Json = {}
    for name, value in ping.items():
        if name in FIELDS or not isinstance(value, dict):
            _keep(kept, name, name, value, allowed)
            continue
        section: Json = {}
        for inner, inner_value in value.items():
            _keep(section, inner, f"{name}.{inner}", inner_value, allowed)
        if section:
            kept[name] = section
    return kept


def lower(ping: Json, level: str) -> Json:
    """`ping` lowered to `level`, if it was made at a higher one."""
    made_at = ping.get("privacy", {}).get("level")
    if made_at not in LEVELS or LEVELS.index(made_at) <= LEVELS.index(level):
        return ping
    return strip({**ping, "privacy": {**ping["privacy"], "level": level}}, level)


def _keep(kept: Json, name: str, path: str, value: Any, allowed: Any) -> None:
    field = FIELDS.get(path)
    if field is None or field["level"] not in allowed:
        return
    if value is None and path.startswith("virtualization."):  # "none found" is information
        kept[name] = None
        return
    sound = _SOUND.get(field["type"], _string)(value, LONGER.get(path, LONGEST_STRING))
    if sound is not None:
        kept[name] = sound


def _string(value: Any, longest: int) -> Any:
    if not isinstance(value, str):
        return None
    return "".join(c for c in value if c.isprintable())[:longest].strip() or None


def _name(value: Any, _longest: int) -> Any:
    lowered = value.lower() if isinstance(value, str) else None
    return lowered if is_name(lowered) else None


def _integer(value: Any, _longest: int) -> Any:
    return value if isinstance(value, int) and 0 <= value <= LARGEST_COUNT else None


def _digest(value: Any, _longest: int) -> Any:
    whole = isinstance(value, str) and len(value) == DIGEST_LENGTH and not value.strip("0123456789abcdef")
    return value if whole else None


def _counters(value: Any, longest: int) -> Any:
    if not isinstance(value, dict):
        return None
    sound = {
        name: count for name, count in value.items() if is_name(name) and _integer(count, longest) is not None
    }
    return dict(list(sound.items())[:MOST_FEATURES])


def _digests(value: Any, longest: int) -> Any:
    if not isinstance(value, dict):
        return None
    sound = {name: digest for name, digest in value.items() if is_name(name) and _digest(digest, longest)}
    return dict(list(sound.items())[:MOST_DIGESTS]) or None


_SOUND: Dict[str, Callable[[Any, int], Any]] = {
    "name": _name,
    "integer": _integer,
    "digest": _digest,
    "counters": _counters,
    "digests": _digests,
}
