"""Deals: a deal is a license, or the lack of one, with the copies that run on it.

A deal depends only on the seed and its number, so none has to be stored.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import count
from typing import NamedTuple
from uuid import UUID

from telemetry_server.model import LicenseStatus, LicenseType
from telemetry_server.simulate.dice import Dice, Weighted
from telemetry_server.simulate.world import DAY, EDITIONS, SOURCES, countries, networks

_DEAL, _COPY, _CUSTOMER = 1, 2, 3


class Story(StrEnum):
    """The story of a deal. Those from UNKNOWN_KEY on are planted, and listed in the ground truth."""

    HONEST = "honest"
    TRIAL = "trial"
    CONVERTED = "converted"
    LAPSED_TRIAL = "lapsed_trial"
    RAN_OUT = "ran_out"
    UNLICENSED = "unlicensed"
    UNUSED = "unused"
    UNKNOWN_KEY = "unknown_key"
    REVOKED = "revoked_key_in_use"
    SUSPENDED = "suspended_key_in_use"
    OVER_SEATS = "over_seats"
    EXPIRED = "expired_claims_licensed"
    SOURCE_MISMATCH = "source_mismatch"
    WRONG_PLACE = "wrong_place"
    CLONED = "cloned"
    RESTORED = "restored"


_STORIES = Weighted(
    (
        (Story.HONEST, 62),
        (Story.TRIAL, 9),
        (Story.CONVERTED, 2),
        (Story.LAPSED_TRIAL, 3),
        (Story.RAN_OUT, 4),
        (Story.UNLICENSED, 8),
        (Story.UNUSED, 3),
        (Story.UNKNOWN_KEY, 2.4),
        (Story.REVOKED, 1.2),
        (Story.SUSPENDED, 0.4),
        (Story.OVER_SEATS, 0.8),
        (Story.EXPIRED, 2.2),
        (Story.SOURCE_MISMATCH, 2),
        (Story.WRONG_PLACE, 0.4),
        (Story.CLONED, 0.5),
        (Story.RESTORED, 0.5),
    )
)
_EACH_ONCE = tuple(Story)
_SEATS = Weighted(((1, 62), (2, 12), (3, 8), (5, 9), (10, 6), (25, 2.4), (100, 0.6)))
_EDITION = Weighted(zip(EDITIONS, (38, 42, 20), strict=True))
_SOURCE = Weighted(zip(SOURCES, (46, 22, 20, 9, 3), strict=True))
_ENVIRONMENT = Weighted((("production", 86), ("staging", 9), ("development", 5)))
FREE_ENVIRONMENTS = ("development", "staging")
WITHOUT_LICENSE = frozenset({Story.UNLICENSED, Story.UNKNOWN_KEY})
_COME_AND_GO = frozenset({Story.HONEST, Story.TRIAL, Story.UNLICENSED, Story.UNUSED})
_TRIALS = frozenset({Story.TRIAL, Story.LAPSED_TRIAL})
_BECAME = {Story.REVOKED: LicenseStatus.REVOKED, Story.SUSPENDED: LicenseStatus.SUSPENDED}
_EARLY = 0.28
_NEW_CUSTOMERS = 0.75
_MOST_COPIES_TOO_MANY, _MOST_COPIES_OF_A_STRAY_KEY = 60, 40


@dataclass(frozen=True, slots=True)
class Timespan:
    """The simulated time, in milliseconds since 1970, without `end`.

    In its last `quiet` milliseconds nothing is planted, so that each copy reports what was.
    """

    begin: int
    end: int
    quiet: int = 0

    @property
    def length(self) -> int:
        return self.end - self.begin

    def at(self, share: float) -> int:
        return self.begin + int(self.length * share)

    def event(self, share: float) -> int:
        """The same, before the quiet end."""
        return self.begin + int((self.length - self.quiet) * share)


class Planned(NamedTuple):
    """The plan of a copy: its first report, its last moment (at most the end), and its environment.

    `parent` is the copy of the same deal whose identity it used at first. `dice` continue from here.
    """

    id: UUID
    first: int
    gone: int
    environment: str
    parent: int | None
    dice: Dice

    @property
    def is_counted(self) -> bool:
        return self.environment not in FREE_ENVIRONMENTS


@dataclass(frozen=True, slots=True)
class Deal:
    """A license, an unknown key or no key, with `size` copies, the first of which reports from `first` on.

    `changed_at` is when it was revoked or suspended, or a trial became a purchase. `claimed_source` is what
    the copies report, `addresses` are the allowed networks.
    """

    number: int
    story: Story
    size: int
    first: int
    license_id: UUID
    seats: int
    edition: str
    source: str
    source_detail: str | None
    claimed_source: str
    country: str
    starts_at: int
    expires_at: int | None
    changed_at: int | None
    addresses: tuple[str, ...]

    @property
    def has_license(self) -> bool:
        return self.story not in WITHOUT_LICENSE

    @property
    def stays(self) -> bool:
        """Whether its copies start early and report to the end, so that what is planted is visible."""
        return self.story not in _COME_AND_GO

    @property
    def type(self) -> LicenseType:
        if self.story in _TRIALS:
            return LicenseType.TRIAL
        return LicenseType.SUBSCRIPTION if self.expires_at else LicenseType.PURCHASED

    def status_at(self, moment: int) -> LicenseStatus:
        if self.changed_at is None or moment < self.changed_at:
            return LicenseStatus.ACTIVE
        return _BECAME.get(self.story, LicenseStatus.ACTIVE)


def deals(seed: int, over: Timespan) -> Iterator[Deal]:
    """All deals, without end."""
    return (deal(seed, number, over) for number in count())


def deal(seed: int, number: int, over: Timespan) -> Deal:
    dice = Dice(seed, _DEAL, number)
    story = _EACH_ONCE[number] if number < len(_EACH_ONCE) else dice.pick(_STORIES)
    seats = _seats(story, dice)
    first = _first(story, over, dice)
    source = dice.pick(_SOURCE)
    country = dice.pick(countries())
    changed_at = _change(story, over, dice)
    sold = changed_at if story is Story.CONVERTED else None
    starts_at = sold or first - DAY // 8 - dice.number(0, 500 if story is Story.HONEST else 3) * DAY
    return Deal(
        number=number,
        story=story,
        size=_size(story, seats, dice),
        first=first,
        license_id=dice.uuid7(starts_at),
        seats=seats,
        edition=dice.pick(_EDITION),
        source=source,
        source_detail=dice.one_of(SOURCES[source]),
        claimed_source=_another(source, dice) if story is Story.SOURCE_MISMATCH else source,
        country=country,
        starts_at=starts_at,
        expires_at=_expiry(story, over, dice),
        changed_at=changed_at,
        addresses=_elsewhere(country, dice) if story is Story.WRONG_PLACE else (),
    )


def planned(seed: int, deal: Deal, index: int, over: Timespan) -> Planned:
    """One of the copies of a deal."""
    dice = Dice(seed, _COPY, deal.number, index)
    first, gone, parent = _span(deal, index, over, dice)
    environment = "production" if deal.stays else dice.pick(_ENVIRONMENT)
    return Planned(dice.uuid7(first), first, gone, environment, parent, dice)


def too_many_from(seed: int, deal: Deal, over: Timespan) -> int | None:
    """The time from which more copies run than there are seats."""
    if deal.story is not Story.OVER_SEATS:
        return None
    return sorted(planned(seed, deal, index, over).first for index in range(deal.size))[deal.seats]


def customer_of(seed: int, number: int) -> int:
    """The number of the customer: that of the deal for a new one, or that of an earlier deal."""
    while number:
        dice = Dice(seed, _CUSTOMER, number)
        if dice.chance(_NEW_CUSTOMERS):
            break
        number = dice.number(0, number)
    return number


def _seats(story: Story, dice: Dice) -> int:
    if story in {Story.HONEST, Story.UNUSED}:
        return dice.pick(_SEATS)
    if story is Story.OVER_SEATS:
        return dice.number(1, 4)
    return 3 if story is Story.CLONED else 1


def _size(story: Story, seats: int, dice: Dice) -> int:
    match story:
        case Story.UNUSED:
            return 0
        case Story.HONEST:
            return max(1, round(seats * (0.5 + 0.5 * dice.unit())))
        case Story.OVER_SEATS:
            return seats + min(_MOST_COPIES_TOO_MANY, 1 + dice.exponential(4))
        case Story.UNKNOWN_KEY:
            return min(_MOST_COPIES_OF_A_STRAY_KEY, 1 + dice.exponential(0.8))
        case Story.CLONED:
            return 2
    return 1


def _first(story: Story, over: Timespan, dice: Dice) -> int:
    """The first report: of most deals with the first reporting release, of the others later."""
    if story not in _COME_AND_GO:
        return over.at(_EARLY * dice.unit() ** 2)
    if dice.chance(0.55):
        return over.begin + min(dice.exponential(0.05 * over.length), over.length // 2)
    return over.at(dice.unit())


def _span(deal: Deal, index: int, over: Timespan, dice: Dice) -> tuple[int, int, int | None]:
    """The first report of a copy, its last moment, and its parent. A fifth of the copies leave."""
    if deal.story is Story.CLONED and index:
        return over.event(0.35 + 0.65 * dice.unit()), over.end, 0
    latest = over.event(_EARLY if deal.stays and deal.story is not Story.OVER_SEATS else 1)
    first = deal.first + int((latest - deal.first) * dice.unit() ** 2) if index else deal.first
    if deal.stays or not dice.chance(0.22):
        return first, over.end, None
    return first, min(over.end, first + dice.exponential(0.6 * over.length)), None


def _expiry(story: Story, over: Timespan, dice: Dice) -> int | None:
    if story in {Story.LAPSED_TRIAL, Story.RAN_OUT, Story.EXPIRED}:
        return over.event(0.4 + 0.6 * dice.unit())
    if story is Story.TRIAL:
        return over.end + dice.number(1, 30) * DAY
    if story is Story.HONEST and dice.chance(0.55):
        return over.end + dice.number(1, 365) * DAY
    return None


def _change(story: Story, over: Timespan, dice: Dice) -> int | None:
    changes = {Story.CONVERTED, Story.REVOKED, Story.SUSPENDED}
    return over.event(0.45 + 0.55 * dice.unit()) if story in changes else None


def _another(source: str, dice: Dice) -> str:
    return dice.one_of([other for other in SOURCES if other != source])


def _elsewhere(country: str, dice: Dice) -> tuple[str, str]:
    """The networks of an operator in another country."""
    while (other := dice.pick(countries())) == country:
        pass
    return dice.pick(networks()[other]).blocks
