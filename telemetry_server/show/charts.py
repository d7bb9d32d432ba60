"""The geometry of charts, in percent of the width and pixels of the height. Pure."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

from telemetry_server.check.ranges import Range

Percent: TypeAlias = float

_GAP = 0.25  # of a column's share of the width
_MOST_LABELS = 6


@dataclass(frozen=True, slots=True)
class Column:
    """One column. `label` stands below it; a `minor` one is hidden first where there is too little room.

    The count of an `open` column is not final.
    """

    starts_at: datetime
    value: int
    x: Percent
    width: Percent
    y: float
    height: float
    label: str | None
    minor: bool
    open: bool


@dataclass(frozen=True, slots=True)
class Line:
    """A line across the chart at a round value."""

    value: int
    y: float


@dataclass(frozen=True, slots=True)
class Columns:
    """A column chart over time."""

    columns: tuple[Column, ...]
    lines: tuple[Line, ...]
    height: int
    total: int
    hourly: bool


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a stacked bar."""

    name: str
    count: int
    x: Percent
    width: Percent


@dataclass(frozen=True, slots=True)
class Bar:
    """A labelled bar; `href` leads to its rows."""

    label: str
    count: int
    href: str | None = None


def columns(
    values: Iterable[tuple[datetime, int]],
    over: Range,
    *,
    height: int = 160,
    still_open: Collection[datetime] = (),
) -> Columns:
    """The chart of `values`, one per step of the range; the last step and those in `still_open` are open."""
    values = list(values)
    lines = _round_lines(max((value for _, value in values), default=0))
    top = lines[-1]
    every = -(-len(values) // _MOST_LABELS)
    share = 100 / len(values)
    made = tuple(
        Column(
            starts_at,
            value,
            x=round(share * (position + _GAP / 2), 3),
            width=round(share * (1 - _GAP), 3),
            y=round(height * (1 - value / top), 1),
            height=round(height * value / top, 1),
            label=_label(starts_at, over) if from_end % every == 0 else None,
            minor=from_end // every % 2 == 1,
            open=from_end == 0 or starts_at in still_open,
        )
        for position, (starts_at, value) in enumerate(values)
        for from_end in [len(values) - 1 - position]
    )
    at = tuple(Line(line, round(height * (1 - line / top), 1)) for line in lines)
    return Columns(made, at, height, sum(value for _, value in values), over.hourly)


def stack(counts: Sequence[tuple[str, int]]) -> tuple[Part, ...]:
    """The parts of one full-width bar, those that are not zero."""
    whole = sum(count for _, count in counts)
    parts, x = [], 0.0
    for name, count in counts:
        if count:
            width = 100 * count / whole
            parts.append(Part(name, count, round(x, 3), round(width, 3)))
            x += width
    return tuple(parts)


def _round_lines(highest: int) -> tuple[int, ...]:
    """One to three round values, the last of them at least `highest`."""
    step = 1
    while highest > 3 * step:  # 1, 2, 5, 10, 20, 50 …
        step = step * 5 // 2 if str(step)[0] == "2" else step * 2
    return tuple(step * count for count in range(1, max(1, -(-highest // step)) + 1))


def _label(moment: datetime, over: Range) -> str:
    return f"{moment:%H:%M}" if over.hourly else f"{moment.day} {moment:%b}"
