"""Filters of installations in use as chips, and the menu of those that can be added."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from aiohttp import web

from telemetry_server.check import ranges
from telemetry_server.check.filters.terms import EXACT, Filter, Operator, Term
from telemetry_server.show.filters import FILTERS, filter_from
from telemetry_server.show.formatting import country, inert
from telemetry_server.show.responses import path_with
from telemetry_server.store.dimensions import FACETED

_NAMES = {
    "license_status": "status",
    "license_source": "source",
    "os_name": "operating system",
    "vm": "virtualization",
    "asn": "network (ASN)",
    "seen": "seen within",
    "new": "first seen within",
    "attention": "pings",
    "q": "id",
}
_FILTERS = {parameter.name for parameter in FILTERS}
_MOST_VALUES = 8
_FIRST = ("verdict", "life", "version", "country", "status", "source", "os", "edition")
"""The facets that come first in the menu."""


@dataclass(frozen=True, slots=True)
class Chip:
    """A filter in use, the page without it, and the page with its contrary (None: it has none)."""

    name: str
    value: str
    without: str
    contrary: str | None = None


@dataclass(frozen=True, slots=True)
class Facet:
    """A field and its most frequent values: text, number, and the page with that filter."""

    name: str
    values: list[tuple[str, int, str]]


def chips(request: web.Request, asked: Mapping[str, Any]) -> list[Chip]:
    """Each filter in `asked`, as read by `read_query`, which must be valid."""
    return [
        chip for name, value in asked.items() if name in _FILTERS for chip in _chips_of(request, name, value)
    ]


def _chips_of(request: web.Request, name: str, value: Any) -> Iterator[Chip]:
    if name == "filter":
        yield from _terms(
            request, filter_from({"filter": value}, datetime.now(UTC), within=None, addresses=True)
        )
        return
    text = ranges.RANGES[value].text if name in {"seen", "new"} else str(value)
    yield Chip(_NAMES.get(name, name), text, path_with(request, **{name: None}, after=None, page=None))


def _terms(request: web.Request, wanted: Filter) -> Iterator[Chip]:
    for index, term in enumerate(wanted.terms):
        rest, turned = Filter(wanted.terms[:index] + wanted.terms[index + 1 :]), _turned(term)
        contrary = (
            None if turned is None else Filter((*wanted.terms[:index], turned, *wanted.terms[index + 1 :]))
        )
        yield Chip(
            term.field.name,
            str(term).removeprefix(term.field.name),
            path_with(request, filter=str(rest) or None, after=None, page=None),
            None if contrary is None else path_with(request, filter=str(contrary), after=None, page=None),
        )


def _turned(term: Term) -> Term | None:
    if term.operator not in EXACT:
        return None
    return replace(term, operator=Operator.UNEQUAL if term.operator is Operator.EQUAL else Operator.EQUAL)


def facet_menu(request: web.Request, counted: Mapping[str, Mapping[str | None, int]]) -> list[Facet]:
    """The values of each field that are there, the most frequent first; without fields that are in use."""
    order = sorted(FACETED, key=lambda one: _FIRST.index(one.name) if one.name in _FIRST else len(_FIRST))
    found = []
    for one in order:
        values = [(value, count) for value, count in counted.get(one.name, {}).items() if value is not None]
        if len(values) > 1 and one.column not in request.query:
            name = _NAMES.get(one.column, one.name.replace("_", " "))
            found.append(
                Facet(
                    name[0].upper() + name[1:],
                    [
                        (
                            _named(one.name, value),
                            count,
                            path_with(request, **{one.column: value}, after=None, page=None),
                        )
                        for value, count in values[:_MOST_VALUES]
                    ],
                )
            )
    return found


def _named(field: str, value: str) -> str:
    return country(value) if field == "country" else inert(value).replace("_", " ")
