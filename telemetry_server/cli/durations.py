"""Lengths of time as people write them: 36h, 30d."""

import re
from typing import Any

import click

_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_DURATION = re.compile(r"([0-9]{1,12})([smhdw]?)", re.ASCII)


class Duration(click.ParamType[int]):
    """A length of time between two bounds, in seconds."""

    name = "duration"

    def __init__(self, shortest: int, longest: int) -> None:
        self.shortest, self.longest = shortest, longest

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        parts = _DURATION.fullmatch(value)
        if parts is None:
            self.fail(f"{value!r} is not a length of time such as 90s, 15m, 36h, 30d or 2w.", param, ctx)
        seconds = int(parts[1]) * _SECONDS[parts[2]]
        if not self.shortest <= seconds <= self.longest:
            bounds = f"{in_words(self.shortest)} to {in_words(self.longest)}"
            self.fail(f"{value!r} is out of bounds: {bounds}.", param, ctx)
        return seconds


def in_words(seconds: int) -> str:
    """The text that Duration reads, in the largest unit that fits: 36h."""
    for unit in ("d", "h", "m"):
        if seconds and seconds % _SECONDS[unit] == 0:
            return f"{seconds // _SECONDS[unit]}{unit}"
    return f"{seconds}s"
