"""Lengths of time as options."""

from typing import Any

import click

from telemetry_server.check.durations import in_words, seconds_in


class Duration(click.ParamType[int]):
    """A length of time between two bounds, in seconds."""

    name = "duration"

    def __init__(self, shortest: int, longest: int) -> None:
        self.shortest, self.longest = shortest, longest

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        seconds = seconds_in(value)
        if seconds is None:
            self.fail(f"{value!r} is not a length of time such as 90s, 15m, 36h, 30d or 2w.", param, ctx)
        if not self.shortest <= seconds <= self.longest:
            bounds = f"{in_words(self.shortest)} to {in_words(self.longest)}"
            self.fail(f"{value!r} is out of bounds: {bounds}.", param, ctx)
        return seconds
