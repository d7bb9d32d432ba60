"""Redaction: which addresses, names and e-mails an export leaves out, and what it says instead. Pure.

The same value gets the same mark everywhere in a bag, such as [address 3], so that a reader still sees that
two rows share it. The marks are given by order of appearance, and the table of them is not exported.
"""

import re
from collections import Counter
from collections.abc import Callable, Mapping
from enum import StrEnum
from ipaddress import ip_address
from typing import Any


class Profile(StrEnum):
    """What an export leaves out."""

    NOTHING = "nothing"
    ADDRESSES = "addresses"
    PEOPLE = "people"
    """Addresses, and what names a person or a company, also in texts as far as it is an e-mail."""


MEANS = {
    Profile.NOTHING: "Nothing was left out.",
    Profile.ADDRESSES: "Network addresses and hostnames were left out.",
    Profile.PEOPLE: "Network addresses, hostnames, e-mails and names of customers and their people were left "
    "out. In texts that people wrote, e-mails and addresses were; names in them were not.",
}

_ADDRESS_FIELDS = {"client_address", "address", "network", "hostname", "addresses", "hostnames"}
_PERSON_FIELDS = {
    *("email", "company", "tax_id", "technical_contact", "account", "custom", "customer"),
    *("author", "actor", "owner", "by", "order_reference"),
}
_EMAIL = re.compile(r"[^\s@<>()\[\]\",;:]{1,64}@[^\s@<>()\[\]\",;:]{1,255}")
_MAYBE_ADDRESS = re.compile(
    r"(?<![\w.:])(?:\d{1,3}(?:\.\d{1,3}){3}|[0-9A-Fa-f:]*:[0-9A-Fa-f:.]*)(?:/\d{1,3})?(?![\w:])"
)


class Redactor:
    """Replaces values in rows and texts, and counts what it replaced by the name of the field."""

    def __init__(self, profile: Profile) -> None:
        self.profile = profile
        self.counts: Counter[str] = Counter()
        self._marks: dict[tuple[str, str], str] = {}
        self._last: Counter[str] = Counter()

    def row(self, row: Mapping[str, Any]) -> Mapping[str, Any]:
        """The row with what the profile leaves."""
        if self.profile is Profile.NOTHING:
            return row
        return {name: self._value(name, value) for name, value in row.items()}

    def text(self, text: str, field: str = "text") -> str:
        """The text without addresses, and without e-mails if the profile says so."""
        if self.profile is Profile.NOTHING:
            return text
        if self.profile is Profile.PEOPLE and "@" in text:
            text = _EMAIL.sub(self._mark_match("e-mail", field), text)
        if "." in text or ":" in text:
            text = _MAYBE_ADDRESS.sub(self._mark_match("address", field), text)
        return text

    def _value(self, field: str, value: Any) -> Any:
        kind = self._kind(field)
        match value:
            case Mapping() if kind and value:
                return self._mark(kind, str(value), field)
            case Mapping():
                return {self.text(name): self._value(name, each) for name, each in value.items()}
            case list():
                return [self._value(field, each) for each in value]
            case str() if value and kind and not value.startswith("job:"):
                return self._mark(kind, value, field)
            case str():
                return self.text(value, field)
        return value

    def _kind(self, field: str) -> str | None:
        if field in _ADDRESS_FIELDS:
            return "address"
        return "person" if self.profile is Profile.PEOPLE and field in _PERSON_FIELDS else None

    def _mark(self, kind: str, value: str, field: str) -> str:
        self.counts[field] += 1
        if (kind, value) not in self._marks:
            self._last[kind] += 1
            self._marks[kind, value] = f"[{kind} {self._last[kind]}]"
        return self._marks[kind, value]

    def _mark_match(self, kind: str, field: str) -> Callable[[re.Match[str]], str]:
        def marked(match: re.Match[str]) -> str:
            if kind == "address" and not _is_address(match[0]):
                return match[0]
            return self._mark(kind, match[0], field)

        return marked


def _is_address(text: str) -> bool:
    try:
        ip_address(text.partition("/")[0])
    except ValueError:
        return False
    return text not in {"::", ":"}
