"""What installations are filtered by, and the filter language. Pure.

    verdict=unknown_key country=DE,FR version>=7.2 last_seen<30d

Terms stand apart by white space, and all of them must hold. A term is a field, an operator (= != < <= > >=)
and a value; with = and != several values by comma, of which any may hold, or none. Read by filter_parser.py.
"""

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from typing import TypeAlias

from telemetry_server.check.registry import load_registry
from telemetry_server.model import Life, Verdict

UNKNOWN, NONE = "unknown", "none"

Value: TypeAlias = str | timedelta | date | datetime


class Operator(StrEnum):
    """How a field is compared."""

    EQUAL = "="
    UNEQUAL = "!="
    LESS = "<"
    AT_MOST = "<="
    MORE = ">"
    AT_LEAST = ">="


class Kind(StrEnum):
    """What the values of a field are, and so how they are read, compared and printed."""

    TEXT = "text"
    CHOICE = "one of"
    FLAG = "true or false"
    VERSION = "version"
    TIME = "time"
    COUNTRY = "country"
    NETWORK = "network"
    PREFIX = "beginning of an id"
    LICENSE = "license"


_ORDERED = {Kind.VERSION, Kind.TIME}


@dataclass(frozen=True, slots=True)
class Field:
    """Something that installations are filtered by; `values` where only these there are."""

    name: str
    kind: Kind
    text: str
    values: tuple[str, ...] = ()

    @property
    def operators(self) -> tuple[Operator, ...]:
        return tuple(Operator) if self.kind in _ORDERED else (Operator.EQUAL, Operator.UNEQUAL)


_DECLARED = load_registry().fields
ATTENTION = ("missing", "lost", "forked")
_SWITCH = ("true", "false")
_THREE_WAYS = (*_SWITCH, UNKNOWN)

_FIELDS = (
    Field("product", Kind.TEXT, "The product's slug."),
    Field("verdict", Kind.CHOICE, "What the license registry says today.", tuple(Verdict)),
    Field(
        "status",
        Kind.CHOICE,
        "What the copy says of its license.",
        _DECLARED["license.status"].values,
    ),
    Field(
        "source",
        Kind.CHOICE,
        "Where it says the license is from; unknown if it doesn't.",
        _DECLARED["license.source"].values,
    ),
    Field("claim_mismatch", Kind.FLAG, "Its status is not what the registry says.", _SWITCH),
    Field("source_mismatch", Kind.FLAG, "Its source is not what the registry says.", _SWITCH),
    Field("license", Kind.LICENSE, "The id of its license in the registry; none: it is on none."),
    Field("version", Kind.VERSION, "Version of the software, or unknown; < and > go by its numbers."),
    Field("edition", Kind.TEXT, "The edition, or unknown."),
    Field("environment", Kind.TEXT, "production, staging …, or unknown."),
    Field("os", Kind.TEXT, "The distribution's ID, or unknown."),
    Field("vm", Kind.TEXT, "The hypervisor; none on bare metal, unknown if not told."),
    Field("container", Kind.TEXT, "The container manager; none outside one, unknown if not told."),
    Field("cloud", Kind.TEXT, "The cloud provider; none found, or unknown if not told."),
    Field("country", Kind.COUNTRY, "ISO 3166-1 alpha-2 code of the address, or unknown."),
    Field("asn", Kind.NETWORK, "Number of the network operator of the address, or unknown."),
    Field("hosting", Kind.FLAG, "The network is a hosting provider's, as far as known.", _THREE_WAYS),
    Field("life", Kind.CHOICE, "Whether it goes on reporting, by its product's schedule.", tuple(Life)),
    Field("first_seen", Kind.TIME, "When its first ping came: how long ago (30d, 12h), a date, a time."),
    Field("last_seen", Kind.TIME, "When its last ping came; last_seen<30d: less than 30 days ago."),
    Field("attention", Kind.CHOICE, "Pings are missing, given up as lost, or forked.", ATTENTION),
    Field("id", Kind.PREFIX, "How the installation's id begins."),
    Field("simulated", Kind.FLAG, "The product's fleet was made up by the simulator.", _SWITCH),
)

FIELDS = {field.name: field for field in _FIELDS}


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
    """Terms that all must hold; none: everything. `str` gives its text, which parses to the same."""

    terms: tuple[Term, ...] = ()

    def __str__(self) -> str:
        return " ".join(map(str, self.terms))

    def __add__(self, other: "Filter") -> "Filter":
        return Filter(self.terms + other.terms)

    @property
    def fields(self) -> frozenset[str]:
        """The names of the fields it asks for."""
        return frozenset(term.field.name for term in self.terms)


EVERYTHING = Filter()


def term(name: str, operator: str, *values: Value) -> Filter:
    """A filter of one term whose values are known to be good."""
    return Filter((Term(FIELDS[name], Operator(operator), values),))


# ── printing ────────────────────────────────────────────────────────────────────────────────

_BARE = re.compile(r'[^\s,"=!<>][^\s,"]*')
_UNITS = {"d": timedelta(days=1), "h": timedelta(hours=1), "min": timedelta(minutes=1)}


def printed(value: Value) -> str:
    """A value as it is written in a filter."""
    match value:
        case str():
            return value if _BARE.fullmatch(value) else '"' + re.sub(r'(["\\])', r"\\\1", value) + '"'
        case timedelta():
            return next(f"{value // unit}{name}" for name, unit in _UNITS.items() if not value % unit)
        case datetime():
            return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    return value.isoformat()
