"""Differences of registry rows in words: each changed field with its old and its new value. Pure."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import orjson

from telemetry_server.check.days import shown_beginning, shown_end
from telemetry_server.show.formatting import stamp

LABELS: Mapping[str, str] = {
    "status": "Status",
    "type": "Type",
    "source": "Source",
    "source_detail": "Source detail",
    "order_reference": "Order",
    "edition": "Edition",
    "seats": "Seats",
    "overage": "Overage",
    "domains": "Domains",
    "addresses": "Networks",
    "addresses_enforced": "Networks enforced",
    "directories": "Directories",
    "free_environments": "Free environments",
    "starts_at": "First day",
    "expires_at": "Last day",
    "customer_id": "Customer",
    "customer_email": "Customer's e-mail",
    "custom": "Custom fields",
    "email": "E-mail",
    "name": "Name",
    "company": "Company",
    "tax_id": "Tax number",
    "technical_contact": "Technical contact",
    "account": "Account",
}
_EMPTY = "\N{EN DASH}"


@dataclass(frozen=True, slots=True)
class Difference:
    """A changed field; `was` is None for a field of a new row."""

    label: str
    was: str | None
    now: str


def differences(
    before: Mapping[str, Any] | None, after: Mapping[str, Any], time_zone: str = "UTC"
) -> list[Difference]:
    """The fields of `after`; dates of licenses are days in the time zone, where they are whole days."""
    return [
        Difference(
            LABELS.get(name, name),
            None if before is None else in_words(name, before.get(name), time_zone),
            in_words(name, value, time_zone),
        )
        for name, value in after.items()
    ]


def in_words(name: str, value: Any, time_zone: str = "UTC") -> str:
    """A value of a field; an empty one is a dash."""
    if name == "seats" and value is None:
        return "unlimited"
    if value is None or value in ("", [], (), {}):
        return _EMPTY
    if name in {"starts_at", "expires_at"}:
        return _day(name, value, time_zone)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return orjson.dumps(value).decode() if isinstance(value, dict) else str(value)


def _day(name: str, value: Any, time_zone: str) -> str:
    moment = value
    if isinstance(value, str):
        with suppress(ValueError):
            moment = datetime.fromisoformat(value)
    if not isinstance(moment, datetime):
        return str(value)
    shown: date = (shown_end if name == "expires_at" else shown_beginning)(moment, time_zone)
    return stamp(shown) if isinstance(shown, datetime) else shown.isoformat()
