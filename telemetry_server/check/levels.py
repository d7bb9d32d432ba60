"""Reduces a ping to a lower level than its own. Pure."""

from collections.abc import Callable
from functools import lru_cache
from typing import TypeAlias
from uuid import UUID

import orjson

from telemetry_server.check.fields import Carrier, Level, Registry
from telemetry_server.model import Arrival, Ping, Step

_ATTRIBUTES = {"usage.features": "features", "usage.since": "used_since"}
_REMEMBERED = 20_000

Allowed: TypeAlias = Callable[[UUID, bytes | None, str | None], Level]
"""The most that may be kept of a ping, by installation, hash of the license key, version of the notice."""


class Reducer:
    """Removes the fields above a level from a ping that was read."""

    def __init__(self, registry: Registry) -> None:
        fields = registry.of(Carrier.PING)
        self._above = {level: [f for f in fields if not level.allows(f.level)] for level in Level}
        self._without = lru_cache(_REMEMBERED)(self._cut)  # facts repeat from ping to ping

    def reduce(self, ping: Ping, level: Level) -> None:
        """Removes what is above the level, and counts it as stripped."""
        for field in self._above[level]:
            attribute = _ATTRIBUTES.get(field.path)
            if attribute is not None and getattr(ping, attribute) is not None:
                setattr(ping, attribute, None)
                ping.stripped += 1
        ping.facts, stripped = self._without(ping.facts, level)
        ping.stripped += stripped

    def _cut(self, facts: str, level: Level) -> tuple[str, int]:
        """The facts without the fields above the level, and the number of these."""
        document, stripped = orjson.loads(facts), 0
        for field in self._above[level]:
            section = document.get(field.section)
            if isinstance(section, dict) and field.name in section:
                del section[field.name]
                stripped += 1
                if not section:
                    del document[field.section]
        return orjson.dumps(document).decode(), stripped


def kept_level(ping: Ping, installation_id: UUID, allowed: Allowed) -> Level:
    """The level above which nothing of the ping is kept: its own, or that which is `allowed`."""
    own = Level(ping.level)
    if own is Level.LICENSE:
        return own
    most = allowed(installation_id, ping.license_key_hash, ping.notice_version)
    return own if most.allows(own) else most


def reduce_to_levels(registry: Registry, allowed: Allowed) -> Step:
    """The step that keeps of each ping no more than `allowed`, even if its own level is higher."""
    reducer = Reducer(registry)

    def step(arrival: Arrival) -> None:
        installation_id = arrival.known_sender.installation_id
        for item in arrival.items:
            if isinstance(item, Ping):
                level = kept_level(item, installation_id, allowed)
                if level != item.level:
                    reducer.reduce(item, level)

    return step
