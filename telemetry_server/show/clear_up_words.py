"""What is to be cleared up, in words that accuse no one. Pure."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from telemetry_server.check.days import shown_end
from telemetry_server.enrich.verdict import COVERED
from telemetry_server.show.formatting import number, plural
from telemetry_server.store.fleet.clear_up_facts import VERDICTS, ClearUpKind

KIND_WORDS: Mapping[str, str] = {
    ClearUpKind.REVOKED_IN_USE: "Revoked, in use",
    ClearUpKind.WRONG_PRODUCT: "Wrong product",
    ClearUpKind.OVER_SEATS: "Over seats",
    ClearUpKind.UNKNOWN_KEY: "Unknown key",
    ClearUpKind.SHARED_IDENTITY: "Shared identity",
    ClearUpKind.WRONG_PLACE: "Wrong place",
    ClearUpKind.SUSPENDED_IN_USE: "Suspended, in use",
    ClearUpKind.EXPIRED_IN_USE: "Expired, in use",
    ClearUpKind.NO_KEY: "No key",
    ClearUpKind.WRONG_CLAIM: "Contradicting claim",
    ClearUpKind.WRONG_SOURCE: "Contradicting source",
    ClearUpKind.EXPIRING_IN_USE: "Expiring, in use",
}
MARKS: Mapping[str, str] = {
    **{kind: verdict.value for kind, verdict in VERDICTS.items()},
    ClearUpKind.SHARED_IDENTITY: "wrong_product",
    ClearUpKind.WRONG_CLAIM: "no_key",
    ClearUpKind.WRONG_SOURCE: "no_key",
    ClearUpKind.EXPIRING_IN_USE: "trial",
}
"""The verdict whose mark each kind has."""


def in_evidence(row: Mapping[str, Any]) -> str:
    """One line: what the item rests on."""
    return _EVIDENCE[row["kind"]](row)


def copies_filter(row: Mapping[str, Any]) -> str | None:
    """The filter of the copies it is about; None: they are found by no filter."""
    kind, of = row["kind"], f"license={row['license_id']} " if row["license_id"] else ""
    match kind:
        case ClearUpKind.UNKNOWN_KEY | ClearUpKind.SHARED_IDENTITY:
            return None
        case ClearUpKind.EXPIRING_IN_USE:
            return of.strip()
        case ClearUpKind.WRONG_SOURCE:
            return f"{of}source_mismatch=true life!=lost"
        case ClearUpKind.WRONG_CLAIM:
            return f"{of}claim_mismatch=true verdict={','.join(sorted(COVERED))} life!=lost"
    return f"{of}verdict={VERDICTS[kind]} life!=lost"


def _spread(row: Mapping[str, Any]) -> str:
    evidence = row["evidence"]
    networks, countries = evidence.get("networks", 0), evidence.get("countries", 0)
    if not networks and not countries:
        return "place unknown"
    return f"{plural(networks, 'network')} in {plural(countries, 'country', 'countries')}"


def _copies(row: Mapping[str, Any]) -> str:
    claims = row["evidence"].get("claims", 0)
    claim = f"; {number(claims)} {'claims' if claims == 1 else 'claim'} otherwise" if claims else ""
    return f"{plural(row['size'], 'copy', 'copies')}, {_spread(row)}{claim}"


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


def _claim(row: Mapping[str, Any]) -> str:
    copies = plural(row["size"], "covered copy says", "covered copies say")
    return f"{copies} “{row['evidence'].get('claimed', 'unknown')}”"


def _forks(row: Mapping[str, Any]) -> str:
    addresses = plural(row["evidence"].get("addresses", 0), "address", "addresses")
    return f"{plural(row['size'], 'ping')} under numbers that were taken, from {addresses}"


_EVIDENCE: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    ClearUpKind.REVOKED_IN_USE: _copies,
    ClearUpKind.SUSPENDED_IN_USE: _copies,
    ClearUpKind.OVER_SEATS: _over_seats,
    ClearUpKind.UNKNOWN_KEY: _copies,
    ClearUpKind.WRONG_PRODUCT: lambda row: f"{_copies(row)}, with the license of another product",
    ClearUpKind.SHARED_IDENTITY: _forks,
    ClearUpKind.WRONG_PLACE: lambda row: f"{_copies(row)}, outside the license's networks",
    ClearUpKind.EXPIRED_IN_USE: lambda row: _ended(row, "was good through"),
    ClearUpKind.NO_KEY: _copies,
    ClearUpKind.WRONG_CLAIM: _claim,
    ClearUpKind.WRONG_SOURCE: _source,
    ClearUpKind.EXPIRING_IN_USE: _expiring,
}
