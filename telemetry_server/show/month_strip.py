"""The strip of the next twelve months: how many licenses expire in each. Pure."""

from calendar import monthrange
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date

MONTHS = 12


@dataclass(frozen=True, slots=True)
class Month:
    """A month of the strip; heights in percent of the highest one. `href` leads to its licenses."""

    first: date
    label: str
    licenses: int
    in_use: int
    height: float
    height_in_use: float
    href: str


def month_strip(
    today: date, counted: Mapping[date, tuple[int, int]], path: Callable[[date, date], str]
) -> list[Month]:
    """This month, from today on, and those after it; `counted`: licenses and those in use, by month.

    `path` is given the first and the last day of a month.
    """
    starts = [_month_after(today.replace(day=1), number) for number in range(MONTHS)]
    highest = max((counted[start][0] for start in starts if start in counted), default=0) or 1
    made = []
    for start in starts:
        licenses, in_use = counted.get(start, (0, 0))
        last = start.replace(day=monthrange(start.year, start.month)[1])
        made.append(
            Month(
                start,
                f"{start:%b}" if start.month > 1 and start is not starts[0] else f"{start:%b %Y}",
                licenses,
                in_use,
                round(100 * licenses / highest, 2),
                round(100 * in_use / highest, 2),
                path(max(start, today), last),
            )
        )
    return made


def _month_after(month: date, number: int) -> date:
    years, index = divmod(month.month - 1 + number, 12)
    return date(month.year + years, index + 1, 1)
