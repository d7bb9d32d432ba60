"""What the license registry says of a copy's claim. Pure.

The first row that holds is the verdict. What a copy can't mend by itself comes before what it can, and
whatever says that the key is not good for this product at all before that.

    no_key         the claim names no key
    unknown_key    no license has the key: it may be one that was not imported yet
    wrong_product  the key's license is for another product
    revoked        the vendor took the license back, or refunded it
    suspended      the vendor suspended it
    expired        its end has come; the moment of the end is over
    wrong_place    it is tied to networks, and the copy's address is in none of them
    over_seats     more copies run on it than its seats and its overage strategy allow
    trial          it is a trial
    valid          nothing of the above

Nobody is accused on bad evidence:

- A license that has not started yet is judged as if it had. A start is a date of bookkeeping, and no
  verdict means "early".
- An address that is not known, was shortened, or is private says nothing of the place: never wrong_place.
  Nor do networks in which no public address can be, as 10.0.0.5 or ::1, and networks of the other IP version:
  a license that names no network of the copy's version is good anywhere in that version.
- Seats: `none` allows seats, `1.25x`, `1.5x` and `2x` that many times the seats, `any` any number. A copy
  that takes no seat, because its environment is free or because it stopped reporting, is never over_seats.

Beside the verdict stand two facts. They are no verdicts and change none.

`claim_mismatch`: the claim and the verdict contradict each other.

    the copy claims                 and the verdict is
    licensed                        no_key, unknown_key, wrong_product, revoked, suspended, expired, trial
    trial                           valid, revoked, suspended, expired
    expired, invalid, unlicensed    valid, trial

  Everything else agrees, above all: no key and "unlicensed" is no claim; a trial needs no key that we
  know; and a copy outside its networks, or one too many, may call its license what it likes. A claim made
  before the license started, or before it expired, was right when it was made: then those two dates make
  no mismatch.

`source_mismatch`: the copy says that its license came from somewhere else than the registry says. Never
where either of them does not know; "trial" is right for a license of type trial, whatever its source.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from functools import lru_cache
from ipaddress import ip_network
from uuid import UUID

import msgspec

from telemetry_server.check.networks import Network, unmapped
from telemetry_server.enrich.places.place import holds_public, public_address
from telemetry_server.model import UNKNOWN, Grant, LicenseStatus, LicenseType, Overage, Verdict

_TAKEN_BACK = {LicenseStatus.REVOKED, LicenseStatus.REFUNDED}
_TIMES: Mapping[Overage, tuple[int, int]] = {
    Overage.NONE: (1, 1),
    Overage.QUARTER: (5, 4),
    Overage.HALF: (3, 2),
    Overage.DOUBLE: (2, 1),
}
_GOOD = frozenset({Verdict.VALID, Verdict.TRIAL})
_CONTRADICTED: Mapping[str, frozenset[Verdict]] = {
    "licensed": frozenset(
        {
            Verdict.NO_KEY,
            Verdict.UNKNOWN_KEY,
            Verdict.WRONG_PRODUCT,
            Verdict.REVOKED,
            Verdict.SUSPENDED,
            Verdict.EXPIRED,
            Verdict.TRIAL,
        }
    ),
    "trial": frozenset({Verdict.VALID, Verdict.REVOKED, Verdict.SUSPENDED, Verdict.EXPIRED}),
    "expired": _GOOD,
    "invalid": _GOOD,
    "unlicensed": _GOOD,
}


class Claim(msgspec.Struct, frozen=True, gc=False):
    """What a copy says of its license, and what is known of the copy.

    `status`, `source` and `environment` are its own words, "unknown" where it has none. `address` is None
    where it is not known, and ends in a prefix length where it was shortened. `made_at` is when the copy
    said so; `silent`: it stopped reporting, as an old server does that was replaced.
    """

    product_id: UUID
    has_key: bool
    status: str
    source: str
    environment: str
    address: str | None
    made_at: datetime
    silent: bool = False


class Judgement(msgspec.Struct, frozen=True, gc=False):
    """What the registry says of a claim."""

    verdict: Verdict
    claim_mismatch: bool
    source_mismatch: bool


def judge(claim: Claim, grant: Grant | None, now: datetime) -> Judgement:
    """What is to be said of the claim at that moment; `grant` is of the license that has its key."""
    verdict = _verdict(claim, grant, now)
    if grant is None or not claim.has_key:
        return Judgement(verdict, verdict in _CONTRADICTED.get(claim.status, ()), False)
    return Judgement(verdict, _contradicted(claim, grant, verdict), _came_from_elsewhere(claim, grant))


def takes_seat(environment: str, grant: Grant) -> bool:
    """Whether copies in that environment count against the seats."""
    return environment.lower() not in grant.free_environments


def is_exceeded(grant: Grant) -> bool:
    """Whether more copies run on it than its seats and its overage strategy allow."""
    if grant.seats is None or grant.overage is Overage.ANY:
        return False
    times, of = _TIMES[grant.overage]
    return grant.seats_used * of > grant.seats * times


def _verdict(claim: Claim, grant: Grant | None, now: datetime) -> Verdict:
    if not claim.has_key:
        return Verdict.NO_KEY
    if grant is None:
        return Verdict.UNKNOWN_KEY
    if grant.product_id != claim.product_id:
        return Verdict.WRONG_PRODUCT
    if grant.status in _TAKEN_BACK:
        return Verdict.REVOKED
    if grant.status is LicenseStatus.SUSPENDED:
        return Verdict.SUSPENDED
    if grant.expires_at is not None and now >= grant.expires_at:
        return Verdict.EXPIRED
    if grant.networks and _is_elsewhere(claim.address, grant.networks):
        return Verdict.WRONG_PLACE
    if is_exceeded(grant) and not claim.silent and takes_seat(claim.environment, grant):
        return Verdict.OVER_SEATS
    return Verdict.TRIAL if grant.type is LicenseType.TRIAL else Verdict.VALID


def never_matching(addresses: Iterable[str]) -> list[str]:
    """Those addresses and networks of a license that no copy's address can be in."""
    return [address for address in addresses if not holds_public(ip_network(address, strict=False))]


def _is_elsewhere(address: str | None, networks: tuple[Network, ...]) -> bool:
    if address is None or "/" in address or (where := public_address(address)) is None:
        return False
    alike = _comparable(networks).get(where.version, ())
    return bool(alike) and not any(where in network for network in alike)


@lru_cache(16_384)
def _comparable(networks: tuple[Network, ...]) -> Mapping[int, tuple[Network, ...]]:
    """The networks that a copy's address can be in, by IP version."""
    useful = [unmapped(network) for network in networks if holds_public(network)]
    return {version: tuple(each for each in useful if each.version == version) for version in (4, 6)}


def _contradicted(claim: Claim, grant: Grant, verdict: Verdict) -> bool:
    if verdict not in _CONTRADICTED.get(claim.status, ()):
        return False
    since = grant.starts_at if verdict in _GOOD else grant.expires_at if verdict is Verdict.EXPIRED else None
    return since is None or claim.made_at >= since


def _came_from_elsewhere(claim: Claim, grant: Grant) -> bool:
    if grant.source is None or claim.source == UNKNOWN:
        return False
    if claim.source == "trial" and grant.type is LicenseType.TRIAL:
        return False
    return claim.source != grant.source
