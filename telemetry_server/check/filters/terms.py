"""The filter language: the parts of a filter and its text. Pure.

    verdict=unknown_key country=DE,FR version>=7.2 last_seen<30d

White space separates terms, and all of them must hold. A term is a field, an operator (= != < <= > >=) and a
value. With = and !=, commas separate several values: = holds for any of them, != for none. parser.py reads
filters; filter_fields.py has the fields.
"""

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from typing import TypeAlias

Value: TypeAlias = str | int | timedelta | date | datetime


class Operator(StrEnum):
    """The comparison of a field with a value."""

    EQUAL = "="
    UNEQUAL = "!="
    LESS = "<"
    AT_MOST = "<="
    MORE = ">"
    AT_LEAST = ">="


EXACT = (Operator.EQUAL, Operator.UNEQUAL)


class ValueType(StrEnum):
    """The type of the values of a field, which decides how they are read, compared and printed."""

    TEXT = "text"
    CHOICE = "one of"
    FLAG = "true or false"
    VERSION = "version"
    TIME = "time"
    TIME_AHEAD = "time ahead"
    NUMBER = "number"
    COUNTRY = "country"
    NETWORK = "network"
    EMAIL = "e-mail"
    LOWER_CASE = "text in lower case"
    PREFIX = "beginning of an id"
    IDENTITY = "id"
    ADDRESS = "address"
    ADDRESS_RANGE = "network of addresses"


_ORDERED = {ValueType.VERSION, ValueType.TIME, ValueType.TIME_AHEAD, ValueType.NUMBER}


@dataclass(frozen=True, slots=True)
class Field:
    """A field of a filter; `values` are the possible ones, if they are a closed set."""

    name: str
    kind: ValueType
    text: str
    values: tuple[str, ...] = ()

    @property
    def operators(self) -> tuple[Operator, ...]:
        return tuple(Operator) if self.kind in _ORDERED else EXACT


@dataclass(frozen=True, slots=True)
class Term:
    """One condition; several `values` only with = and !=."""

    field: Field
    operator: Operator
    values: tuple[Value, ...]

    def __str__(self) -> str:
        return self.field.name + self.operator + ",".join(map(printed, self.values))


@dataclass(frozen=True, slots=True)
class Filter:
    """Terms that all must hold; a filter without terms matches everything. Its `str` parses to the same."""

    terms: tuple[Term, ...] = ()

    def __str__(self) -> str:
        return " ".join(map(str, self.terms))

    def __add__(self, other: "Filter") -> "Filter":
        return Filter(self.terms + other.terms)

    @property
    def fields(self) -> frozenset[str]:
        """The names of the fields of its terms."""
        return frozenset(term.field.name for term in self.terms)


EVERYTHING = Filter()


def term(field: Field, operator: str, *values: Value) -> Filter:
    """A filter of one term, whose values must be valid."""
    return Filter((Term(field, Operator(operator), values),))


# ── printing ────────────────────────────────────────────────────────────────────────────────

_BARE = re.compile(r'[^\s,"=!<>][^\s,"]*')
_UNITS = {"d": timedelta(days=1), "h": timedelta(hours=1), "min": timedelta(minutes=1)}


def printed(value: Value) -> str:
    """The text of a value in a filter."""
    match value:
        case str():
            return value if _BARE.fullmatch(value) else '"' + re.sub(r'(["\\])', r"\\\1", value) + '"'
        case timedelta():
            return next(f"{value // unit}{name}" for name, unit in _UNITS.items() if not value % unit)
        case int():
            return str(value)
        case datetime():
            return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    return value.isoformat()
