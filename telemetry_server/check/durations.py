"""Lengths of time as people write them, such as 36h, and the bounds of those of a schedule. Pure."""

import re
from collections.abc import Mapping

MINUTE, DAY, YEAR = 60, 86_400, 31_536_000

BOUNDS: Mapping[str, tuple[int, int]] = {
    "interval": (MINUTE, YEAR),
    "grace": (0, YEAR),
    "lost_after": (MINUTE, 10 * YEAR),
    "new_for": (0, YEAR),
}
"""The shortest and the longest value of each part of a product's schedule, in seconds."""

_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_DURATION = re.compile(r"([0-9]{1,12})([smhdw]?)", re.ASCII)


def seconds_in(text: str) -> int | None:
    """The length in seconds; a number without a unit is one of seconds. None: it is no length of time."""
    parts = _DURATION.fullmatch(text)
    return None if parts is None else int(parts[1]) * _SECONDS[parts[2]]


def in_words(seconds: int) -> str:
    """The text that `seconds_in` reads, in the largest unit that fits: 36h."""
    for unit in ("d", "h", "m"):
        if seconds and seconds % _SECONDS[unit] == 0:
            return f"{seconds // _SECONDS[unit]}{unit}"
    return f"{seconds}s"
