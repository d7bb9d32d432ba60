"""What is to be cleared up, in words that accuse no one. Pure."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from telemetry_server.check.days import shown_end
from telemetry_server.show.formatting import plural
from telemetry_server.store.fleet.clear_up_facts import ClearUpKind

KIND_WORDS: Mapping[str, str] = {
    ClearUpKind.REVOKED_IN_USE: "Revoked, in use",
    ClearUpKind.OVER_SEATS: "Over seats",
    ClearUpKind.UNKNOWN_KEY: "Unknown key",
    ClearUpKind.SHARED_IDENTITY: "Shared identity",
    ClearUpKind.WRONG_PLACE: "Wrong place",
    ClearUpKind.SUSPENDED_IN_USE: "Suspended, in use",
    ClearUpKind.EXPIRED_IN_USE: "Expired, in use",
    ClearUpKind.WRONG_SOURCE: "Contradicting source",
    ClearUpKind.EXPIRING_IN_USE: "Expiring, in use",
}
MARKS: Mapping[str, str] = {
    ClearUpKind.REVOKED_IN_USE: "revoked",
    ClearUpKind.OVER_SEATS: "over_seats",
    ClearUpKind.UNKNOWN_KEY: "unknown_key",
    ClearUpKind.SHARED_IDENTITY: "wrong_product",
    ClearUpKind.WRONG_PLACE: "wrong_place",
    ClearUpKind.SUSPENDED_IN_USE: "suspended",
    ClearUpKind.EXPIRED_IN_USE: "expired",
    ClearUpKind.WRONG_SOURCE: "no_key",
    ClearUpKind.EXPIRING_IN_USE: "trial",
}
"""The verdict whose mark each kind has."""


def in_evidence(row: Mapping[str, Any]) -> str:
    """One line: what the item rests on."""
    return _EVIDENCE[row["kind"]](row)


def _spread(row: Mapping[str, Any]) -> str:
    evidence = row["evidence"]
    networks, countries = evidence.get("networks", 0), evidence.get("countries", 0)
    if not networks and not countries:
        return "place unknown"
    return f"{plural(networks, 'network')} in {plural(countries, 'country', 'countries')}"


def _copies(row: Mapping[str, Any]) -> str:
    return f"{plural(row['size'], 'copy', 'copies')}, {_spread(row)}"


def _over_seats(row: Mapping[str, Any]) -> str:
    seats = "any number of" if row["seats"] is None else f"{row['seats']:,}"
    return f"{row['seats_used'] or 0:,} of {seats} seats used, {_spread(row)}"


def _ended(row: Mapping[str, Any], word: str) -> str:
    end: datetime | None = row["expires_at"]
    through = f" {shown_end(end, 'UTC'):%Y-%m-%d}" if end is not None else ""
    return f"{word}{through}; {_copies(row)}"


def _expiring(row: Mapping[str, Any]) -> str:
    return f"{_ended(row, 'good through').partition(';')[0]}; {plural(row['size'], 'seat')} in use"


def _source(row: Mapping[str, Any]) -> str:
    claimed, known = row["evidence"].get("claimed", "unknown"), row["license_source"] or "unknown"
    return f"{plural(row['size'], 'copy says', 'copies say')} {claimed}, the registry says {known}"


def _forks(row: Mapping[str, Any]) -> str:
    addresses = plural(row["evidence"].get("addresses", 0), "address", "addresses")
    return f"{plural(row['size'], 'ping')} under numbers that were taken, from {addresses}"


_EVIDENCE: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    ClearUpKind.REVOKED_IN_USE: lambda row: f"{_copies(row)}, still in use",
    ClearUpKind.SUSPENDED_IN_USE: lambda row: f"{_copies(row)}, still in use",
    ClearUpKind.OVER_SEATS: _over_seats,
    ClearUpKind.UNKNOWN_KEY: _copies,
    ClearUpKind.SHARED_IDENTITY: _forks,
    ClearUpKind.WRONG_PLACE: lambda row: f"{_copies(row)}, outside the license's networks",
    ClearUpKind.EXPIRED_IN_USE: lambda row: _ended(row, "was good through"),
    ClearUpKind.WRONG_SOURCE: _source,
    ClearUpKind.EXPIRING_IN_USE: _expiring,
}
