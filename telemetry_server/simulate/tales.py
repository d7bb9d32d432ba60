"""A tale is what one story puts into the database: customers, licenses, copies, and the truth about them.

A story is a function that fills a `Scene` with a tale. A tale depends only on the seed, the world and its
number. Times and durations are in milliseconds.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias
from uuid import UUID

from telemetry_server.model import LicenseStatus, LicenseType
from telemetry_server.simulate.dice import Dice, Weighted
from telemetry_server.simulate.world import Network, System

if TYPE_CHECKING:
    from telemetry_server.simulate.scene import Scene

Fields: TypeAlias = Mapping[str, Any]
"""Fields of a Server, by name."""

Spell: TypeAlias = tuple[int, int]
"""A time from its begin until before its end."""


@dataclass(frozen=True, slots=True)
class Customer:
    """A customer of the registry; its country is in `custom`."""

    number: int
    customer_id: UUID
    since: int
    name: str
    company: str | None
    email: str
    country: str

    @property
    def domain(self) -> str:
        return self.email.partition("@")[2]


class LicenseTerms(NamedTuple):
    """The fields of a license that change: what the registry holds at a moment."""

    status: LicenseStatus
    type: LicenseType
    source: str
    source_detail: str | None
    edition: str
    seats: int | None
    overage: str
    expires_at: int | None
    customer: Customer | None


@dataclass(slots=True)
class License:
    """A license key. `registered_at` is when the registry got it; None: it is in no registry.

    `territory` is the only country in which it may be used, by its terms; `is_of_sibling` marks a license of
    the sibling product. `terms` begin at `starts_at`, later ones at the times of `changes`.
    """

    number: int
    key: str
    license_id: UUID
    starts_at: int
    registered_at: int | None
    terms: LicenseTerms
    territory: str | None = None
    is_of_sibling: bool = False
    changes: list[tuple[int, LicenseTerms]] = field(default_factory=list)

    def at(self, moment: int) -> LicenseTerms:
        terms = self.terms
        for at, later in self.changes:
            if at <= moment:
                terms = later
        return terms

    def change(self, at: int, **fields: Any) -> None:
        """Changes the terms from that time on; changes are made in the order of time."""
        self.changes.append((at, self.at(at)._replace(**fields)))

    @property
    def moments(self) -> set[int]:
        """The times at which a verdict or an honest claim may change."""
        ends = {terms.expires_at for _, terms in self.changes} | {self.terms.expires_at}
        starts = {at for at, _ in self.changes}
        return {at for at in ends | starts | {self.registered_at} if at is not None}


class Server(NamedTuple):
    """What a copy reports of itself, and where; `claims` None is what an honest copy says of its license.

    `clock_off` is how far its clock is ahead, `machine`, `board` and `boot` are the seeds of digests.
    """

    license: License | None
    network: Network
    address: str
    system: System
    vm: str | None
    container: str | None
    machine: str
    board: str
    boot: str
    version: str
    build: str
    environment: str
    level: str
    claims: str | None = None
    claimed_source: str | None = None
    claimed_edition: str | None = None
    clock_off: int = 0


@dataclass(slots=True)
class Rival:
    """A ping of another server under a number that this copy has used, near that time."""

    at: int
    server: Server


@dataclass(slots=True)
class CopyPlan:
    """A copy: its first moment, its last, and what happens to it.

    `script` changes fields of the server at a time; the ping after it has the reason. `silent` are times
    without pings, `offline` such whose pings arrive together afterwards, `dropped` such whose pings never do.
    `parent` is the copy whose identity it used until it was enrolled.
    """

    id: UUID
    first: int
    gone: int
    server: Server
    profile: int | None
    dice: Dice
    script: list[tuple[int, Fields, str]] = field(default_factory=list)
    silent: list[Spell] = field(default_factory=list)
    offline: list[Spell] = field(default_factory=list)
    dropped: list[Spell] = field(default_factory=list)
    rivals: list[Rival] = field(default_factory=list)
    parent: "CopyPlan | None" = None
    duplicates: int = 0

    def change(self, at: int, reason: str = "start", **fields: Any) -> None:
        self.script.append((at, fields, reason))

    def server_at(self, moment: int) -> Server:
        server = self.server
        for at, fields, _ in sorted(self.script, key=lambda each: each[0]):
            if at <= moment:
                server = server._replace(**fields)
        return server


@dataclass(slots=True)
class TruthEntry:
    """An entry of the truth: a story that looks guilty, or is. `related` are other copies on the license."""

    story: str
    is_misuse: bool
    begin: int
    end: int
    customer: Customer | None
    license: License | None
    copies: Sequence[CopyPlan]
    related: Sequence[CopyPlan] = ()


@dataclass(slots=True)
class Tale:
    """The rows to be, and what is true of them; `hostnames` are by address."""

    number: int
    customers: list[Customer] = field(default_factory=list)
    licenses: list[License] = field(default_factory=list)
    copies: list[CopyPlan] = field(default_factory=list)
    entries: list[TruthEntry] = field(default_factory=list)
    hostnames: dict[str, str] = field(default_factory=dict)


class Story(NamedTuple):
    """A story: its function, its share of the customers of its kind, and how many customers it is about."""

    tell: "Callable[[Scene], None]"
    share: float
    customers: float = 1

    @property
    def name(self) -> str:
        return self.tell.__name__


@dataclass(frozen=True, slots=True)
class World:
    """The proportions of a world, and its stories by kind.

    `odd` is the share of customers with an honest story that looks guilty. `lengths` are the days that misuse
    lasts, `scale` multiplies the numbers of copies in stories.
    """

    name: str
    number: int
    odd: float
    ordinary: Sequence[Story]
    honest: Sequence[Story]
    misuse: Sequence[Story]
    seats: Weighted[int]
    lengths: Weighted[tuple[int, int]]
    scale: float
    at_home: float

    def choices(self, misuse: float) -> Weighted[Story]:
        """The stories by weight, so that `misuse` is the expected share of customers in stories of misuse."""
        shares = (
            (self.ordinary, 1 - misuse - self.odd),
            (self.honest, self.odd),
            (self.misuse, misuse),
        )
        return Weighted(
            (story, share * story.share / sum(each.share for each in stories) / story.customers)
            for stories, share in shares
            for story in stories
        )
