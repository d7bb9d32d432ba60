"""Small columns without axes, for a row of a table whose figures stand beside it. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from telemetry_server.show.chart_axes import ticks

Percent: TypeAlias = float

_GAP = 0.25  # of a column's share of the width


@dataclass(frozen=True, slots=True)
class Column:
    """One column: x and width in percent, y and height in pixels."""

    value: int
    x: Percent
    width: Percent
    y: float
    height: float


@dataclass(frozen=True, slots=True)
class Columns:
    """A column chart over time; `total` is the sum."""

    columns: tuple[Column, ...]
    height: int
    total: int


def columns(values: Sequence[int], *, height: int = 28) -> Columns:
    """The chart of `values`, one for each step."""
    top, share = ticks(max(values, default=0))[-1], 100 / max(len(values), 1)
    made = tuple(
        Column(
            value,
            x=round(share * (position + _GAP / 2), 3),
            width=round(share * (1 - _GAP), 3),
            y=round(height * (1 - value / top), 1),
            height=round(height * value / top, 1),
        )
        for position, value in enumerate(values)
    )
    return Columns(made, height, sum(values))
