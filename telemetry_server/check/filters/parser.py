"""Reads the filter language. An error says what is wrong, where, and what is possible. Pure.

A value with white space, commas or quotation marks is quoted; inside, a backslash escapes a quotation mark
and a backslash.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, date, datetime, timedelta
from difflib import get_close_matches
from ipaddress import ip_address, ip_network
from typing import ClassVar
from uuid import UUID

from telemetry_server.check.filters.filter_fields import INSTALLATIONS, Fields
from telemetry_server.check.filters.terms import (
    EXACT,
    Field,
    Filter,
    Operator,
    Term,
    Value,
    ValueType,
)
from telemetry_server.check.licenses.cells import email
from telemetry_server.errors import BadRequest
from telemetry_server.model import NONE, UNKNOWN
from telemetry_server.text import IN_NO_TEXT

LONGEST_FILTER = 2_000
MOST_TERMS = 50
LONGEST_SPAN = timedelta(days=36_500)


class BadFilter(BadRequest):
    """The filter is not one: a term is a field, an operator and a value, like country=DE."""

    code: ClassVar[str] = "bad_filter"
    exit_code: ClassVar[int] = 2


_NAME = re.compile(r"\w+")
_OPERATOR = re.compile(r"!=|<=|>=|=|<|>")
_VALUE = re.compile(r'"((?:[^"\\]|\\["\\])*)"|([^\s,"=!<>][^\s,"]*)')
_SHOWN = 30


def read_filter(text: str, fields: Fields, values: Mapping[str, object]) -> Filter:
    """The filter in `text`, and a term for each value by field that is not None. Raises BadFilter."""
    wanted = parse_filter(text, fields)
    for name, value in values.items():
        if value is not None:
            wanted += parse_value(fields[name], str(value))
    return wanted


def parse_filter(text: str, fields: Fields = INSTALLATIONS) -> Filter:
    """The filter in `text`, by `fields`. Raises BadFilter, and nothing else."""
    if len(text) > LONGEST_FILTER:
        raise BadFilter(f"A filter may be {LONGEST_FILTER:,} characters long; this one has {len(text):,}.")
    if found := IN_NO_TEXT.search(text):
        raise _bad(text, found.start(), "this character can be in no value.")
    terms: list[Term] = []
    at = len(text) - len(text.lstrip())
    while at < len(text):
        if len(terms) == MOST_TERMS:
            more = "several values of a field fit into one: country=DE,FR."
            raise _bad(text, at, f"a filter may have {MOST_TERMS} terms; {more}")
        one, at = _read_term(text, at, fields)
        terms.append(one)
        at = len(text) - len(text[at:].lstrip())
    return Filter(tuple(terms))


def parse_value(field: Field, text: str) -> Filter:
    """The filter for rows whose `field` has the value `text`, unquoted. Raises BadFilter."""
    if IN_NO_TEXT.search(text):
        raise BadFilter(f"{field.name} has a character that can be in no value.")
    try:
        return Filter((Term(field, Operator.EQUAL, _values(field, Operator.EQUAL, [text])),))
    except ValueError as error:
        raise BadFilter(f"{field.name}={_shown(text)}: {error}.") from None


def _read_term(text: str, start: int, fields: Fields) -> tuple[Term, int]:
    named = _NAME.match(text, start)
    if named is None:
        raise _bad(text, start, "a term begins with a field, like country=DE.")
    field = fields.get(named[0].lower())
    if field is None:
        advice = f"{_shown(named[0])}{_meant(named[0], fields)}. The fields are {', '.join(fields)}."
        raise _bad(text, start, f"there is no field {advice}")
    found = _OPERATOR.match(text, named.end())
    if found is None:
        raise _bad(text, start, f"after {field.name} comes {_any_of(field.operators)}, and no white space.")
    operator = Operator(found[0])
    if operator not in field.operators:
        raise _bad(text, start, f"{field.name} is compared with {_any_of(field.operators)}.")
    texts, at = _read_values(text, found.end())
    try:
        return Term(field, operator, _values(field, operator, texts)), at
    except ValueError as error:
        raise _bad(text, start, f"{error}.") from None


def _read_values(text: str, at: int) -> tuple[list[str], int]:
    texts = []
    while True:
        found = _VALUE.match(text, at)
        if found is None:
            why = "the quotation mark has no partner" if text[at : at + 1] == '"' else "a value is missing"
            raise _bad(text, at, f'{why}; what is no plain word is quoted: "a b", with \\" and \\\\ inside.')
        quoted, bare = found.groups()
        texts.append(bare if quoted is None else re.sub(r"\\(.)", r"\1", quoted))
        at = found.end()
        if text[at : at + 1] != ",":
            break
        at += 1
    if text[at : at + 1] == '"':
        raise _bad(text, at, "a value is quoted whole or not at all.")
    if at < len(text) and not text[at].isspace():
        raise _bad(text, at, "white space stands between terms.")
    return texts, at


def _bad(text: str, at: int, why: str) -> BadFilter:
    where = f"At character {at + 1}, {_shown(text[at:])}" if at < len(text) else "At the end"
    return BadFilter(f"{where}: {why}")


def _shown(text: str) -> str:
    return repr(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…")


def _meant(text: str, known: Iterable[str]) -> str:
    close = get_close_matches(text[:_SHOWN].lower(), known, 1)
    return f" (did you mean {close[0]}?)" if close else ""


def _any_of(values: Iterable[str]) -> str:
    *others, last = values
    return f"{', '.join(others)} or {last}" if others else last


# ── values: a reader raises ValueError, which says what is wrong and what is possible ───────

_VERSION = re.compile(r"[vV]?([0-9]{1,15}(?:\.[0-9]{1,15}){0,7})")
_SPAN = re.compile(r"([0-9]{1,6})(min|h|d|w)")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_MOMENT = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]+(?:Z|[+-][0-9:]+)?")
_NETWORK = re.compile(r"(?:AS)?([0-9]{1,10})", re.IGNORECASE)
_NUMBER = re.compile(r"[0-9]{1,15}")
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_PREFIX = re.compile(r"[0-9a-f][0-9a-f-]{0,35}")
_UNITS = {
    "w": timedelta(weeks=1),
    "d": timedelta(days=1),
    "h": timedelta(hours=1),
    "min": timedelta(minutes=1),
}
YEARS = range(1970, 9999)
ANY_VERSION = "*"
"""Ends a version of which only the beginning is named."""


def version_key(version: str) -> tuple[int, ...] | None:
    """The leading numbers, as version_key of the schema returns them; None if there are none."""
    found = _VERSION.match(version)
    return tuple(map(int, found[1].split("."))) if found else None


def _values(field: Field, operator: Operator, texts: list[str]) -> tuple[Value, ...]:
    if len(texts) > 1 and operator not in EXACT:
        raise ValueError(f"{operator} takes one value")
    return tuple(_READERS[field.kind](field, operator, text) for text in texts)


def _choice(field: Field, _: Operator, text: str) -> str:
    if text.lower() not in field.values:
        raise ValueError(f"{field.name} is {_any_of(field.values)}{_meant(text, field.values)}")
    return text.lower()


def _version(_: Field, operator: Operator, text: str) -> str:
    if operator not in EXACT and version_key(text) is None:
        raise ValueError(f"{operator} takes a version that begins with a number, like 7.2")
    return text


def _address(_: Field, __: Operator, text: str) -> str:
    if text.lower() == UNKNOWN:
        return UNKNOWN
    try:
        return str(ip_address(text))
    except ValueError:
        raise ValueError(f"an address is like 192.0.2.7 or 2001:db8::7, or {UNKNOWN}") from None


def _address_range(_: Field, __: Operator, text: str) -> str:
    try:
        return str(ip_network(text, strict=False))
    except ValueError:
        raise ValueError("a network is like 192.0.2.0/24 or 2001:db8::/48") from None


def _country(_: Field, __: Operator, text: str) -> str:
    if text.lower() == UNKNOWN:
        return UNKNOWN
    if not re.fullmatch("[A-Za-z]{2}", text):
        raise ValueError(f"a country is two letters, like DE, or {UNKNOWN}")
    return text.upper()


def _network(_: Field, __: Operator, text: str) -> str:
    if text.lower() == UNKNOWN:
        return UNKNOWN
    if not (found := _NETWORK.fullmatch(text)):
        raise ValueError(f"a network operator is a number, like 64500 or AS64500, or {UNKNOWN}")
    return str(int(found[1]))


def _prefix(_: Field, __: Operator, text: str) -> str:
    if not _PREFIX.fullmatch(text.lower()):
        raise ValueError("an id begins with up to 36 of 0 to 9, a to f and hyphens")
    return text.lower()


def _identity(field: Field, __: Operator, text: str) -> str:
    if text.lower() == NONE:
        return NONE
    if not _UUID.fullmatch(text.lower()):
        raise ValueError(f"a {field.name} is named by its whole id, or is {NONE}")
    return str(UUID(text))


def _email(_: Field, __: Operator, text: str) -> str:
    try:
        return email(text)
    except ValueError:  # matches no customer
        return text.lower()


def _number(field: Field, _: Operator, text: str) -> int:
    if not _NUMBER.fullmatch(text):
        raise ValueError(f"{field.name} is compared with a number, like 5")
    return int(text)


def _time(field: Field, operator: Operator, text: str) -> Value:
    if text.lower() == NONE and field.kind is ValueType.TIME_AHEAD and operator in EXACT:
        return NONE
    if found := _SPAN.fullmatch(text):
        return _span(field, operator, int(found[1]) * _UNITS[found[2]])
    try:
        value = date.fromisoformat(text) if _DATE.fullmatch(text) else _moment(text)
    except (ValueError, OverflowError):
        value = None
    if value is None or value.year not in YEARS:
        raise ValueError(
            f"{field.name} is compared with a span, like 30d, 12h or 90min, a date, like 2026-11-22, "
            f"or a time, like 2026-11-22T10:00:00Z, of the years {YEARS[0]} to {YEARS[-1]}"
        )
    return value


def _span(field: Field, operator: Operator, span: timedelta) -> timedelta:
    if operator in EXACT:
        off = "ago" if field.kind is ValueType.TIME else "ahead"
        raise ValueError(f"a span is compared with < or >: {field.name}<30d is less than 30 days {off}")
    if span > LONGEST_SPAN:
        raise ValueError(f"a span may be {LONGEST_SPAN.days} days")
    return span


def _moment(text: str) -> datetime | None:
    """The time in UTC, which is also the default offset; None for another form. Raises ValueError."""
    if not _MOMENT.fullmatch(text):
        return None
    moment = datetime.fromisoformat(text)
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


_READERS: dict[ValueType, Callable[[Field, Operator, str], Value]] = {
    ValueType.TEXT: lambda _field, _operator, text: text,
    ValueType.CHOICE: _choice,
    ValueType.FLAG: _choice,
    ValueType.VERSION: _version,
    ValueType.TIME: _time,
    ValueType.TIME_AHEAD: _time,
    ValueType.NUMBER: _number,
    ValueType.COUNTRY: _country,
    ValueType.NETWORK: _network,
    ValueType.PREFIX: _prefix,
    ValueType.EMAIL: _email,
    ValueType.LOWER_CASE: lambda _field, _operator, text: text.lower(),
    ValueType.IDENTITY: _identity,
    ValueType.ADDRESS: _address,
    ValueType.ADDRESS_RANGE: _address_range,
}
