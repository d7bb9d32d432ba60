"""The time ranges offered to users, and the steps of their charts: whole hours or days (UTC)."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

_HOUR, _DAY = timedelta(hours=1), timedelta(days=1)
_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Range:
    """The last `steps` times `step`. Its chart has `steps` whole steps; the last one is incomplete."""

    name: str
    text: str
    step: timedelta
    steps: int

    def since(self, now: datetime) -> datetime:
        """The exact beginning of the range."""
        return now - self.step * self.steps

    def first_step(self, now: datetime) -> datetime:
        """The beginning of the chart: less than a step after the beginning of the range."""
        return now - (now - _EPOCH) % self.step - self.step * (self.steps - 1)

    def starts(self, now: datetime) -> Iterator[datetime]:
        """The beginning of each step of the chart."""
        first = self.first_step(now)
        return (first + self.step * number for number in range(self.steps))

    @property
    def hourly(self) -> bool:
        return self.step == _HOUR


RANGES = {
    chosen.name: chosen
    for chosen in (
        Range("24h", "24 hours", _HOUR, 24),
        Range("7d", "7 days", _DAY, 7),
        Range("30d", "30 days", _DAY, 30),
        Range("90d", "90 days", _DAY, 90),
    )
}
DEFAULT = RANGES["30d"]
LONGEST_FIRST = tuple(sorted(RANGES.values(), key=lambda one: one.step * one.steps, reverse=True))


def depth(over: Range) -> int:
    """The number of ranges that hold all of `over`: itself and those that are longer."""
    return LONGEST_FIRST.index(over) + 1


def daily(over: Range) -> Range:
    """`over` in whole days, for counts by day."""
    return Range("2d", "2 days", _DAY, 2) if over.hourly else over
