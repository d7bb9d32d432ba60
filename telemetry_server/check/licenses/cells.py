"""One cell of a license row becomes one value, or a ValueError that says what to do. Pure.

A cell is a text, or in JSON also a number, a boolean, a list or an object. Empty cells are None, and are not
parsed.
"""

import difflib
import ipaddress
import re
import unicodedata
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from typing import Any, TypeAlias
from uuid import UUID

import idna
import orjson

from telemetry_server.check.networks import unmapped
from telemetry_server.model import LARGEST_INTEGER
from telemetry_server.text import hidden_in

Parse: TypeAlias = Callable[[Any], Any]

MOST_IN_A_LIST = 100
MOST_CUSTOM = 50
LONGEST_CUSTOM = 1_000
MOST_SEATS = 2**31 - 1
EARLIEST, LATEST = 1970, 9999
NONE = "none"
LONGEST_KEY = 512

_SEPARATOR = re.compile(r"[\s,;]+")
_BEFORE_A_PATH = re.compile(r"\s*[,;\n]\s*|\s+(?=[/\\]|[A-Za-z]:[/\\])")
_EMAIL = re.compile(r"[^@\s,;<>]+@[^@\s,;<>]+")
_DOMAIN = re.compile(r"(\*\.)?[\w-]{1,63}(\.[\w-]{1,63})*")
_CUSTOM_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_ACCOUNT = re.compile(r"[a-z0-9_-]{1,32}:\S(?:.{0,198}\S)?")
_NUMBER = re.compile(r"([0-9]{1,10})(?:\.0{1,6})?")  # pandas writes a 2 beside an empty cell as 2.0
_SWITCHES = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}

# Dates in other forms than ISO 8601; the advice names the ISO form.
_NO_DATE = re.compile(r"0000-00-00(?:[ T]00:00(?::00(?:\.0+)?)?Z?)?")
_MIDNIGHT = re.compile(r"(\d{4}-\d\d-\d\d)[ T]00:00(?::00(?:\.0+)?)?")
_EPOCH = re.compile(r"\d{9,10}|\d{12,13}")
_EPOCH_SECONDS_DIGITS = 10
_DAY_OF_A_SHEET = re.compile(r"([2-7]\d{4})(?:[.,]\d+)?")
_FIRST_DAY_OF_SHEETS = date(1899, 12, 30)
_WITH_THE_YEAR_LAST = re.compile(r"(\d{1,2})[./-](\d{1,2})[./-](\d{2}|\d{4})\b.*")
_NEVER = {"never", "none", "no", "lifetime", "unlimited", "forever", "n/a", "-"}
_CENTURY = 2000

# A long number as a spreadsheet shortens it: only its first digits are left.
_SHORTENED = re.compile(r"[+-]?\d(?:(?:[.,]\d+)?E[+-]|[.,]\d+E)\d{1,3}", re.IGNORECASE)
_FLOAT = re.compile(r"\d+\.0")
_SPACE_BEFORE_OFFSET = re.compile(r"\s+(?=[+-]\d\d:?\d\d$|Z$)")


def visible(text: str) -> str:
    """The text without invisible characters: zero-width spaces, byte order marks, direction marks."""
    if text.isascii():
        return text
    return "".join(letter for letter in text if unicodedata.category(letter) != "Cf")


def text(longest: int) -> Callable[[Any], str]:
    """The parser of a text of at most `longest` characters, without white space around it."""

    def parse(value: Any) -> str:
        bare = _text(value)
        if len(bare) > longest:
            raise ValueError(f"has {len(bare)} characters, and may have {longest}")
        return bare

    return parse


_E_MAIL_TEXT, _KEY_TEXT = text(254), text(LONGEST_KEY)


def key(value: Any) -> str:
    """A license key, without white space around it and without invisible characters."""
    bare = _KEY_TEXT(visible(_text(value)))
    if not bare:
        raise ValueError("has only invisible characters")
    if _SHORTENED.fullmatch(bare) or _FLOAT.fullmatch(bare):
        raise ValueError(
            f"{_quoted(bare)} is a number that a spreadsheet or pandas made of the key; digits are lost; "
            "write the file again with the column as text"
        )
    return bare


def reference(longest: int) -> Callable[[Any], str]:
    """The parser of such a text that refuses a long number shortened by a spreadsheet."""

    def parse(value: Any) -> str:
        bare = text(longest)(value)
        if _SHORTENED.fullmatch(bare):
            raise ValueError(
                f"{_quoted(bare)} is what a spreadsheet leaves of a long number; "
                "write the file again with the column as text"
            )
        return bare

    return parse


def switch(value: Any) -> bool:
    """True or false."""
    found = value if isinstance(value, bool) else _SWITCHES.get(_text(value).lower())
    if found is None:
        raise ValueError(f"{_quoted(value)} is neither true nor false")
    return found


def one_of(values: type[StrEnum]) -> Parse:
    """The parser of exactly one of the words.

    The advice is a similar word with the same first letter, never the opposite: "inactive" is not "active".
    """
    words = {value.value: value for value in values}

    def parse(value: Any) -> StrEnum:
        bare = _text(value)
        if bare in words:
            return words[bare]
        begun_alike = [word for word in words if word[:1] == bare[:1].lower()]
        close = difflib.get_close_matches(bare.lower(), begun_alike, n=1)
        advice = f"; write {close[0]}" if close else "; write one of them"
        raise ValueError(f"{_quoted(bare)} is none of {', '.join(words)}{advice}")

    return parse


def email(value: Any) -> str:
    """An e-mail address in lower case, its domain in ASCII form (xn--…)."""
    bare = _E_MAIL_TEXT(unicodedata.normalize("NFC", visible(_text(value))).lower())
    if not _EMAIL.fullmatch(bare):
        raise ValueError(f"{_quoted(bare)} is no e-mail")
    name, _, host = bare.rpartition("@")
    with suppress(UnicodeError):  # a host that is not a DNS name stays as it is
        host = host if host.isascii() else idna.encode(host, uts46=True).decode()
    return _E_MAIL_TEXT(f"{name}@{host}")


def in_unicode(address: str) -> str:
    """The e-mail address with its domain in Unicode, as older versions stored it."""
    name, _, host = address.rpartition("@")
    try:
        return f"{name}@{idna.decode(host)}"
    except UnicodeError:
        return address


def account(value: Any) -> str:
    """An account of another system, in lower case: envato:ann_lee."""
    bare = visible(_text(value)).lower()
    if not _ACCOUNT.fullmatch(bare):
        raise ValueError(f"{_quoted(bare)} is no account such as envato:ann_lee")
    return bare


def seats(value: Any) -> int:
    """A number from 1 on."""
    number = int(value) if isinstance(value, float) and value.is_integer() else value
    if isinstance(value, str) and (found := _NUMBER.fullmatch(value.strip())):
        number = int(found[1])
    if not isinstance(number, int) or isinstance(number, bool) or not 1 <= number <= MOST_SEATS:
        raise ValueError(
            f"{_quoted(value)} is no number from 1 to {MOST_SEATS}; leave it empty for any number"
        )
    return number


def moment(value: Any) -> date | None:
    """A date, or a time in UTC, from ISO 8601 or seconds or milliseconds since 1970.

    A time without an offset is UTC. Midnight without an offset is a date, as databases write it; so is a
    Unix time at midnight UTC. Returns None for 0000-00-00, MySQL's notation for no date.
    """
    bare = str(value) if isinstance(value, int) and not isinstance(value, bool) else _text(value)
    if _NO_DATE.fullmatch(bare):
        return None
    try:
        found = _date_or_time(bare)
    except (ValueError, OverflowError):
        raise ValueError(f"{_quoted(bare)} is no date or time{_advice_for(bare)}") from None
    if not EARLIEST <= found.year <= LATEST:
        raise ValueError(f"{_quoted(bare)} is not in the years {EARLIEST} to {LATEST}")
    return found


def _date_or_time(bare: str) -> date:
    """Raises ValueError or OverflowError."""
    if _EPOCH.fullmatch(bare):
        found = datetime.fromtimestamp(int(bare) / (1 if len(bare) <= _EPOCH_SECONDS_DIGITS else 1000), UTC)
        return found.date() if found.time() == time.min else found
    if dated := _MIDNIGHT.fullmatch(bare):
        return date.fromisoformat(dated[1])
    try:
        return date.fromisoformat(bare)
    except ValueError:
        found = datetime.fromisoformat(_SPACE_BEFORE_OFFSET.sub("", bare))
    return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)


def _advice_for(bare: str) -> str:
    """The form to write instead, to be appended to the error message."""
    if bare.lower() in _NEVER:
        return "; leave it empty where there is none"
    if number := _DAY_OF_A_SHEET.fullmatch(bare):
        shown = _FIRST_DAY_OF_SHEETS + timedelta(days=int(number[1]))
        return f", but a spreadsheet's number of a day; format the column as dates, e.g. {shown}"
    if written := _WITH_THE_YEAR_LAST.fullmatch(bare):
        one, two, year = map(int, written.groups())
        year += _CENTURY if year < 100 else 0  # noqa: PLR2004  two digits
        orders = []
        for day, month in ((one, two), (two, one)):
            with suppress(ValueError):  # not a day of the calendar
                orders.append(date(year, month, day).isoformat())
        if orders:
            return f"; write the year first: {' or '.join(dict.fromkeys(orders))}"
    return " such as 2026-11-22 or 2026-11-22T10:00:00Z"


def identifier(value: Any) -> UUID:
    try:
        return UUID(_text(value))
    except ValueError:
        raise ValueError(f"{_quoted(value)} is no UUID") from None


# ── several in one cell ─────────────────────────────────────────────────────────────────────


def several(entry: Parse, split: Callable[[str], list[str]]) -> Parse:
    """The parser of a list, or of a text that `split` separates: the distinct entries in their order."""

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
    """Splits at spaces, commas and semicolons."""
    return [part for part in _SEPARATOR.split(cell) if part]


def paths(cell: str) -> list[str]:
    """Splits at commas and semicolons, and at a space only before a path: some paths contain spaces."""
    return [part for part in _BEFORE_A_PATH.split(cell) if part.strip()]


def domain(value: Any) -> str:
    """A domain name in lower case, which may begin with "*."."""
    bare = text(253)(visible(_text(value)).lower().rstrip("."))
    if not _DOMAIN.fullmatch(bare):
        raise ValueError(f"{_quoted(bare)} is no domain such as example.com or *.example.com")
    return bare


def network(value: Any) -> str:
    """An address or a network in canonical form; an IPv4-mapped one (::ffff:192.0.2.7) as IPv4."""
    bare = _text(value)
    try:
        found: ipaddress.IPv4Network | ipaddress.IPv6Network
        found = ipaddress.ip_network(bare.replace("%", " "), strict=False)  # a scope means nothing elsewhere
    except ValueError:
        raise ValueError(f"{_quoted(bare)} is no address such as 192.0.2.7 or 2001:db8::/32") from None
    found = unmapped(found)
    return str(found.network_address if found.prefixlen == found.max_prefixlen else found)


def environments(value: Any) -> tuple[str, ...]:
    """Names of environments; the single word "none" for an empty list."""
    found: tuple[str, ...] = several(text(64), words)(value)
    return () if found == (NONE,) else found


# ── custom fields ───────────────────────────────────────────────────────────────────────────


def custom_name(name: str) -> str:
    if not _CUSTOM_NAME.fullmatch(name):
        raise ValueError("the name of a custom field has 1 to 64 letters, digits, _, . and -")
    return name


def custom_value(value: Any) -> str | int | float | bool:
    """A text, a number or a boolean."""
    if isinstance(value, str):
        return text(LONGEST_CUSTOM)(value)
    if not isinstance(value, bool | int | float):
        raise ValueError("must be a text, a number, true or false")  # noqa: TRY004  one kind of error for all
    if not -LARGEST_INTEGER <= value <= LARGEST_INTEGER:  # also what is no number
        raise ValueError("is a number that not every JSON parser reads exactly")
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
    if hidden := hidden_in(bare):
        raise ValueError(f"has the invisible character {hidden}; remove it")
    return bare


def _quoted(value: Any) -> str:
    """The value as in a program, shortened to 60 characters."""
    shown = repr(value)
    return shown if len(shown) <= 60 else shown[:57] + "…"  # noqa: PLR2004  a glance
