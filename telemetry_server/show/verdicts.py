"""The verdict of an installation in words that accuse no one, and its reasons. Pure."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from telemetry_server.check.days import shown_end
from telemetry_server.model import Overage, Verdict
from telemetry_server.show.formatting import plural
from telemetry_server.store.fleet.installations import Row

_License = Mapping[str, Any]

_WITHOUT_LICENSE = {
    Verdict.NO_KEY: "This copy names no license key.",
    Verdict.UNKNOWN_KEY: "No license has the key this copy names. It may not have been imported yet.",
}


def verdict(value: str) -> str:
    """The verdict as words: unknown key."""
    return value.replace("_", " ")


def rests_on(row: Row, license_: Row | None, *, licenses: bool = True) -> list[str]:
    """Sentences: the reason of today's verdict, and how the claim differs from the registry.

    `license_` is the present license of its key, None: not looked up yet. The last sentence says if it
    changed since the verdict. Without `licenses`, the permission, they say nothing of the license itself.
    """
    given, sentences = Verdict(row["verdict"]), []
    license_ = license_ if licenses else None
    if given in _WITHOUT_LICENSE:
        sentences.append(_WITHOUT_LICENSE[given])
    elif not licenses:
        sentences.append(_BRIEFLY[given])
    elif license_ is None:
        sentences.append("Its license has not been looked up yet.")
    else:
        say = _BY_LICENSE.get(given)
        sentences.append(_BRIEFLY[given] if say is None else say(license_))
    if row["claim_mismatch"]:
        sentences.append(f"The copy claims to be “{row['license_status']}”.")
    if row["source_mismatch"]:
        known = f"“{license_['source']}”" if license_ and license_["source"] else "otherwise"
        source = row["license_source"]
        sentences.append(f"The copy says its license is from “{source}”; the registry says {known}.")
    if license_ and license_["stale"]:
        sentences.append("The license has just changed; its installations are being checked again.")
    return sentences


def _expired(license_: _License) -> str:
    ended: datetime | None = license_["expires_at"]
    if ended is None:
        return _BRIEFLY[Verdict.EXPIRED]
    last = shown_end(ended, license_["time_zone"])
    return (
        f"The license expired on {last:%Y-%m-%d at %H:%M} UTC."
        if isinstance(last, datetime)
        else f"The license was good through {last}."
    )


def _over_seats(license_: _License) -> str:
    if license_["seats"] is None:
        return _BRIEFLY[Verdict.OVER_SEATS]
    used, seats = plural(license_["seats_used"], "copy", "copies"), plural(license_["seats"], "seat")
    allowed = (
        "" if license_["overage"] == Overage.NONE else f", up to {license_['overage']} of which are allowed"
    )
    return f"On the license: {used}. It has {seats}{allowed}."


_BRIEFLY: Mapping[Verdict, str] = {
    Verdict.WRONG_PRODUCT: "The key is that of a license for another product.",
    Verdict.REVOKED: "The license was revoked or refunded.",
    Verdict.SUSPENDED: "The license is suspended.",
    Verdict.EXPIRED: "The license had expired.",
    Verdict.WRONG_PLACE: "The license is for certain networks, and the last address was in none.",
    Verdict.OVER_SEATS: "More copies were on the license than it had seats.",
    Verdict.TRIAL: "The license is a trial.",
    Verdict.VALID: "Its license covers it.",
}
_BY_LICENSE: Mapping[Verdict, Callable[[_License], str]] = {
    Verdict.WRONG_PRODUCT: lambda license_: f"The key is that of a license for {license_['product']}.",
    Verdict.EXPIRED: _expired,
    Verdict.OVER_SEATS: _over_seats,
}
"""What the license itself adds to _BRIEFLY."""
