"""The scene of a story: makes the customers, licenses and copies of one tale, and notes the truth."""

from collections.abc import Sequence
from typing import Any

from telemetry_server.model import LicenseStatus, LicenseType
from telemetry_server.simulate.copies import USAGE_PROFILES
from telemetry_server.simulate.dice import Dice, Weighted
from telemetry_server.simulate.tales import (
    CopyPlan,
    Customer,
    License,
    LicenseTerms,
    Rival,
    Server,
    Spell,
    Tale,
    TruthEntry,
    World,
)
from telemetry_server.simulate.terms import Terms
from telemetry_server.simulate.world import (
    DAY,
    EDITIONS,
    SOURCES,
    Network,
    countries,
    network_of_kind,
    networks,
)

HOUR = 3_600_000
LOW_PRICES = ("IN", "TR", "AR", "EG", "PK", "NG")
"""The countries in which licenses are cheap, and most of them valid there only."""
MOST_CHANGES = 120
"""Of a copy, in a story that goes on for ever."""
COPIES_OF_A_TALE = 1_000
"""At most; licenses and customers of a tale are numbered within it, too."""

_FEWEST_INTERVALS, _LONGEST_SHARE = 3, 0.85
_OWN_NAMES, _NAMED = 0.25, 0.75
_SCENE = 9
_OUTAGE = 10
_EDITION = Weighted(zip(EDITIONS, (38, 42, 20), strict=True))
_SOURCE = Weighted(zip(SOURCES, (46, 22, 20, 9, 3), strict=True))
_LEVEL = Weighted((("usage", 86), ("system", 9), ("license", 5)))
_PACE = Weighted((("fast", 12), ("now and then", 48), ("never", 40)))
_FREE_MAIL = ("mail.example", "post.example", "freemail.example")


def same_host(server: Server) -> dict[str, Any]:
    """The fields that all copies on one server share."""
    names = ("address", "system", "vm", "machine", "board", "boot")
    return {name: getattr(server, name) for name in names}


def elsewhere(server: Server) -> dict[str, Any]:
    """The fields that differ on another server to which a copy is moved."""
    return same_host(server) | {"network": server.network, "container": server.container}


class Scene:
    """What a story may use. All choices come from `dice`: of the seed, the world and the number."""

    def __init__(self, number: int, world: World, terms: Terms) -> None:
        self.world, self.terms, self.over = world, terms, terms.over
        self.dice = Dice(terms.seed, _SCENE, world.number, number)
        self.tale = Tale(number)
        self.story = ""
        self.begin, self.end = self.over.begin, self.over.end - self.over.quiet

    # ── times ───────────────────────────────────────────────────────────────────────────────

    def spell(self) -> Spell:
        """A time of misuse, as long as the world says, and of three pings at least; half last to the end."""
        low, high = self.dice.pick(self.world.lengths)
        room = self.end - self.begin
        wanted = max(self.dice.number(low * DAY, high * DAY + 1), _FEWEST_INTERVALS * self.terms.interval)
        length = int(min(wanted, _LONGEST_SHARE * room))
        goes_on = self.dice.chance(0.5)
        begin = self.end - length if goes_on else self.dice.number(self.begin, self.end - length)
        return begin, self.over.end if goes_on else begin + length

    def moment(self, low: float = 0.15, high: float = 0.85) -> int:
        """A time between those shares of the simulated time, before its quiet end."""
        return self.begin + int((self.end - self.begin) * (low + (high - low) * self.dice.unit()))

    def before(self, spell: Spell) -> int:
        """A moment before the spell: the first report of a copy that is honest until then."""
        return self.begin + int(0.5 * self.dice.unit() * (spell[0] - self.begin))

    def within(self, spell: Spell, share: float = 1) -> int:
        """A moment in that first share of the spell, before the quiet end."""
        end = min(spell[1], self.end)
        return spell[0] + int(share * self.dice.unit() * max(0, end - spell[0]))

    def days(self, low: float, high: float) -> int:
        return int((low + (high - low) * self.dice.unit()) * DAY)

    def pings(self, low: float, high: float) -> int:
        """A duration of that many pings."""
        return int((low + (high - low) * self.dice.unit()) * self.terms.interval)

    def count(self, low: int, high: int) -> int:
        """A number of copies or customers from `low` to `high`, scaled as the world is."""
        return max(low, round(self.dice.number(low, high + 1) * self.world.scale))

    # ── places ──────────────────────────────────────────────────────────────────────────────

    def country(self, other_than: str | None = None) -> str:
        while (country := self.dice.pick(countries())) == other_than:
            pass
        return country

    def network(self, country: str | None = None, kind: str | None = None) -> Network:
        """A network of the country; of any, or of a certain kind."""
        country = country or self.country()
        for _ in range(40):
            found = self.dice.pick(networks()[country])
            if kind is None or found.kind == kind:
                return found
        return found

    def far_network(self, country: str) -> Network:
        return self.network(self.country(other_than=country))

    def shared_network(self, kind: str, country: str) -> Network:
        """A network of a kind that many customers share: vpn, cdn or mobile."""
        return network_of_kind(kind, country)

    def shared_address(self, network: Network, size: int) -> str:
        """One of the `size` addresses through which all users of a shared network come."""
        return f"{network.blocks[0].removesuffix('.0.0/16')}.7.{1 + self.dice.number(0, size)}"

    # ── the registry ────────────────────────────────────────────────────────────────────────

    def customer(self, country: str | None = None, *, free_mail: bool = False) -> Customer:
        """A customer with its own mail domain, or with a mailbox of a free provider."""
        dice, tale = self.dice, self.tale
        number = tale.number * COPIES_OF_A_TALE + len(tale.customers)
        since = self.begin - (1 + dice.number(0, 900)) * DAY
        is_company = not free_mail and dice.chance(0.85)
        if is_company or (dice.chance(0.3) and not free_mail):
            email = f"it@company-{number}.{self.terms.keys}.example"
        else:
            email = f"{self.terms.keys}.{number}@{dice.one_of(_FREE_MAIL)}"
        made = Customer(
            number,
            dice.uuid7(since),
            since,
            f"Example Customer {number}",
            f"Example Company {number}" if is_company else None,
            email,
            country or self.country(),
        )
        tale.customers.append(made)
        return made

    def license(
        self, customer: Customer | None, seats: int | None = 1, *, starts_at: int | None = None, **fields: Any
    ) -> License:
        """A license of the registry; fields of LicenseTerms or License differ as given."""
        source = fields.pop("source", None) or self.dice.pick(_SOURCE)
        details = {name: fields.pop(name) for name in ("territory", "is_of_sibling") if name in fields}
        starts_at = starts_at or self.begin - self.dice.number(1, 300) * DAY
        terms = LicenseTerms(
            status=LicenseStatus.ACTIVE,
            type=LicenseType.SUBSCRIPTION if self.dice.chance(0.6) else LicenseType.PURCHASED,
            source=source,
            source_detail=self.dice.one_of(SOURCES[source]),
            edition=self.dice.pick(_EDITION),
            seats=seats,
            overage="none",
            expires_at=None,
            customer=customer,
        )._replace(**fields)
        if terms.type is LicenseType.SUBSCRIPTION and terms.expires_at is None:
            terms = terms._replace(expires_at=self.over.end + self.dice.number(2, 365) * DAY)
        return self._add(License(0, "", self.dice.uuid7(starts_at), starts_at, starts_at, terms, **details))

    def unknown_key(self) -> License:
        """A key of no license."""
        made = self.license(None, type=LicenseType.PURCHASED)
        made.registered_at = None
        made.key = f"NIL{made.key[3:]}"
        return made

    def trial(self, customer: Customer, starts_at: int, length: int) -> License:
        return self.license(
            customer,
            starts_at=starts_at,
            type=LicenseType.TRIAL,
            expires_at=starts_at + length,
            source="direct",
        )

    def _add(self, made: License) -> License:
        made.number = self.tale.number * COPIES_OF_A_TALE + len(self.tale.licenses)
        made.key = f"SIM-{self.terms.keys}-{made.number:09d}"
        self.tale.licenses.append(made)
        return made

    # ── copies ──────────────────────────────────────────────────────────────────────────────

    def copy(
        self,
        key: License | None,
        first: int | None = None,
        gone: int | None = None,
        network: Network | None = None,
        **fields: Any,
    ) -> CopyPlan:
        """A copy on a server of its own, by default from soon after the begin to the end, in production."""
        dice = self.dice
        first = min(self.moment(0, 0.25) if first is None else first, self.end - 1)
        gone = min(gone or self.over.end, self.over.end)
        server = self.server(key, network or self._home(key), first)._replace(**fields)
        profile = dice.number(0, USAGE_PROFILES) if server.level == "usage" else None
        made = CopyPlan(dice.uuid7(first), first, max(gone, first + 1), server, profile, dice)
        self.tale.copies.append(made)
        self._name(made)
        self._upgrades(made)
        return made

    def server(self, key: License | None, network: Network, at: int) -> Server:
        """A fresh server there."""
        dice, number = self.dice, f"{self.tale.number} {self.dice.unit()}"
        system, *_ = dice.pick(network.systems)
        vm, container = dice.pick(network.runs_on)
        newest = sum(release.released_at <= at for release in self.terms.releases) - 1
        release = self.terms.releases[max(0, newest - min(dice.exponential(0.6), 5))]
        return Server(
            license=key,
            network=network,
            address=network.address(dice),
            system=system,
            vm=vm,
            container=None if system.type == "windows" else container,
            machine=f"machine {number}",
            board=f"board {number}",
            boot=f"boot {number}",
            version=release.version,
            build=release.build,
            environment="production",
            level=dice.pick(_LEVEL),
        )

    def another(self, like: CopyPlan, first: int, gone: int | None = None, **fields: Any) -> CopyPlan:
        """A new identity with the server of another copy at that time, but for the given fields."""
        made = self.copy(like.server.license, first, gone, like.server.network)
        made.server = like.server_at(first)._replace(**fields)
        made.profile = like.profile
        made.script.clear()
        return made

    def reboot(self, copy: CopyPlan, at: int, **fields: Any) -> None:
        copy.change(at, boot=f"boot {self.tale.number} {self.dice.unit()}", **fields)

    def move(self, copy: CopyPlan, at: int, network: Network, **fields: Any) -> None:
        """The same machine in another network."""
        self.reboot(copy, at, network=network, address=network.address(self.dice), **fields)

    def rival(self, copy: CopyPlan, at: int, server: Server) -> None:
        copy.rivals.append(Rival(at, server))

    def _home(self, key: License | None) -> Network:
        customer = key.terms.customer if key else None
        is_home = customer and self.dice.chance(self.world.at_home)
        return self.network(customer.country if customer and is_home else None)

    def _name(self, copy: CopyPlan) -> None:
        """Some addresses have a name in the domain of the customer, most one of the network."""
        server, chance = copy.server, self.dice.unit()
        key, network = server.license, server.network
        customer = key.terms.customer if key else None
        kind = f"{network.kind}-{network.country.lower()}-{network.number}"
        if customer and customer.company and chance < _OWN_NAMES:
            name = f"srv{len(self.tale.copies)}.{customer.domain}"
        elif chance < _NAMED:
            dashed = server.address.translate({ord("."): "-", ord(":"): "-"})
            name = f"host-{dashed}.{kind}.{self.terms.keys}.example"
        else:
            return
        self.tale.hostnames.setdefault(server.address, name)

    def _upgrades(self, copy: CopyPlan) -> None:
        pace = self.dice.pick(_PACE)
        if pace == "never" or copy.gone - copy.first < self.over.length // 10:
            return
        step = self.over.length // (20 if pace == "fast" else 6)
        for release in self.terms.releases:
            at = release.released_at + self.dice.exponential(step)
            if copy.first < at < self.end and (pace == "fast" or self.dice.chance(0.2)):
                copy.change(at, version=release.version, build=release.build)

    # ── the truth ───────────────────────────────────────────────────────────────────────────

    def outage(self) -> tuple[Network, Spell]:
        """The network whose provider fails in this world, and when: the same in all tales of a fleet."""
        dice = Dice(self.terms.seed, _OUTAGE, self.world.number)
        network = dice.pick(networks()[dice.pick(countries())])
        length = self.terms.late_after + int((0.5 + dice.unit()) * self.terms.interval)
        begin = self.over.at(0.3 + 0.4 * dice.unit())
        return network, (begin, begin + length)

    def misuse(self, spell: Spell, copies: Sequence[CopyPlan], key: License | None) -> None:
        """Notes that these copies should not exist, or not so, in that time."""
        self._note(True, spell, copies, key)

    def honest(self, copies: Sequence[CopyPlan], key: License | None, spell: Spell | None = None) -> None:
        """Notes that these copies look guilty in that time, and are not."""
        self._note(False, spell or (self.begin, self.over.end), copies, key)

    def _note(self, is_misuse: bool, spell: Spell, copies: Sequence[CopyPlan], key: License | None) -> None:
        others = [
            copy
            for copy in self.tale.copies
            if key is not None and copy.server.license is key and copy not in copies
        ]
        begin = max(spell[0], min(copy.first for copy in copies))
        end = min(spell[1], max(copy.gone for copy in copies))
        customer = key.terms.customer if key else None
        self.tale.entries.append(TruthEntry(self.story, is_misuse, begin, end, customer, key, copies, others))
