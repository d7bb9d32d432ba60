"""A simulated copy: what it reports, and the events that change it."""

from collections.abc import Callable, Iterator
from hashlib import blake2b
from ipaddress import ip_network
from operator import itemgetter
from typing import Any, NamedTuple, TypeAlias

import orjson

from telemetry_server.enrich.verdict import Claim, Judgement, judge
from telemetry_server.model import UNKNOWN, Grant, LicenseSource, Overage
from telemetry_server.simulate.deals import FREE_ENVIRONMENTS, Deal, Story, planned, too_many_from
from telemetry_server.simulate.dice import Weighted
from telemetry_server.simulate.terms import Terms, moment
from telemetry_server.simulate.world import COUNTRIES, Network, System, countries, networks

USAGE_PROFILES = 150
NOTICE = "2018-04-17"

_LEVEL = Weighted((("usage", 86), ("system", 9), ("license", 5)))
_PACE = Weighted((("fast", 12), ("now and then", 48), ("never", 40)))
_ABOVE_LICENSE = ("host", "os", "runtime", "virtualization")
_AT_HOME = 0.85
_REBOOTS, _MOVES, _SYSTEM_UPGRADES = 0.3, 0.05, 0.03

Facts: TypeAlias = dict[str, Any]
Event: TypeAlias = tuple[int, Callable[[], str]]


class State(NamedTuple):
    """The facts of a copy that stay the same from ping to ping."""

    facts: Facts
    facts_json: bytes
    network: Network
    key_hash: bytes | None
    digest: bytes


class Copy:
    """A copy at a moment. The functions in `events` change it, and return the reason of the next ping."""

    def __init__(self, deal: Deal, index: int, terms: Terms) -> None:
        self.deal, self.terms, self.planned = deal, terms, planned(terms.seed, deal, index, terms.over)
        self.id, self.dice = self.planned.id, self.planned.dice
        self.key = terms.key_of(deal)
        self.over_at = too_many_from(terms.seed, deal, terms.over)
        dice = self.dice
        country = deal.country if deal.stays or dice.chance(_AT_HOME) else dice.pick(countries())
        self.network = dice.pick(networks()[country])
        self.address = self.network.address(dice)
        self.system, *self.later_systems = dice.pick(self.network.systems)
        self.runs_on = self._runs_on()
        self.release = self._first_release(self.planned.first)
        self.level = dice.pick(_LEVEL)
        self.profile = dice.number(0, USAGE_PROFILES) if self.level == "usage" else None
        self.boot = 0
        self._index = index
        self._machine, self._board = self._digest("machine"), self._digest("board")

    # ── what it is ──────────────────────────────────────────────────────────────────────────

    def state(self, at: int) -> State:
        facts = self._facts(at)
        facts_json = orjson.dumps(facts)
        key_hash = self.terms.hash_of_key(self.key) if self._has_key(at) else None
        digest = self.terms.name_state(facts_json, self.network.place.encode(), key_hash or b"")
        return State(facts, facts_json, self.network, key_hash, digest)

    def judged(self, at: int) -> Judgement:
        """The judgement of the registry at that time."""
        claim = Claim(
            product_id=self.terms.product_id,
            has_key=self._has_key(at),
            status=self._status(at),
            source=self._source(at) or UNKNOWN,
            environment=self.planned.environment,
            address=self.address,
            made_at=moment(at),
        )
        grant = self._grant(at) if claim.has_key and self.deal.has_license else None
        return judge(claim, grant, moment(at))

    def _grant(self, at: int) -> Grant:
        """The grant of the license at that time."""
        deal = self.deal
        too_many = self.over_at is not None and at >= self.over_at
        return Grant(
            product_id=self.terms.product_id,
            status=deal.status_at(at),
            type=deal.type,
            source=LicenseSource(deal.source),
            seats=deal.seats,
            seats_used=deal.seats + too_many,
            overage=Overage.NONE,
            networks=tuple(ip_network(network) for network in deal.addresses),
            free_environments=FREE_ENVIRONMENTS,
            starts_at=moment(deal.starts_at),
            expires_at=None if deal.expires_at is None else moment(deal.expires_at),
        )

    def _facts(self, at: int) -> Facts:
        release = self.terms.releases[self.release]
        return facts_of(
            boot=self._digest(f"boot {self.boot}"),
            fingerprint={"machine_id": self._machine, "board": self._board},
            claim=self._license(at),
            system=self.system,
            level=self.level,
            service={
                "version": release.version,
                "build": release.build,
                "environment": self.planned.environment,
            },
            runs_on=(*self.runs_on, self.network.cloud),
        )

    def _license(self, at: int) -> Facts:
        deal = self.deal
        claim = {"status": self._status(at)}
        if self._has_key(at):
            claim |= {"key_hint": self.key[-4:]}
        if (source := self._source(at)) is not None:
            claim |= {"source": source}
        if source == deal.source and deal.source_detail:
            claim |= {"source_detail": deal.source_detail}
        if self._has_key(at):
            claim |= {"edition": deal.edition}
            if deal.expires_at:
                claim |= {"expires_at": f"{moment(deal.expires_at):%Y-%m-%dT%H:%M:%SZ}"}
        return claim

    def _status(self, at: int) -> str:
        """What the copy says of its license."""
        story, over_at = self.deal.story, self.deal.expires_at or self.deal.changed_at
        happened = over_at is not None and at >= over_at
        match story:
            case Story.UNLICENSED:
                return "unlicensed"
            case Story.TRIAL:
                return "trial"
            case Story.CONVERTED:
                return "licensed" if happened else "trial"
            case Story.LAPSED_TRIAL:
                return "expired" if happened else "trial"
            case Story.RAN_OUT:
                return "expired" if happened else "licensed"
        return "licensed"

    def _has_key(self, at: int) -> bool:
        if self.deal.story is Story.CONVERTED:
            return self._status(at) == "licensed"
        return self.deal.story is not Story.UNLICENSED

    def _source(self, at: int) -> str | None:
        if self.deal.story is Story.UNLICENSED:
            return None
        return self.deal.claimed_source if self._has_key(at) else "trial"

    # ── what happens to it ──────────────────────────────────────────────────────────────────

    def events(self) -> list[Event]:
        """All changes of its reports and its verdict, in order of time. May be called once."""
        return sorted([*self._upgrades(), *self._accidents(), *self._deal_events()], key=itemgetter(0))

    def _upgrades(self) -> Iterator[Event]:
        pace = self.dice.pick(_PACE)
        if pace == "never":
            return
        step = self.terms.over.length // 20 if pace == "fast" else self.terms.over.length // 6
        for number in range(self.release + 1, len(self.terms.releases)):
            if pace == "fast" or self.dice.chance(0.2):
                released_at = self.terms.releases[number].released_at
                yield max(released_at, self.planned.first) + self.dice.exponential(step), self._to(number)

    def _to(self, number: int) -> Callable[[], str]:
        def upgrade() -> str:
            self.release = max(self.release, number)
            return "start"

        return upgrade

    def _accidents(self) -> Iterator[Event]:
        dice, first, gone = self.dice, self.planned.first, self.planned.gone
        if dice.chance(_REBOOTS):
            yield dice.number(first, gone), self._reboot
        if self.later_systems and dice.chance(_SYSTEM_UPGRADES):
            yield dice.number(first, gone), self._upgrade_system
        if not self.deal.stays and dice.chance(_MOVES):
            yield dice.number(first, gone), self._move

    def _deal_events(self) -> Iterator[Event]:
        deal = self.deal
        reported_by_copy = deal.story in {Story.CONVERTED, Story.LAPSED_TRIAL, Story.RAN_OUT}
        for at in (deal.expires_at, deal.changed_at, self.over_at):
            if at is not None:
                yield at, lambda: "license" if reported_by_copy else "heartbeat"

    def _reboot(self) -> str:
        self.boot += 1
        return "start"

    def _upgrade_system(self) -> str:
        self.system, self.boot = self.later_systems.pop(0), self.boot + 1
        return "start"

    def _move(self) -> str:
        """Moves the same machine to another network, mostly of the same country."""
        home = self.network.country if self.dice.chance(_AT_HOME) else self.dice.one_of(COUNTRIES)
        self.network = self.dice.pick(networks()[home])
        self.address = self.network.address(self.dice)
        self.runs_on, self.boot = self._runs_on(), self.boot + 1
        return "start"

    # ── where it begins ─────────────────────────────────────────────────────────────────────

    def _runs_on(self) -> tuple[str | None, str | None]:
        vm, container = self.dice.pick(self.network.runs_on)
        return (vm, None) if self.system.type == "windows" else (vm, container)

    def _first_release(self, at: int) -> int:
        """The newest release at that time, or by chance an older one."""
        newest = sum(release.released_at <= at for release in self.terms.releases) - 1
        return max(0, newest - min(self.dice.exponential(0.6), 5))

    def _digest(self, what: str) -> str:
        text = f"{self.terms.seed} {self.deal.number} {self._index} {what}"
        return blake2b(text.encode(), digest_size=32).hexdigest()


def facts_of(
    *,
    boot: str,
    fingerprint: Facts,
    claim: Facts,
    system: System,
    level: str,
    service: Facts,
    runs_on: tuple[str | None, str | None, str | None],
) -> Facts:
    """The facts of a ping of that level, as the server stores them: in its order, without nulls."""
    runtime, runtime_version = system.runtime
    arch = "arm64" if system.kernel.endswith("aarch64") else "amd64"
    named = zip(("vm", "container", "cloud"), runs_on, strict=True)
    facts: Facts = {
        "boot_id": boot[:32],
        "host": {"arch": arch, "fingerprint": fingerprint},
        "license": claim,
        "os": {
            "type": system.type,
            "name": system.name,
            "version": system.version,
            "kernel": system.kernel,
        },
        "privacy": {"notice_version": NOTICE, "level": level},
        "runtime": {"name": runtime, "version": runtime_version},
        "service": service,
        "virtualization": {name: value for name, value in named if value is not None},
        "sdk": {"name": "license-telemetry-php", "version": "1.0.0"},
    }
    if level == "license":
        for section in _ABOVE_LICENSE:
            del facts[section]
    return facts


def differences(before: State, after: State) -> Iterator[tuple[str, str | None, str | None]]:
    """The facts that differ, as (field, before, after); fields are named as by facts_by_field."""
    for section, facts in after.facts.items():
        if isinstance(facts, dict) and facts != before.facts[section]:
            yield from _differences(f"{section}.", before.facts[section], facts)
    if before.network is not after.network:
        one, other = (orjson.loads(state.network.place) for state in (before, after))
        yield from _differences("place.", one, other)
    if before.key_hash != after.key_hash:
        yield "license.key", _hex(before.key_hash), _hex(after.key_hash)


def _differences(prefix: str, before: Facts, after: Facts) -> Iterator[tuple[str, str | None, str | None]]:
    for name in sorted(before.keys() | after.keys()):
        one, other = _text(before.get(name)), _text(after.get(name))
        if one != other:
            yield prefix + name, one, other


def _hex(digest: bytes | None) -> str | None:
    return None if digest is None else digest.hex()


def _text(value: Any) -> str | None:
    if isinstance(value, bool):
        return "true" if value else "false"
    return None if value is None else str(value)
