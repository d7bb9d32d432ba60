"""The map of the world: a shade for each country, over the shapes of static/world.svg. Pure."""

import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from telemetry_server.show.formatting import country, number
from telemetry_server.show.static_files import static_files

SHADES = 5

_BOX = re.compile(rb'viewBox="([-\d ]+)"')
_IDS = re.compile(rb'id="([A-Z]{2})"')


@dataclass(frozen=True, slots=True)
class Shaded:
    """A country with its shade, from 1 to SHADES, and its rows."""

    code: str
    shade: int
    text: str
    href: str


@dataclass(frozen=True, slots=True)
class WorldMap:
    """The countries that have any; `legend`: the least count of each shade. `unplaced`: copies elsewhere."""

    title: str
    places: tuple[Shaded, ...]
    legend: tuple[int, ...]
    unplaced: int
    box: str


def world_map(
    title: str, counted: Iterable[tuple[str | None, int]], href: Callable[[str], str], noun: str = "copies"
) -> WorldMap:
    """The map of counts by country code; shades are logarithmic, as one country often has half of all."""
    drawn, box = _drawn()
    rows = [(code, count) for code, count in counted if count]
    known = [(code, count) for code, count in rows if code in drawn]
    highest = max((count for _, count in known), default=1)
    return WorldMap(
        title,
        tuple(
            Shaded(code, _shade(count, highest), f"{country(code)}: {number(count)} {noun}", href(code))
            for code, count in known
            if code is not None
        ),
        tuple(sorted({_least(shade, highest) for shade in range(1, SHADES + 1)})),
        sum(count for code, count in rows if code not in drawn),
        box,
    )


def _drawn() -> tuple[frozenset[str], str]:
    """The codes of the shapes there are, and the box around them."""
    body = static_files()["world.svg"].body
    found = _BOX.search(body)
    return frozenset(code.decode() for code in _IDS.findall(body)), found[1].decode() if found else "0 0 1 1"


def _shade(count: int, highest: int) -> int:
    if highest <= 1:
        return SHADES
    return max(1, math.ceil(SHADES * math.log(count + 1) / math.log(highest + 1)))


def _least(shade: int, highest: int) -> int:
    """The lowest count of a shade."""
    return max(1, math.floor(math.pow(highest + 1, (shade - 1) / SHADES)))
