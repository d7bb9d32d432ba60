"""One cell of a row about a license becomes one value, or a ValueError that says what to do. Pure.

A cell is a text, or of JSON a number, a truth value, a list or an object. What is empty is None, and
comes to none of these.
"""

import difflib
import ipaddress
import re
from collections.abc import Callable
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, TypeAlias
from uuid import UUID

import orjson

Parse: TypeAlias = Callable[[Any], Any]

MOST_IN_A_LIST = 100
MOST_CUSTOM = 50
LONGEST_CUSTOM = 1_000
MOST_SEATS = 2**31 - 1
LARGEST_INTEGER = 2**53 - 1
EARLIEST, LATEST = 1970, 9999
NONE = "none"

_SEPARATOR = re.compile(r"[\s,;]+")
_BEFORE_A_PATH = re.compile(r"\s*[,;\n]\s*|\s+(?=[/\\]|[A-Za-z]:[/\\])")
_FORBIDDEN = re.compile("[\0-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")
_EMAIL = re.compile(r"[^@\s,;<>]+@[^@\s,;<>]+")
_DOMAIN = re.compile(r"(\*\.)?[\w-]{1,63}(\.[\w-]{1,63})*")
_CUSTOM_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_NUMBER = re.compile(r"[0-9]{1,10}")
_SPACE_BEFORE_OFFSET = re.compile(r"\s+(?=[+-]\d\d:?\d\d$|Z$)")


def text(longest: int) -> Callable[[Any], str]:
    """Text without white space around it."""

    def parse(value: Any) -> str:
        bare = _text(value)
        if len(bare) > longest:
            raise ValueError(f"has {len(bare)} characters, and may have {longest}")
        return bare

    return parse


def one_of(values: type[StrEnum]) -> Parse:
    """One of the words, as they are."""
    words = {value.value: value for value in values}

    def parse(value: Any) -> StrEnum:
        bare = _text(value)
        if bare in words:
            return words[bare]
        close = difflib.get_close_matches(bare.lower(), words, n=1)
        advice = f"; write {close[0]}" if close else ""
        raise ValueError(f"{_quoted(bare)} is none of {', '.join(words)}{advice}")

    return parse


def email(value: Any) -> str:
    """An e-mail in small letters: they are the same to everybody who delivers them."""
    bare = text(254)(_text(value).lower())
    if not _EMAIL.fullmatch(bare):
        raise ValueError(f"{_quoted(bare)} is no e-mail")
    return bare


def seats(value: Any) -> int:
    """A number from 1 on."""
    number = value
    if isinstance(value, str) and _NUMBER.fullmatch(value.strip()):
        number = int(value)
    if not isinstance(number, int) or isinstance(number, bool) or not 1 <= number <= MOST_SEATS:
        raise ValueError(
            f"{_quoted(value)} is no number from 1 to {MOST_SEATS}; leave it empty for any number"
        )
    return number


def moment(value: Any) -> datetime:
    """A date or a time, ISO 8601. Without an offset it is UTC; a date is its first moment."""
    bare = _text(value)
    try:
        found = datetime.fromisoformat(_SPACE_BEFORE_OFFSET.sub("", bare))
        found = found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise ValueError(
            f"{_quoted(bare)} is no date or time such as 2026-11-22 or 2026-11-22T10:00:00Z"
        ) from None
    if not EARLIEST <= found.year <= LATEST:
        raise ValueError(f"{_quoted(bare)} is not in the years {EARLIEST} to {LATEST}")
    return found


def identifier(value: Any) -> UUID:
    try:
        return UUID(_text(value))
    except ValueError:
        raise ValueError(f"{_quoted(value)} is no UUID") from None


# ── several in one cell ─────────────────────────────────────────────────────────────────────


def several(entry: Parse, split: Callable[[str], list[str]]) -> Parse:
    """A list, or one text with its entries separated; each once, in their order."""

    def parse(value: Any) -> tuple[Any, ...]:
        parts = value if isinstance(value, list) else split(_text(value))
        if len(parts) > MOST_IN_A_LIST:
            raise ValueError(f"has {len(parts)} entries, and may have {MOST_IN_A_LIST}")
        found = [entry(part) for part in parts]
        for each in found:
            if split(each) != [each]:
                raise ValueError(f"{_quoted(each)} is not one entry")
        return tuple(dict.fromkeys(found))

    return parse


def words(cell: str) -> list[str]:
    """What spaces, commas and semicolons separate."""
    return [part for part in _SEPARATOR.split(cell) if part]


def paths(cell: str) -> list[str]:
    """What commas and semicolons separate, and a space only where a path begins: some contain one."""
    return [part for part in _BEFORE_A_PATH.split(cell) if part.strip()]


def domain(value: Any) -> str:
    """A name in small letters, which may begin with *."""
    bare = text(253)(_text(value).lower().rstrip("."))
    if not _DOMAIN.fullmatch(bare):
        raise ValueError(f"{_quoted(bare)} is no domain such as example.com or *.example.com")
    return bare


def network(value: Any) -> str:
    """An address or a network, in the form everybody writes it."""
    bare = _text(value)
    try:
        found = ipaddress.ip_network(bare.replace("%", " "), strict=False)  # a scope means nothing elsewhere
    except ValueError:
        raise ValueError(f"{_quoted(bare)} is no address such as 192.0.2.7 or 2001:db8::/32") from None
    return str(found.network_address if found.prefixlen == found.max_prefixlen else found)


def environments(value: Any) -> tuple[str, ...]:
    """Names of environments; the one word none for not even one."""
    found: tuple[str, ...] = several(text(64), words)(value)
    return () if found == (NONE,) else found


# ── custom fields ───────────────────────────────────────────────────────────────────────────


def custom_name(name: str) -> str:
    if not _CUSTOM_NAME.fullmatch(name):
        raise ValueError("the name of a custom field has 1 to 64 letters, digits, _, . and -")
    return name


def custom_value(value: Any) -> str | int | float | bool:
    """A text, a number or a truth value."""
    if isinstance(value, str):
        return text(LONGEST_CUSTOM)(value)
    if not isinstance(value, bool | int | float):
        raise ValueError("must be a text, a number, true or false")  # noqa: TRY004  one kind of error for all
    if not -LARGEST_INTEGER <= value <= LARGEST_INTEGER:  # also what is no number
        raise ValueError("is a number that not everybody can read")
    return value


def custom_object(value: Any) -> dict[str, Any]:
    """An object of custom fields, or its JSON text; null removes one."""
    if isinstance(value, str):
        try:
            value = orjson.loads(value)
        except orjson.JSONDecodeError as error:
            raise ValueError(f"is no JSON ({error})") from None
    if not isinstance(value, dict) or len(value) > MOST_CUSTOM:
        raise ValueError(f"must be an object of at most {MOST_CUSTOM} fields")
    return {
        custom_name(name): None if each in (None, "") else custom_value(each) for name, each in value.items()
    }


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("must be a text")  # noqa: TRY004  one kind of error for all
    bare = value.strip()
    if _FORBIDDEN.search(bare):
        raise ValueError("has a character that no text has: a control character or half of a pair")
    return bare


def _quoted(value: Any) -> str:
    """What was given, short enough to be read."""
    shown = repr(value)
    return shown if len(shown) <= 60 else shown[:57] + "…"  # noqa: PLR2004  a glance
