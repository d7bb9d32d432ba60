"""Charts over time as SVG paths: stacked columns, lines, diverging columns, with a period to compare. Pure.

The drawing is a box of WIDTH by `height`, stretched to the width of the page: x is in thousandths, y in
pixels. `parts.chart` draws it with its legend, its table, and a link to its CSV.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from itertools import pairwise
from typing import TypeAlias
from zoneinfo import ZoneInfo

from telemetry_server.show.chart_axes import short_tick, ticks, time_labels

WIDTH = 1000

_GAP = 0.22  # of a step's share of the width
_UTC = ZoneInfo("UTC")
_CHARACTER = 6.4  # pixels of a digit at an axis
_HEADROOM = 1.04
_EDGE = 6  # percent of the width, within which a label would leave the chart

Values: TypeAlias = Sequence[int | None]


@dataclass(frozen=True, slots=True)
class Series:
    """One colour of a chart. `name`: its class in CSS, s-{name}. `href`: its rows. None: not counted."""

    name: str
    text: str
    values: Values
    href: str | None = None

    @property
    def total(self) -> int:
        return sum(value or 0 for value in self.values)

    @property
    def last(self) -> int | None:
        return next((value for value in reversed(self.values) if value is not None), None)


@dataclass(frozen=True, slots=True)
class Flag:
    """A release or a note at a day. `told`: what the table says of it; a note has no room on the axis."""

    day: date
    text: str
    told: str = ""
    is_note: bool = False


@dataclass(frozen=True, slots=True)
class Shape:
    """A path of one series; `line`: it is stroked, else filled."""

    name: str
    path: str
    line: bool = False


@dataclass(frozen=True, slots=True)
class Mark:
    """A text at a place of the axis, in percent of the width; `anchor` as in SVG."""

    x: float
    text: str
    anchor: str = "middle"


@dataclass(frozen=True, slots=True)
class Tick:
    """A line across the chart."""

    y: float
    text: str


@dataclass(frozen=True, slots=True)
class TimeChart:
    """A chart as `parts.chart` draws it.

    `remarks` are the releases and notes of steps, a column of its table unless there are none.
    `zoom`: an address with {from} and {to} for days dragged over. `csv`: the address of its figures. `legend`
    shows each series with the value of its last step, or with its sum where values of steps add up (`sums`).
    """

    title: str
    starts: Sequence[datetime]
    series: tuple[Series, ...]
    shapes: tuple[Shape, ...]
    ticks: tuple[Tick, ...]
    labels: tuple[Mark, ...]
    flags: tuple[Mark, ...]
    notes: tuple[Mark, ...]
    veils: tuple[tuple[float, float], ...]
    height: int
    gutter: int
    zero: float
    step: timedelta
    zone: ZoneInfo = _UTC
    before: tuple[int | None, ...] = ()
    before_text: str = ""
    unit: str = ""
    zoom: str | None = None
    csv: str | None = None
    sums: bool = False
    stacked: bool = False
    still_open: Collection[datetime] = ()
    remarks: Mapping[datetime, str] = field(default_factory=dict)

    @property
    def total(self) -> int:
        """The sum of all values."""
        return sum(one.total for one in self.series)

    @property
    def hourly(self) -> bool:
        return self.step < timedelta(days=1)

    @property
    def names(self) -> list[str]:
        """The heads of the columns of its table, after that of the time."""
        more = ["Total"] if len(self.series) > 1 and self.stacked else []
        return [one.text for one in self.series] + more + ([self.before_text] if self.before else [])

    @property
    def rows(self) -> list[tuple[datetime, list[int | None]]]:
        """Its table: the start of each step, and the values."""
        return [(start, self._figures(number)) for number, start in enumerate(self.starts)]

    def _figures(self, number: int) -> list[int | None]:
        values = [one.values[number] for one in self.series]
        more = [_sum(values)] if len(self.series) > 1 and self.stacked else []
        return values + more + ([self.before[number]] if self.before else [])

    def when(self, start: datetime) -> str:
        """The name of a step."""
        if self.hourly:
            local = start.astimezone(self.zone)
            return f"{local:%Y-%m-%d %H:%M}"
        return f"{start:%Y-%m-%d}"


@dataclass(frozen=True, slots=True)
class Around:
    """What all charts take beside their series."""

    step: timedelta = timedelta(days=1)
    zone: ZoneInfo = _UTC
    height: int = 220
    unit: str = ""
    before: Values = ()
    before_text: str = "Before"
    flags: Sequence[Flag] = ()
    still_open: Collection[datetime] = ()
    zoom: str | None = None
    csv: str | None = None
    sums: bool = False


def stacked(title: str, starts: Sequence[datetime], series: Sequence[Series], around: Around) -> TimeChart:
    """Columns of each step, the first series at the bottom; the comparison is a dashed line of its sums."""
    sums = [sum(one.values[number] or 0 for one in series) for number in range(len(starts))]
    frame = _Frame(starts, around, max([*sums, *(value or 0 for value in around.before), 0]))
    floors, shapes = [0] * len(starts), []
    for one in series:
        tops = [floor + (value or 0) for floor, value in zip(floors, one.values, strict=True)]
        shapes.append(Shape(one.name, frame.boxes(list(zip(floors, tops, strict=True)))))
        floors = tops
    return frame.chart(title, series, shapes, stacked=True)


def diverging(
    title: str, starts: Sequence[datetime], up: Sequence[Series], down: Sequence[Series], around: Around
) -> TimeChart:
    """Columns above and below zero; values are positive, also of those that are drawn `down`."""
    highs = [sum(one.values[number] or 0 for one in up) for number in range(len(starts))]
    lows = [sum(one.values[number] or 0 for one in down) for number in range(len(starts))]
    frame = _Frame(starts, around, max([*highs, 0]), -max([*lows, 0]))
    shapes = []
    for group, sign in ((up, 1), (down, -1)):
        floors = [0] * len(starts)
        for one in group:
            tops = [floor + sign * (value or 0) for floor, value in zip(floors, one.values, strict=True)]
            boxes = [(min(pair), max(pair)) for pair in zip(floors, tops, strict=True)]
            shapes.append(Shape(one.name, frame.boxes(boxes)))
            floors = tops
    return frame.chart(title, (*up, *down), shapes)


def lines(title: str, starts: Sequence[datetime], series: Sequence[Series], around: Around) -> TimeChart:
    """A line for each series; a single one also has a filled area."""
    values = [value for one in series for value in (*one.values, *around.before) if value is not None]
    frame = _Frame(starts, around, max([*values, 0]))
    shapes = [Shape(one.name, frame.line(one.values), line=True) for one in series]
    if len(series) == 1:
        shapes.insert(0, Shape(f"{series[0].name} area", frame.area(series[0].values)))
    return frame.chart(title, series, shapes)


class _Frame:
    """The axes of one chart, and paths within them."""

    def __init__(self, starts: Sequence[datetime], around: Around, highest: int, lowest: int = 0) -> None:
        self.starts, self.around = starts, around
        self.values = ticks(highest, lowest)
        self.top, self.bottom = max(self.values[-1], highest) * _HEADROOM, self.values[0] * _HEADROOM
        self.share = WIDTH / max(len(starts), 1)

    def y(self, value: float) -> float:
        return round(self.around.height * (self.top - value) / (self.top - self.bottom), 1)

    def center(self, number: int) -> float:
        return self.share * (number + 0.5)

    def boxes(self, pairs: Sequence[tuple[int, int]]) -> str:
        """A column from the first to the second value of each step."""
        wide, first = round(self.share * (1 - _GAP), 2), self.share * _GAP / 2
        return "".join(
            f"M{round(self.share * number + first, 2):g} {self.y(low):g}h{wide:g}V{self.y(high):g}h-{wide:g}z"
            for number, (low, high) in enumerate(pairs)
            if high > low
        )

    def line(self, values: Values) -> str:
        """Through the middle of each step; it breaks where a value is None."""
        path, drawing = "", False
        for number, value in enumerate(values):
            if value is not None:
                path += f"{'L' if drawing else 'M'}{round(self.center(number), 1):g} {self.y(value):g}"
            drawing = value is not None
        return path

    def area(self, values: Values) -> str:
        known = [number for number, value in enumerate(values) if value is not None]
        if not known:
            return ""
        zero = self.y(0)
        between = range(known[0], known[-1] + 1)
        path = "M" + "L".join(f"{round(self.center(at), 1):g} {self.y(values[at] or 0):g}" for at in between)
        return f"{path}V{zero:g}H{self.center(known[0]):g}z"

    def chart(
        self, title: str, series: Sequence[Series], shapes: Sequence[Shape], *, stacked: bool = False
    ) -> TimeChart:
        around, starts = self.around, self.starts
        before = tuple(around.before)
        dashed = [Shape("before", self.line(before), line=True)] if any(v is not None for v in before) else []
        made = tuple(Tick(self.y(value), short_tick(abs(value))) for value in self.values)
        share = 100 / max(len(starts), 1)
        veiled = (number for number, start in enumerate(starts) if start in around.still_open)
        return TimeChart(
            title=title,
            starts=starts,
            series=tuple(series),
            shapes=(*(shape for shape in shapes if shape.path), *dashed),
            ticks=made,
            labels=self._labels(),
            flags=self._flags(),
            notes=tuple(
                self._mark(number, "; ".join(one.told for one in flags))
                for number, flags in self._by_step(is_note=True).items()
            ),
            veils=tuple((round(share * number, 3), round(share, 3)) for number in veiled),
            height=around.height,
            gutter=round(max(len(tick.text) for tick in made) * _CHARACTER) + 10,
            zero=self.y(0),
            step=around.step,
            zone=around.zone,
            before=before if dashed else (),
            before_text=around.before_text,
            unit=around.unit,
            zoom=around.zoom,
            csv=around.csv,
            sums=around.sums,
            stacked=stacked,
            still_open=around.still_open,
            remarks=self._remarks(),
        )

    def _labels(self) -> tuple[Mark, ...]:
        texts = time_labels(self.starts, self.around.step, self.around.zone)
        return tuple(self._mark(number, text) for number, text in enumerate(texts) if text)

    def _by_step(self, *, is_note: bool) -> dict[int, list[Flag]]:
        """The releases, or the notes, within the chart by the number of their step."""
        by_step: dict[int, list[Flag]] = {}
        ends = [*(start.date() for start in self.starts[1:]), date.max]
        for flag in self.around.flags:
            number = next((at for at, end in enumerate(ends) if flag.day < end), None)
            within = number is not None and self.starts and flag.day >= self.starts[0].date()
            if number is not None and within and flag.is_note is is_note:
                by_step.setdefault(number, []).append(flag)
        return dict(sorted(by_step.items()))

    def _remarks(self) -> dict[datetime, str]:
        found: dict[datetime, list[str]] = {}
        for is_note in (False, True):
            for number, flags in self._by_step(is_note=is_note).items():
                found.setdefault(self.starts[number], []).extend(one.told or one.text for one in flags)
        return {start: "; ".join(told) for start, told in found.items()}

    def _flags(self) -> tuple[Mark, ...]:
        """Releases within the chart; those of one step share a mark."""
        return tuple(
            Mark(
                self._mark(number, "").x,
                flags[0].text if len(flags) == 1 else f"{flags[-1].text} +{len(flags) - 1}",
                "start" if self.center(number) < WIDTH * 0.9 else "end",
            )
            for number, flags in self._by_step(is_note=False).items()
        )

    def _mark(self, number: int, text: str) -> Mark:
        x = round(self.center(number) / WIDTH * 100, 2)
        anchor = "start" if x < _EDGE else "end" if x > 100 - _EDGE else "middle"
        return Mark(x, text, anchor)


def _sum(values: Sequence[int | None]) -> int | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def steps_between(starts: Sequence[datetime]) -> timedelta:
    """The shortest time between two steps; a day if there is one step only."""
    return min((after - before for before, after in pairwise(starts)), default=timedelta(days=1))


@dataclass(frozen=True, slots=True)
class Heat:
    """A heatmap: a row for each name, a cell for each column, shaded by its share of the highest."""

    title: str
    columns: Sequence[str]
    rows: Sequence[tuple[str, Sequence[float | None]]]
    unit: str = ""
    shades: int = field(default=6)

    def shade(self, value: float | None) -> int:
        """From 0, none, to `shades`."""
        highest = max((one for _, row in self.rows for one in row if one is not None), default=0)
        if not value or not highest:
            return 0
        return max(1, -(-int(value * self.shades * 1000) // max(1, int(highest * 1000))))
