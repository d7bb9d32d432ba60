"""The fleet of a world in batches of rows, tale by tale, and the truth about it.

Memory holds one batch, and the truth about customers whose story looks guilty, or is.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from itertools import count
from uuid import UUID

import orjson

from telemetry_server.simulate import rows
from telemetry_server.simulate.deals import Timespan
from telemetry_server.simulate.fleet import Batch, catalogue, checked_interval
from telemetry_server.simulate.history import History, changes, installation, present, states, stretches
from telemetry_server.simulate.registry import (
    HashOfKey,
    world_customer,
    world_license,
    world_registry_changes,
)
from telemetry_server.simulate.scene import Scene
from telemetry_server.simulate.tale_history import Telling
from telemetry_server.simulate.tales import CopyPlan, License, Story, Tale, World
from telemetry_server.simulate.terms import Terms, moment
from telemetry_server.simulate.truth import WorldTruth

_COPIES_AT_ONCE = 4_000
_SAMPLE = 2_000
_SECOND = 1_000


def tale_of(number: int, world: World, terms: Terms, misuse: float) -> Tale:
    """The tale with that number: a story of the world is picked and played."""
    scene = Scene(number, world, terms)
    story: Story = scene.dice.pick(world.choices(misuse))
    scene.story = story.name
    story.tell(scene)
    return scene.tale


def world_interval(world: World, misuse: float, terms: Terms, installations: int, pings: int) -> int:
    """The interval, in milliseconds, with which the fleet sends about `pings` pings. Raises TooFewPings."""
    present = copies = 0
    for number in count():
        tale = tale_of(number, world, terms, misuse)
        for copy in tale.copies:
            silent = sum(_overlap(spell, terms.over) for spell in (*copy.silent, *copy.dropped))
            present += max(0, _overlap((copy.first, copy.gone), terms.over) - silent)
        copies += len(tale.copies)
        if copies >= min(installations, _SAMPLE):
            break
    # Half an interval is lost at a copy's end.
    wanted = max(1, pings * copies / installations - copies / 2)
    return checked_interval(present / wanted, installations, pings)


class WorldFleet:
    """The fleet; `elsewhere` hashes license keys for other products, of which one is `sibling`.

    Iterate `batches` once.
    """

    def __init__(  # noqa: PLR0917
        self,
        terms: Terms,
        slug: str,
        installations: int,
        elsewhere: Mapping[UUID, HashOfKey],
        world: World,
        misuse: float,
        sibling: UUID,
    ) -> None:
        self.terms, self.slug, self.elsewhere = terms, slug, elsewhere
        self.world, self.misuse, self.sibling = world, misuse, sibling
        self.truth = WorldTruth(terms)
        self.pings = self.licenses = self.customers = 0
        self._installations = installations

    def batches(self) -> Iterator[Batch]:
        """All rows; a batch refers to no later one."""
        yield catalogue(self.terms)
        batch: Batch = defaultdict(list)
        for tale in self._tales():
            self._add(batch, tale)
            if len(batch[rows.Installation]) >= _COPIES_AT_ONCE:
                yield batch
                batch = defaultdict(list)
        yield batch

    def _tales(self) -> Iterator[Tale]:
        """Tales until there are exactly n copies; one with more than are missing is left out."""
        self._copies, number = 0, 0
        while self._copies < self._installations:
            tale = tale_of(number, self.world, self.terms, self.misuse)
            if len(tale.copies) <= self._installations - self._copies:
                yield tale
                self._copies += len(tale.copies)
            number += 1

    def _add(self, batch: Batch, tale: Tale) -> None:
        telling = Telling(tale, self.terms, self.sibling)
        for each in telling.histories(self._copies):
            self._add_copy(batch, each, telling)
        for customer in tale.customers:
            batch[rows.Customer].append(world_customer(customer, self.slug))
        self.customers += len(tale.customers)
        looked_up_at = moment(self.terms.over.begin)
        batch[rows.Hostname].extend(
            rows.Hostname(address, name, looked_up_at) for address, name in tale.hostnames.items()
        )
        for key in tale.licenses:
            if key.registered_at is not None:
                self._add_license(batch, key, telling.seats[key.number].used(self.terms.over.end))
        self.truth.add_tale(tale)

    def _add_copy(self, batch: Batch, record: History[CopyPlan], telling: Telling) -> None:
        row, copy = present(record), record.copy
        batch[rows.Installation].append(installation(record))
        batch[rows.State].extend(states(record))
        batch[rows.Change].extend(changes(record))
        batch[rows.Stretch].extend(stretches(record))
        for at, judged in telling.later_verdicts(record):
            if judged.verdict != row.verdict:
                number = record.pieces[-1].last
                change = (copy.id, moment(at), number, "verdict", row.verdict, judged.verdict)
                batch[rows.Change].append(rows.Change(*change))
            row = row._replace(
                verdict=judged.verdict,
                claim_mismatch=judged.claim_mismatch,
                source_mismatch=judged.source_mismatch,
            )
        batch[rows.Present].append(row)
        batch[rows.Lineage].extend(_lineage(record))
        for rival in _rivals(record, telling):
            batch[rows.Rival].append(rival)
            self.truth.forked[rival.received_at.date()] += 1
        self.truth.add_duplicates(record)
        begin = self.terms.over.begin
        self.pings += sum(run.pings - record.clock.before(run, begin) for run in record.runs)

    def _add_license(self, batch: Batch, key: License, seats_used: int) -> None:
        terms = self.terms
        product_id = self.sibling if key.is_of_sibling else terms.product_id
        own_hash = self.elsewhere[self.sibling] if key.is_of_sibling else terms.hash_of_key
        seats_used = 0 if key.is_of_sibling else seats_used
        row = world_license(key, product_id, own_hash(key.key), seats_used, self.slug)
        hashes = {**self.elsewhere, terms.product_id: terms.hash_of_key}
        batch[rows.License].append(row)
        batch[rows.LicenseKey].extend(
            rows.LicenseKey(hash_of_key(key.key), key.license_id, other)
            for other, hash_of_key in hashes.items()
        )
        batch[rows.RegistryChange].extend(world_registry_changes(key, terms.seed))
        self.licenses += 1


def _overlap(spell: tuple[int, int], over: Timespan) -> int:
    return max(0, min(spell[1], over.end) - max(spell[0], over.begin))


def _lineage(of: History[CopyPlan]) -> Iterator[rows.Lineage]:
    copy = of.copy
    if copy.parent is not None:
        enrolled_at = moment(copy.first - _SECOND)
        yield rows.Lineage(copy.id, copy.parent.id, of.product_id, enrolled_at, of.pieces[0].address)


def _rivals(of: History[CopyPlan], telling: Telling) -> Iterator[rows.Rival]:
    """The pings of other servers under numbers that this copy has used by then."""
    for rival in of.copy.rivals:
        before = [piece for piece in of.pieces if piece.first_received < rival.at]
        if not before:
            continue
        piece = before[-1]
        number = piece.run.first + max(1, of.clock.before(piece.run, rival.at)) - 1
        state = telling.state(rival.server, rival.at)
        yield rows.Rival(
            installation_id=of.copy.id,
            sequence=number,
            ping_id=of.copy.dice.uuid7(rival.at),
            received_at=moment(rival.at + _SECOND),
            occurred_at=moment(rival.at + rival.server.clock_off),
            client_address=rival.server.address,
            facts=state.facts_json.decode(),
            details=orjson.dumps({"reason": "heartbeat"}).decode(),
            place=rival.server.network.place,
        )
