"""What a searched text may mean: the kinds of things it looks like, the most certain first. Pure."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import ip_address, ip_network
from uuid import UUID

from telemetry_server.check.filters.filter_fields import INSTALLATIONS
from telemetry_server.check.filters.parser import BadFilter, parse_filter
from telemetry_server.check.filters.terms import ValueType, printed

SHORTEST, LONGEST = 2, 200


class Meaning(StrEnum):
    """What a text is taken for."""

    FILTER = "filter"
    ID = "id"
    BEGINNING_OF_ID = "beginning of an id"
    EMAIL = "e-mail"
    ADDRESS = "address"
    NETWORK = "network"
    OPERATOR_NUMBER = "number of an operator"
    VERSION = "version"
    KEY_HINT = "end of a key"
    VALUE = "value"
    HOSTNAME = "hostname"
    WORDS = "words"


@dataclass(frozen=True, slots=True)
class Reading:
    """One meaning of a text, and the text in its canonical form; of a value, the terms of filters."""

    meaning: Meaning
    text: str
    terms: tuple[str, ...] = ()


_ID_BEGINS = re.compile(r"[0-9a-f]{4}[0-9a-f-]{0,32}")
_OPERATOR = re.compile(r"AS([0-9]{1,10})", re.IGNORECASE)
_VERSION = re.compile(r"[vV]?[0-9]{1,15}(\.[0-9]{1,15}){1,7}([-+~][\w.+~-]+)?|[vV]?[0-9.]{1,20}\.\*")
_COUNTRY = re.compile(r"[A-Za-z]{2}")
_HINT = re.compile(r"[\w-]{2,8}")
_HOSTNAME = re.compile(r"(?=.{4,253}$)[\w-]{1,63}(\.[\w-]{1,63})+", re.ASCII)
_VALUES = {
    value: tuple(
        f"{field.name}={value}"
        for field in INSTALLATIONS.values()
        if field.kind is ValueType.CHOICE and value in field.values
    )
    for field in INSTALLATIONS.values()
    if field.kind is ValueType.CHOICE
    for value in field.values
}


def readings(text: str) -> list[Reading]:
    """The meanings of a text, the most certain first; words are always the last."""
    text = " ".join(text.split())[:LONGEST]
    return [*_readings(text), Reading(Meaning.WORDS, text)] if len(text) >= SHORTEST else []


def _readings(text: str) -> Iterator[Reading]:
    lower = text.lower()
    if (wanted := _filter(text)) is not None:
        yield Reading(Meaning.FILTER, wanted)
    if (identity := _whole_id(text)) is not None:
        yield Reading(Meaning.ID, identity)
        return
    if terms := _VALUES.get(lower.replace(" ", "_")):
        yield Reading(Meaning.VALUE, lower, terms)
    if "@" in text:
        yield Reading(Meaning.EMAIL, lower)
        return
    if (address := _address(text)) is not None:
        yield address
    if found := _OPERATOR.fullmatch(text):
        yield Reading(Meaning.OPERATOR_NUMBER, str(int(found[1])))
    yield from _looks_like(text)


def _looks_like(text: str) -> Iterator[Reading]:
    """What a single word may be, which may be several things."""
    lower = text.lower()
    if _VERSION.fullmatch(text):
        yield Reading(Meaning.VERSION, text)
    if _ID_BEGINS.fullmatch(lower):
        yield Reading(Meaning.BEGINNING_OF_ID, lower)
    if _COUNTRY.fullmatch(text):
        yield Reading(Meaning.VALUE, text.upper(), (f"country={text.upper()}",))
    if _HINT.fullmatch(text):
        yield Reading(Meaning.KEY_HINT, text)
    if _HOSTNAME.fullmatch(text):
        yield Reading(Meaning.HOSTNAME, lower)


def _filter(text: str) -> str | None:
    """The filter that the text is, also with a colon for the equals sign; None: it is none."""
    if not re.match(r"\w+\s*(:|=|!=|<|>)", text):
        return None
    try:
        return str(parse_filter(re.sub(r"(?<=\w):(?=\w)", "=", text, count=1) if "=" not in text else text))
    except BadFilter:
        return None


def _whole_id(text: str) -> str | None:
    try:
        return str(UUID(text)) if len(text) in {32, 36} else None
    except ValueError:
        return None


def _address(text: str) -> Reading | None:
    try:
        return Reading(Meaning.ADDRESS, str(ip_address(text)))
    except ValueError:
        pass
    try:
        return Reading(Meaning.NETWORK, str(ip_network(text, strict=False))) if "/" in text else None
    except ValueError:
        return None


def as_term(field: str, value: str) -> str:
    """A term of a filter, quoted where it has to be."""
    return f"{field}={printed(value)}"
