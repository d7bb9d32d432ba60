"""Which organisation runs a copy: a guess from what the registry, the mail and the network say. Pure.

A provider of hosting, mail or access is none: its name says where the copy is, not whose it is.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Confidence(StrEnum):
    """How far a guess goes."""

    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"


@dataclass(frozen=True, slots=True)
class Clues:
    """What is known of a copy. `of_hosting`: its network belongs to a hosting provider."""

    company: str | None = None
    mail: str | None = None
    hostname: str | None = None
    operator: str | None = None
    of_hosting: bool = False


@dataclass(frozen=True, slots=True)
class Guess:
    """An organisation, and why."""

    name: str
    confidence: Confidence
    reason: str


_FREE_MAIL = frozenset(
    [
        "gmail.com",
        "googlemail.com",
        "outlook.com",
        "hotmail.com",
        "live.com",
        "msn.com",
        "yahoo.com",
        "ymail.com",
        "icloud.com",
        "me.com",
        "mac.com",
        "aol.com",
        "gmx.de",
        "gmx.net",
        "gmx.com",
        "web.de",
        "t-online.de",
        "freenet.de",
        "mail.ru",
        "yandex.ru",
        "yandex.com",
        "proton.me",
        "protonmail.com",
        "tutanota.com",
        "fastmail.com",
        "zoho.com",
        "qq.com",
        "163.com",
        "126.com",
        "orange.fr",
        "free.fr",
        "laposte.net",
        "libero.it",
        "wp.pl",
        "o2.pl",
        "seznam.cz",
    ]
)
_ACCESS = re.compile(
    r"\b(telecom|telekom|telefonica|communications?|comcast|broadband|cable|mobile|wireless|internet|isp|fib(er|re)"
    r"|network services|hosting|cloud|data ?cent(er|re)|servers?|vps|cdn|vpn|transit|backbone)\b",
    re.IGNORECASE,
)
_GENERIC_HOST = re.compile(
    r"\d+[-.]\d+[-.]\d+|\b(static|dynamic|dyn|pool|dsl|cable|dial|ppp|client|customer|cust|broadband|vps|cloud|compute)\b"
)
_DOMAIN = re.compile(
    r"(?:[^.]+\.)*?((?:[^.]+\.(?:ac|co|com|edu|gob|gov|gv|ltd|me|mil|ne|net|nom|or|org|plc|sch)\.[^.]{2})|[^.]+\.[^.]+)"
)


def guesses(clues: Clues) -> list[Guess]:
    """The guesses, the most certain first, each name once."""
    found = [*_of_registry(clues), *_of_network(clues)]
    names: dict[str, Guess] = {}
    for one in found:
        names.setdefault(one.name.casefold(), one)
    return list(names.values())


def _of_registry(clues: Clues) -> Iterable[Guess]:
    if clues.company:
        yield Guess(clues.company, Confidence.HIGH, "The license belongs to this company.")
    _, _, domain = (clues.mail or "").rpartition("@")
    if domain and domain.casefold() not in _FREE_MAIL:
        yield Guess(domain.casefold(), Confidence.MEDIUM, "The customer's e-mail address is in this domain.")


def _of_network(clues: Clues) -> Iterable[Guess]:
    if clues.of_hosting:
        return
    name = (clues.hostname or "").rstrip(".").casefold()
    domain = registrable(name)
    if domain and not _GENERIC_HOST.search(name):
        yield Guess(domain, Confidence.MEDIUM, f"The address is named {name}.")
    if clues.operator and not _ACCESS.search(clues.operator):
        yield Guess(clues.operator, Confidence.LOW, "The address belongs to a network of this name.")


def registrable(hostname: str) -> str | None:
    """The domain under which others are sold, as far as its shape shows: example.com, example.co.uk."""
    found = _DOMAIN.fullmatch(hostname)
    return found and found[1]
