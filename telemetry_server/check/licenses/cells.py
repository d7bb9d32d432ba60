"""One cell of a row about a license becomes one value, or a ValueError that says what to do. Pure.

A cell is a text, or of JSON a number, a truth value, a list or an object. What is empty is None, and
comes to none of these.
"""

import difflib
import ipaddress
import re
import unicodedata
from collections.abc import Callable
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
_NUMBER = re.compile(r"([0-9]{1,10})(?:\.0{1,6})?")  # 2.0 is what pandas makes of a 2 beside an empty cell
_SWITCHES = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}

# Dates in other forms than ISO 8601, of which the advice names the ISO form.
_NO_DATE = re.compile(r"0000-00-00(?:[ T]00:00(?::00(?:\.0+)?)?Z?)?")
_MIDNIGHT = re.compile(r"(\d{4}-\d\d-\d\d)[ T]00:00(?::00(?:\.0+)?)?")
_EPOCH = re.compile(r"\d{9,10}|\d{12,13}")
_EPOCH_SECONDS_DIGITS = 10
_DAY_OF_A_SHEET = re.compile(r"([2-7]\d{4})(?:[.,]\d+)?")
_FIRST_DAY_OF_SHEETS = date(1899, 12, 30)
_WITH_THE_YEAR_LAST = re.compile(r"(\d{1,2})[./-](\d{1,2})[./-](\d{2}|\d{4})\b.*")
_NEVER = {"never", "none", "no", "lifetime", "unlimited", "forever", "n/a", "-"}
_CENTURY = 2000

# What a spreadsheet leaves of a long number: its first digits.
_SHORTENED = re.compile(r"[+-]?\d(?:(?:[.,]\d+)?E[+-]|[.,]\d+E)\d{1,3}", re.IGNORECASE)
_FLOAT = re.compile(r"\d+\.0")
_SPACE_BEFORE_OFFSET = re.compile(r"\s+(?=[+-]\d\d:?\d\d$|Z$)")


def visible(text: str) -> str:
    """Without characters that cannot be seen: zero-width spaces, byte order marks, marks of direction."""
    if text.isascii():
        return text
    return "".join(letter for letter in text if unicodedata.category(letter) != "Cf")


def text(longest: int) -> Callable[[Any], str]:
    """Text without white space around it."""

    def parse(value: Any) -> str:
        bare = _text(value)
        if len(bare) > longest:
            raise ValueError(f"has {len(bare)} characters, and may have {longest}")
        return bare

    return parse


_E_MAIL_TEXT, _KEY_TEXT = text(254), text(LONGEST_KEY)


def key(value: Any) -> str:
    """A license key, without white space around it and without what cannot be seen."""
    bare = _KEY_TEXT(visible(_text(value)))
    if not bare:
        raise ValueError("is empty but for characters that cannot be seen")
    if _SHORTENED.fullmatch(bare) or _FLOAT.fullmatch(bare):
        raise ValueError(
            f"{_quoted(bare)} is a number that a spreadsheet or pandas made of the key; digits are lost; "
            "write the file again with the column as text"
        )
    return bare


def reference(longest: int) -> Callable[[Any], str]:
    """As text; not what a spreadsheet leaves of a long number."""

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
    """One of the words, as they are.

    The advice is a word that was misspelt, never its opposite: "inactive" is not nearly "active".
    """
    words = {value.value: value for value in values}

    def parse(value: Any) -> StrEnum:
        bare = _text(value)
        if bare in words:
            return words[bare]
        begun_alike = [word for word in words if word[:1] == bare[:1].lower()]
        close = difflib.get_close_matches(bare.lower(), begun_alike, n=1)
        advice = f"; write {close[0]}" if close else "; write the one that is meant"
        raise ValueError(f"{_quoted(bare)} is none of {', '.join(words)}{advice}")

    return parse


def email(value: Any) -> str:
    """An e-mail as mail is delivered to it: in small letters, the domain in its ASCII form (xn--…)."""
    bare = _E_MAIL_TEXT(unicodedata.normalize("NFC", visible(_text(value))).lower())
    if not _EMAIL.fullmatch(bare):
        raise ValueError(f"{_quoted(bare)} is no e-mail")
    name, _, host = bare.rpartition("@")
    return _E_MAIL_TEXT(f"{name}@{_ascii_host(host)}")


def in_unicode(address: str) -> str:
    """The e-mail with the letters of its domain, as the registry kept some before."""
    name, _, host = address.rpartition("@")
    try:
        return f"{name}@{idna.decode(host)}"
    except UnicodeError:
        return address


def _ascii_host(host: str) -> str:
    if host.isascii():
        return host
    try:
        return idna.encode(host, uts46=True).decode()
    except UnicodeError:  # is no name of the DNS, and stays as it is
        return host


def account(value: Any) -> str:
    """An account of another system, in small letters: envato:ann_lee."""
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
    """A date, or a time in UTC: ISO 8601, or seconds or milliseconds since 1970.

    A time without an offset is UTC. Midnight without one is a date, as databases write it, and so is a
    number of seconds at midnight UTC. None for 0000-00-00, which is MySQL's word for no date.
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
    """What to write in place of a date that has another form."""
    if bare.lower() in _NEVER:
        return "; leave it empty where there is none"
    if number := _DAY_OF_A_SHEET.fullmatch(bare):
        day = _FIRST_DAY_OF_SHEETS + timedelta(days=int(number[1]))
        return f", but a spreadsheet's number of a day; format the column as dates, e.g. {day}"
    if written := _WITH_THE_YEAR_LAST.fullmatch(bare):
        one, two, year = map(int, written.groups())
        year += _CENTURY if year < 100 else 0  # noqa: PLR2004  two digits
        orders = [
            f"{year:04}-{month:02}-{day:02}"
            for day, month in ((one, two), (two, one))
            if _is_a_day(year, month, day)
        ]
        if orders:
            return f"; write the year first: {' or '.join(dict.fromkeys(orders))}"
    return " such as 2026-11-22 or 2026-11-22T10:00:00Z"


def _is_a_day(year: int, month: int, day: int) -> bool:
    try:
        date(year, month, day)
    except ValueError:
        return False
    return True


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
    bare = text(253)(visible(_text(value)).lower().rstrip("."))
    if not _DOMAIN.fullmatch(bare):
        raise ValueError(f"{_quoted(bare)} is no domain such as example.com or *.example.com")
    return bare


def network(value: Any) -> str:
    """An address or a network, in the form everybody writes it; of ::ffff:192.0.2.7 the IPv4 address."""
    bare = _text(value)
    try:
        found: ipaddress.IPv4Network | ipaddress.IPv6Network
        found = ipaddress.ip_network(bare.replace("%", " "), strict=False)  # a scope means nothing elsewhere
    except ValueError:
        raise ValueError(f"{_quoted(bare)} is no address such as 192.0.2.7 or 2001:db8::/32") from None
    found = unmapped(found)
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
    if hidden := hidden_in(bare):
        raise ValueError(f"has the invisible character {hidden}; remove it")
    return bare


def _quoted(value: Any) -> str:
    """What was given, short enough to be read."""
    shown = repr(value)
    return shown if len(shown) <= 60 else shown[:57] + "…"  # noqa: PLR2004  a glance
