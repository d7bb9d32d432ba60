"""A ping as it was sent: its declared fields, and the names of what was dropped, with the reason. Pure."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from telemetry_server.check.fields import Carrier, Field, FieldType, Level, Registry
from telemetry_server.text import written_out

MOST_DROPPED = 50
_LONGEST_NAME = 80
_DIGESTS = {FieldType.DIGEST, FieldType.DIGESTS}
_HIDDEN = "(digest)"  # only its keyed hash is kept, so no one is shown the digest itself


class Dropped(NamedTuple):
    """The path of what was not kept, never its value."""

    path: str
    why: str


class Sent(NamedTuple):
    """Declared fields by section, as they were sent; and what was dropped."""

    kept: dict[str, Any]
    dropped: tuple[Dropped, ...]


def told_apart(ping: Mapping[str, Any], registry: Registry, most: Level = Level.USAGE) -> Sent:
    """What of a ping's JSON is kept and what is not; only for pings that are accepted.

    `most`: the level above which nothing is kept, whatever the level of the ping.
    """
    own, dropped = _level_of(ping), list[Dropped]()
    level = own if most.allows(own) else most
    kept: dict[str, Any] = {}
    for section, name, value in _leaves(ping, registry):
        path = f"{section}.{name}" if section else name
        if why := _reason(registry.fields.get(path), level):
            dropped.append(Dropped(written_out(path[:_LONGEST_NAME]), why))
            continue
        holder = kept.setdefault(section, {}) if section else kept
        holder[name] = _HIDDEN if registry.fields[path].kind in _DIGESTS else _inert(value)
    return Sent(kept, tuple(dropped[:MOST_DROPPED]))


def _inert(value: Any) -> Any:
    """The value with steering characters written out, as pings are stored."""
    if isinstance(value, str):
        return written_out(value)
    if isinstance(value, dict):
        return {written_out(name): _inert(inner) for name, inner in value.items()}
    return [_inert(inner) for inner in value] if isinstance(value, list) else value


def _leaves(ping: Mapping[str, Any], registry: Registry) -> Iterator[tuple[str, str, Any]]:
    """(section, name, value) of each member; an undeclared section is one member."""
    sections = registry.sections().keys() - {""}
    for name, value in ping.items():
        if name in sections and isinstance(value, dict):
            yield from ((name, inner, found) for inner, found in value.items())
        else:
            yield "", name, value


def _reason(field: Field | None, level: Level) -> str:
    if field is None or field.carrier is not Carrier.PING:
        return "not a declared field"
    return "" if level.allows(field.level) else f"above the level {level} of this copy"


def _level_of(ping: Mapping[str, Any]) -> Level:
    privacy = ping.get("privacy")
    named = privacy.get("level") if isinstance(privacy, dict) else None
    return Level(named) if named in list(Level) else Level.USAGE
