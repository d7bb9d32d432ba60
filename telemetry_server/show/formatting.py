"""Numbers, times and codes formatted for people, in the way that the viewer prefers."""

import json
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime, timedelta, tzinfo
from functools import cache
from importlib import resources
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from telemetry_server.check.days import shown_end
from telemetry_server.enrich.places.place import Place

_STEPS = (
    (timedelta(days=365), "y"),
    (timedelta(days=1), "d"),
    (timedelta(hours=1), "h"),
    (timedelta(minutes=1), "min"),
)
_LONGEST = 120


NUMBER_STYLES = {"en": (",", "."), "de": (".", ","), "fr": ("\u202f", ","), "de-CH": ("\u2019", ".")}
"""The signs between thousands and before decimals, by the name of the style."""


class Preferences(NamedTuple):
    """How times and numbers are written."""

    zone: tzinfo = UTC
    signs: tuple[str, str] = NUMBER_STYLES["en"]


_USUAL = Preferences()
_PREFERENCES = ContextVar("preferences", default=_USUAL)


@contextmanager
def preferring(time_zone: str, number_style: str) -> Iterator[None]:
    """Times and numbers are formatted in this way within the block; an unknown zone is UTC."""
    chosen = Preferences(zone_of(time_zone) or UTC, NUMBER_STYLES[number_style])
    before = _PREFERENCES.set(chosen)
    try:
        yield
    finally:
        _PREFERENCES.reset(before)


@cache
def zone_of(name: str) -> tzinfo | None:
    """The time zone of an IANA name; None if there is none."""
    try:
        return UTC if name == "UTC" else ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return None


def number(value: float) -> str:
    """1,234,567 in English; other styles have other signs."""
    thousands, point = _PREFERENCES.get().signs
    return f"{value:,}".translate({ord(","): thousands, ord("."): point})


def share(part: int, whole: int) -> str:
    """`part` as a percentage of `whole`; "< 1 %" and "99 %" where rounding would say 0 or 100."""
    percent = 100 * part / whole if whole else 0
    if 0 < percent < 1:
        return "< 1 %"
    return f"{min(percent, 99) if part < whole else percent:.0f} %"


def percent(part: int, whole: int) -> str:
    """`part` as a percentage of `whole` with a decimal; never 0 or 100 where it is not."""
    share = 100 * part / whole if whole else 0.0
    if part and share < 0.1:  # noqa: PLR2004
        return "< 0.1 %"
    return f"{min(share, 99.9) if part < whole else share:.1f} %"


def plural(count: int, one: str, many: str = "") -> str:
    return f"{number(count)} {one if count == 1 else many or one + 's'}"


def stamp(moment: datetime) -> str:
    """In full: 2026-11-22 09:59:58 UTC, or the time in the viewer's zone, with its offset."""
    zone = _PREFERENCES.get().zone
    if zone is UTC:
        return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
    return f"{moment.astimezone(zone):%Y-%m-%d %H:%M:%S} {_offset(moment, zone)}"


def _offset(moment: datetime, zone: tzinfo) -> str:
    offset = f"{moment.astimezone(zone):%z}"
    return f"UTC{offset[:3]}:{offset[3:5]}"


def until(expires_at: datetime, time_zone: str) -> str:
    """The end of a license: "through 2026-11-29", or "until" a time."""
    end = shown_end(expires_at, time_zone)
    return f"until {stamp(end)}" if isinstance(end, datetime) else f"through {end}"


def day(text: Any) -> str:
    """The date of a time that an installation sent; any other text unchanged."""
    try:
        return f"{datetime.fromisoformat(text):%Y-%m-%d}"
    except (TypeError, ValueError):
        return inert(text)


def ago(moment: datetime, now: datetime) -> str:
    """Roughly: 3 h ago."""
    if (passed := now - moment) < timedelta(0):
        return f"in {span(-passed)}" if passed < -timedelta(minutes=1) else "just now"
    return f"{span(passed)} ago" if passed >= timedelta(minutes=1) else "just now"


def span(passed: timedelta) -> str:
    """The largest unit that fits: 3 d."""
    for unit, letter in _STEPS:
        if passed >= unit:
            return f"{passed // unit} {letter}"
    return f"{passed.seconds} s"


def inert(value: Any) -> str:
    r"""A value that an installation sent, as one line of at most 120 characters.

    Control and format characters, including those for the writing direction, and line ends are escaped as
    \uXXXX.
    """
    shown = "".join(
        character if _is_harmless(character) else f"\\u{ord(character):04x}" for character in str(value)
    )
    return shown if len(shown) <= _LONGEST else f"{shown[:_LONGEST]}…"


def _is_harmless(character: str) -> bool:
    category = unicodedata.category(character)
    return category[0] != "C" and category not in {"Zl", "Zp"}


def short_id(value: Any) -> str:
    """The first 13 characters of an id, which encode its millisecond: enough to search for it."""
    return str(value)[:13]


def country(code: str | None) -> str:
    """The English name of an ISO 3166-1 alpha-2 code; any other text unchanged."""
    return _countries().get(code or "", inert(code or "unknown"))


def country_code(name: str) -> str | None:
    """The code of a country by its English name, in any case."""
    wanted = name.strip().casefold()
    return next((code for code, known in _countries().items() if known.casefold() == wanted), None)


def approximate(place: Place) -> str:
    """The precision of a place: "approximate, DB-IP Lite country 2026-11, /24"."""
    built = f"{place.built_on:%Y-%m}" if place.built_on else None
    source = " ".join(filter(None, (place.source, built)))
    network = f"/{place.prefix_length}" if place.prefix_length else None
    return ", ".join(filter(None, ("approximate", source, network)))


@cache
def _countries() -> dict[str, str]:
    text = resources.files("telemetry_server.show").joinpath("countries.json").read_text("utf-8")
    names: dict[str, str] = json.loads(text)
    return names


def numbers(ranges: Sequence[Sequence[int]]) -> str:
    """Half-open ranges as text: "3, 7 to 9"."""
    return ", ".join(
        number(start) if end - start == 1 else f"{number(start)} to {number(end - 1)}"
        for start, end in ranges
    )
