"""The verdict of the license registry on a copy's claim. Pure.

The first row that holds is the verdict. First comes what invalidates the key for this product at all, then
what a copy cannot fix by itself, then what it can.

    no_key         the claim names no key
    unknown_key    no license has the key: it may be one that was not imported yet
    wrong_product  the key's license is for another product
    revoked        the vendor took the license back, or refunded it
    suspended      the vendor suspended it
    expired        its end has come; the license is no longer valid at that moment
    wrong_place    it is tied to networks, and the copy's address is in none of them
    over_seats     more copies run on it than its seats and its overage strategy allow
    trial          it is a trial
    valid          none of the above

No one is accused on bad evidence:

- A license that has not started yet is judged as if it had. A start is a date of bookkeeping, and no
  verdict means "early".
- An address that is unknown, shortened or private is no evidence of the place: never wrong_place. Networks
  without public addresses, as 10.0.0.5 or ::1, and networks of the other IP version do not count: a license
  with no network of the copy's version is valid anywhere in that version.
- Seats: the overage `none` allows the seats, `1.25x`, `1.5x` and `2x` a multiple of them, `any` any number.
  A copy that takes no seat, because its environment is free or it stopped reporting, is never over_seats.

Two facts accompany the verdict and do not change it.

`claim_mismatch`: the claim and the verdict contradict each other.

    the copy claims                 and the verdict is
    licensed                        no_key, unknown_key, wrong_product, revoked, suspended, expired, trial
    trial                           valid, revoked, suspended, expired
    expired, invalid, unlicensed    valid, trial

  Everything else agrees. No key and "unlicensed" is no claim; a trial needs no key known to us; a copy
  outside its networks, or beyond its seats, may claim any status. A claim made before the license started,
  or before it expired, was right when it was made: those two dates then cause no mismatch.

`source_mismatch`: the copy reports another source of its license than the registry has. Never if either is
unknown; "trial" matches a license of type trial from any source.
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

WORST_FIRST = (
    Verdict.REVOKED,
    Verdict.WRONG_PRODUCT,
    Verdict.OVER_SEATS,
    Verdict.UNKNOWN_KEY,
    Verdict.WRONG_PLACE,
    Verdict.SUSPENDED,
    Verdict.EXPIRED,
    Verdict.NO_KEY,
    Verdict.TRIAL,
    Verdict.VALID,
)
"""The verdicts, the worst first, wherever people see them in that order."""

_TAKEN_BACK = {LicenseStatus.REVOKED, LicenseStatus.REFUNDED}
_TIMES: Mapping[Overage, tuple[int, int]] = {
    Overage.NONE: (1, 1),
    Overage.QUARTER: (5, 4),
    Overage.HALF: (3, 2),
    Overage.DOUBLE: (2, 1),
}
COVERED = frozenset({Verdict.VALID, Verdict.TRIAL})
"""The verdicts on copies that a license covers."""
UNCOVERED = tuple(verdict for verdict in Verdict if verdict not in COVERED)
_CONTRADICTED: Mapping[str, frozenset[Verdict]] = {
    "licensed": frozenset(Verdict) - {Verdict.VALID, Verdict.WRONG_PLACE, Verdict.OVER_SEATS},
    "trial": frozenset({Verdict.VALID, Verdict.REVOKED, Verdict.SUSPENDED, Verdict.EXPIRED}),
    "expired": COVERED,
    "invalid": COVERED,
    "unlicensed": COVERED,
}


class Claim(msgspec.Struct, frozen=True, gc=False):
    """A copy's claim about its license, and what is known of the copy.

    `status`, `source` and `environment` are as reported, else "unknown". `address` is None if it is unknown,
    and ends in a prefix length if it was shortened. `made_at` is the time of the claim; `silent` means that
    the copy stopped reporting, as an old server does that was replaced.
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
    """The registry's answer to a claim."""

    verdict: Verdict
    claim_mismatch: bool
    source_mismatch: bool


def judge(claim: Claim, grant: Grant | None, now: datetime) -> Judgement:
    """The answer to the claim at `now`; `grant` is that of the license with its key."""
    verdict = _verdict(claim, grant, now)
    contradicted = verdict in _CONTRADICTED.get(claim.status, ())
    if grant is None or not claim.has_key:
        return Judgement(verdict, contradicted, False)
    since = (
        grant.starts_at if verdict in COVERED else grant.expires_at if verdict is Verdict.EXPIRED else None
    )
    was_right = since is not None and claim.made_at < since
    is_trial = claim.source == "trial" and grant.type is LicenseType.TRIAL
    both_known = grant.source is not None and claim.source != UNKNOWN
    other_source = both_known and not is_trial and claim.source != grant.source
    return Judgement(verdict, contradicted and not was_right, other_source)


def takes_seat(environment: str, grant: Grant) -> bool:
    """Whether copies in that environment count against the seats."""
    return environment.lower() not in grant.free_environments


def is_exceeded(grant: Grant) -> bool:
    """Whether more copies run on the license than its seats and its overage allow."""
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
    """The addresses and networks of a license that no copy's address can match."""
    return [address for address in addresses if not holds_public(ip_network(address, strict=False))]


def _is_elsewhere(address: str | None, networks: tuple[Network, ...]) -> bool:
    if address is None or "/" in address or (where := public_address(address)) is None:
        return False
    alike = _comparable(networks).get(where.version, ())
    return bool(alike) and not any(where in network for network in alike)


@lru_cache(16_384)
def _comparable(networks: tuple[Network, ...]) -> Mapping[int, tuple[Network, ...]]:
    """The networks that a copy's address can match, by IP version."""
    useful = [unmapped(network) for network in networks if holds_public(network)]
    return {version: tuple(each for each in useful if each.version == version) for version in (4, 6)}
