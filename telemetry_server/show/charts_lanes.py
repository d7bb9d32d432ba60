"""The timeline of one installation: a lane for each kind of fact on one axis of time, and its pings. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

_MOST_MARKS = 6
_NARROW = 3  # percent of the width, below which a segment has no text


@dataclass(frozen=True, slots=True)
class Segment:
    """A value from one time to another; x and width in percent. `name`: its class in CSS."""

    value: str
    x: float
    width: float
    since: datetime
    name: str

    @property
    def narrow(self) -> bool:
        return self.width < _NARROW


@dataclass(frozen=True, slots=True)
class Lane:
    """The values of one kind of fact, the oldest first."""

    name: str
    segments: tuple[Segment, ...]


@dataclass(frozen=True, slots=True)
class PingMark:
    """A ping, or a missing one: kind is "ping", "hollow", "fork" or "suspect"."""

    x: float
    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class Lanes:
    """The whole drawing; `labels` are texts at places of the axis."""

    lanes: tuple[Lane, ...]
    pings: tuple[PingMark, ...]
    labels: tuple[tuple[float, str], ...]


@dataclass(frozen=True, slots=True)
class TimeAxis:
    """A stretch of time as percent of a width."""

    start: datetime
    end: datetime

    def x(self, moment: datetime) -> float:
        whole = max((self.end - self.start).total_seconds(), 1)
        return round(min(100.0, max(0.0, 100 * (moment - self.start).total_seconds() / whole)), 2)

    def labels(self, zone: ZoneInfo) -> tuple[tuple[float, str], ...]:
        """Up to six days or hours at equal distances."""
        step = (self.end - self.start) / _MOST_MARKS
        moments = [(self.start + step * (number + 0.5)).astimezone(zone) for number in range(_MOST_MARKS)]
        short = self.end - self.start < timedelta(days=2)
        return tuple(
            (self.x(moment), f"{moment:%H:%M}" if short else f"{moment.day} {moment:%b}")
            for moment in moments
        )


def lane(
    name: str,
    field: str,
    present: Any,
    changes: Sequence[Mapping[str, Any]],
    axis: TimeAxis,
    *,
    classes: bool = False,
) -> Lane:
    """The lane of `field`, from its present value back through `changes`, the newest first.

    With `classes`, the value is the class of its segment in CSS; else segments alternate.
    """
    found: list[tuple[datetime, datetime, Any]] = []
    end, value = axis.end, present
    for change in changes:
        if change["field"] == field and change["changed_at"] >= axis.start:
            found.append((change["changed_at"], end, value))
            end, value = change["changed_at"], change["before"]
    found.append((axis.start, end, value))
    segments = [
        Segment(
            "unknown" if value is None else str(value),
            axis.x(since),
            round(axis.x(until) - axis.x(since), 2),
            since,
            str(value) if classes else ("alt" if number % 2 else "plain"),
        )
        for number, (since, until, value) in enumerate(found[::-1])
    ]
    return Lane(name, tuple(segment for segment in segments if segment.width > 0))
