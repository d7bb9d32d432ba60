"""Sorted lists in pages: the parameters `sort` and `page`, and the links of heads and pagers. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from telemetry_server.routing import Parameter
from telemetry_server.show.query import integer, one_of
from telemetry_server.show.responses import path_with
from telemetry_server.store.registry.license_lists import ListPage

ROWS = 50
_LAST_PAGE = 20_000

PAGE = Parameter("page", "The page of the list, from 1 on.", integer(1, _LAST_PAGE, default=1))


@dataclass(frozen=True, slots=True)
class Head:
    """The head of a column: the path that sorts by it, and "ascending" or "descending" if it is sorted so."""

    href: str
    sorted: str | None


def sort_parameter(names: Iterable[str], default: str | None = None) -> Parameter:
    """The parameter `sort`; `default` is one of the names, or one with "-" before it; None: it has none."""
    both = [sign + name for name in names for sign in ("", "-")]
    text = "The column to sort by; with - before it in descending order."
    return Parameter("sort", text, one_of(*both) | ({"default": default} if default else {}))


def wanted_part(asked: Mapping[str, Any]) -> ListPage:
    """The part of the list that a page shows."""
    return ListPage(asked["sort"], ROWS, (asked["page"] - 1) * ROWS)


def heads(request: web.Request, asked: Mapping[str, Any], names: Iterable[str]) -> dict[str, Head]:
    """The head of each column; the sorted one turns its direction, another begins with the largest."""
    made = {}
    for name in names:
        is_sorted = asked["sort"].removeprefix("-") == name
        descending = asked["sort"].startswith("-")
        following = name if is_sorted and descending else f"-{name}"
        direction = ("descending" if descending else "ascending") if is_sorted else None
        made[name] = Head(path_with(request, sort=following, page=None), direction)
    return made


def pager(request: web.Request, asked: Mapping[str, Any], total: int) -> dict[str, Any]:
    """The first and last row of the page, and the paths of the pages before and after it."""
    number = asked["page"]
    last = min(number * ROWS, total)
    return {
        "total": total,
        "first": min((number - 1) * ROWS + 1, total),
        "last": last,
        "previous": path_with(request, page=str(number - 1)) if number > 1 else None,
        "next": path_with(request, page=str(number + 1)) if last < total else None,
    }
