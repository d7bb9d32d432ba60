"""Charts in a row of a table or in a card: ranked lists, sparklines, bars of seats. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

_SPARK_WIDTH, _SPARK_HEIGHT = 90, 20


@dataclass(frozen=True, slots=True)
class Ranked:
    """A row of a ranked list. `before`: its count in the period to compare with; None: not known."""

    label: str
    count: int
    href: str | None = None
    before: int | None = None
    title: str | None = None


@dataclass(frozen=True, slots=True)
class RankedList:
    """Rows, the most frequent first. `rest`: the number of those that are not shown."""

    title: str
    rows: Sequence[Ranked]
    whole: int
    rest: int = 0
    more: str | None = None
    unit: str = "Copies"

    def width(self, row: Ranked) -> float:
        """Of the fill behind the row, in percent of the longest."""
        longest = max((one.count for one in self.rows), default=0)
        return round(100 * row.count / longest, 1) if longest else 0

    @property
    def compared(self) -> bool:
        return any(row.before is not None for row in self.rows)


@dataclass(frozen=True, slots=True)
class Spark:
    """A small chart of columns without axes; `text` says what it shows."""

    path: str
    text: str
    width: int = _SPARK_WIDTH
    height: int = _SPARK_HEIGHT


@dataclass(frozen=True, slots=True)
class Seats:
    """Seats of a license: `used` of `seats` (None: unlimited). The bar is as wide as the larger one."""

    used: int
    seats: int | None

    @property
    def within(self) -> float:
        """The part of the bar that is used and paid for, in percent."""
        return self._percent(self.used if self.seats is None else min(self.used, self.seats))

    @property
    def excess(self) -> float:
        return 0 if self.seats is None else self._percent(max(0, self.used - self.seats))

    @property
    def over(self) -> int:
        return 0 if self.seats is None else max(0, self.used - self.seats)

    def _percent(self, count: int) -> float:
        whole = max(self.used, self.seats or 0, 1)
        return round(100 * count / whole, 1)


def spark(values: Sequence[int | None], text: str, *, width: int = _SPARK_WIDTH) -> Spark:
    """Columns, the highest as high as the chart; a value of 0 or None is a dot at the floor."""
    highest, share = max((value or 0 for value in values), default=0) or 1, width / max(len(values), 1)
    wide = round(share * 0.7, 1)
    path = "".join(
        f"M{round(share * number, 1):g} {_SPARK_HEIGHT}"
        f"v-{_height(value, highest):g}h{wide:g}v{_height(value, highest):g}z"
        for number, value in enumerate(values)
    )
    return Spark(path, text, width)


def _height(value: int | None, highest: int) -> float:
    return 1 if not value else max(3, round(_SPARK_HEIGHT * value / highest, 1))
