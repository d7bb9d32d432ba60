"""Axes of charts: round ticks, short numbers, and which steps have a label. Pure."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

_UNITS = ((10**9, "G"), (10**6, "M"), (10**3, "k"))
_FULL = 10**5  # numbers below are written out
_DIGITS = 3
_MOST_LABELS = 8


def ticks(highest: int, lowest: int = 0, most: int = 4) -> tuple[int, ...]:
    """Round values from at most `lowest` to at least `highest`, 0 among them."""
    span = max(highest, 0) - min(lowest, 0)
    step = 1
    while span > most * step:  # 1, 2, 5, 10, 20, 50 …
        step = step * 5 // 2 if str(step)[0] == "2" else step * 2
    below, above = -(min(lowest, 0) // step), max(1, -(-max(highest, 0) // step))
    return tuple(step * count for count in range(-below, above + 1))


def short(value: int) -> str:
    """A number in little room: 12,345 up to 99,999, then 123 k and 1.23 M."""
    size = abs(value)
    if size < _FULL:
        return f"{value:,}"
    unit, letter = next((unit, letter) for unit, letter in _UNITS if size >= unit)
    return f"{_three_digits(value / unit)} {letter}"


def short_tick(value: int) -> str:
    """A number at an axis: 800, 1.2 k, 15 k, 1.5 M."""
    size = abs(value)
    for unit, letter in _UNITS:
        if size >= unit:
            return f"{value / unit:.10g} {letter}"
    return str(value)


def time_labels(starts: Sequence[datetime], step: timedelta, zone: ZoneInfo) -> list[str | None]:
    """The label of each step, None for most: the first of months, Mondays, days, or every sixth hour."""
    if step < timedelta(days=1):
        return [_hour_label(start.astimezone(zone)) for start in starts]
    days = [start.date() for start in starts]
    if step >= timedelta(days=28) or len(starts) * step > timedelta(days=130):
        chosen = [
            number for number, day in enumerate(days) if number == 0 or day.month != days[number - 1].month
        ]
        return _labelled(chosen, [f"{day:%b}" if day.month > 1 else f"{day:%b %Y}" for day in days])
    names = [f"{day.day} {day:%b}" for day in days]
    if len(days) <= _MOST_LABELS or step > timedelta(days=1):
        return _labelled(list(range(len(days))), names)
    return _labelled([number for number, day in enumerate(days) if day.weekday() == 0], names)


def _labelled(chosen: Sequence[int], names: Sequence[str]) -> list[str | None]:
    """The names of those chosen, thinned to as many as there is room for."""
    every = -(-len(chosen) // _MOST_LABELS)
    kept = set(chosen[::every]) if chosen else set()
    return [name if number in kept else None for number, name in enumerate(names)]


def _hour_label(local: datetime) -> str | None:
    if local.hour % 6:
        return None
    return f"{local.day} {local:%b}" if local.hour == 0 else f"{local:%H:%M}"


def _three_digits(value: float) -> str:
    whole = len(str(abs(int(value))))
    return f"{value:.{max(0, _DIGITS - whole)}f}"
