"""The use of features: more on working days; a few features are popular, most are rare."""

from collections.abc import Iterator

import orjson

from telemetry_server.simulate.copies import USAGE_PROFILES
from telemetry_server.simulate.dice import Dice, Weighted, zipf
from telemetry_server.simulate.rows import Usage
from telemetry_server.simulate.store import USAGES
from telemetry_server.simulate.terms import Terms
from telemetry_server.simulate.world import DAY, FEATURES

_USAGE = 8
_WEEK = (1.0, 1.05, 1.05, 1.0, 0.9, 0.35, 0.25)
"""From Monday to Sunday."""
_POPULAR = Weighted(zipf(FEATURES, 0.8))


def usages(terms: Terms) -> Iterator[Usage]:
    """The usage sections of pings, by profile, day of the week, and chance."""
    for profile in range(USAGE_PROFILES):
        dice = Dice(terms.seed, _USAGE, profile)
        size = terms.interval / DAY * dice.exponential(100)
        often = {dice.pick(_POPULAR): size / rank for rank in range(1, dice.number(3, 12))}
        for day, busy in enumerate(_WEEK):
            for kind in range(USAGES):
                counts = {name: int(mean * busy * (0.6 + 0.8 * dice.unit())) for name, mean in often.items()}
                used = {name: count for name, count in sorted(counts.items()) if count}
                yield Usage((profile * len(_WEEK) + day) * USAGES + kind, orjson.dumps(used).decode())
