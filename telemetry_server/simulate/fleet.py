"""The whole fleet in batches of rows, with the copies in the order of their first reports.

Memory holds only a few numbers per copy; deals are made again when they are needed.
"""

from array import array
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import TypeAlias
from uuid import UUID

from telemetry_server.enrich.lifecycle import SILENT
from telemetry_server.errors import OperatorError
from telemetry_server.simulate import rows
from telemetry_server.simulate.copies import Copy
from telemetry_server.simulate.deals import Deal, Planned, Story, Timespan, customer_of, deal, deals, planned
from telemetry_server.simulate.forks import lineage, rivals
from telemetry_server.simulate.history import changes, history, installation, present, states, stretches
from telemetry_server.simulate.registry import (
    HashOfKey,
    customer,
    license_keys,
    license_row,
    registry_changes,
)
from telemetry_server.simulate.terms import Terms, moment
from telemetry_server.simulate.truth import Truth
from telemetry_server.simulate.usage import usages
from telemetry_server.simulate.world import EDITIONS

FEWEST_PINGS = 10
SHORTEST_INTERVAL, LONGEST_INTERVAL = 60_000, 31_536_000_000

_COPIES_AT_ONCE = 4_000
_DEALS_AT_ONCE = 8_000
_SAMPLE = 20_000


Batch: TypeAlias = dict[type[rows.Row], list[rows.Row]]


class TooFewPings(OperatorError):
    """These are too few pings to be useful: give each installation ten or more."""

    code = "too_few_pings"


def interval_for(seed: int, over: Timespan, installations: int, pings: int) -> int:
    """The interval, in milliseconds, with which the fleet sends about `pings` pings. Raises TooFewPings."""
    sample = min(installations, _SAMPLE)
    present = copies = 0
    for each in deals(seed, over):
        plans = [planned(seed, each, index, over) for index in range(each.size)]
        present += sum(copy.gone - copy.first for copy in plans)
        copies += each.size
        if copies >= sample:
            break
    # Half an interval is lost at a copy's end, and one ping in a hundred to silences.
    wanted = 1.01 * pings * copies / installations - copies / 2
    return checked_interval(present / wanted, installations, pings)


def checked_interval(interval: float, installations: int, pings: int) -> int:
    """The interval in whole seconds, in milliseconds. Raises TooFewPings."""
    seconds = round(interval / 1000) if pings >= FEWEST_PINGS * installations else 0
    if not SHORTEST_INTERVAL <= seconds * 1000 <= LONGEST_INTERVAL:
        raise TooFewPings(
            f"{pings:,} pings of {installations:,} installations are too few or too many; each should send "
            f"at least {FEWEST_PINGS} in this time, and at most one a minute."
        )
    return seconds * 1000


def catalogue(terms: Terms) -> Batch:
    """The editions, the releases and the sections of usage."""
    return {
        rows.Edition: [rows.Edition(terms.product_id, slug, name) for slug, name in EDITIONS.items()],
        rows.Release: [
            rows.Release(terms.product_id, each.version, moment(each.released_at).date(), (each.build,))
            for each in terms.releases
        ],
        rows.Usage: list(usages(terms)),
    }


class Fleet:
    """The fleet; `elsewhere` hashes license keys for each other product. Iterate `batches` once."""

    def __init__(
        self, terms: Terms, slug: str, installations: int, elsewhere: Mapping[UUID, HashOfKey]
    ) -> None:
        self.terms, self.slug, self.elsewhere = terms, slug, elsewhere
        self.truth = Truth()
        self.pings = self.licenses = self.customers = 0
        self._firsts, self._deals, self._indexes = array("q"), array("l"), array("l")
        self._left_out: set[int] = set()
        self._count_copies(installations)
        self._seats_used = array("l", bytes(array("l").itemsize * (max(self._deals) + 1)))

    def batches(self) -> Iterator[Batch]:
        """All rows; a batch refers to no later one, but for licenses."""
        yield catalogue(self.terms)
        order = sorted(range(len(self._firsts)), key=self._firsts.__getitem__)
        for begin in range(0, len(order), _COPIES_AT_ONCE):
            yield self._copies(begin, order[begin : begin + _COPIES_AT_ONCE])
        for begin in range(0, len(self._seats_used), _DEALS_AT_ONCE):
            yield self._registry(range(begin, min(begin + _DEALS_AT_ONCE, len(self._seats_used))))

    def _count_copies(self, installations: int) -> None:
        """Takes deals until there are exactly n copies; a deal with more than are missing is left out."""
        for each in deals(self.terms.seed, self.terms.over):
            if len(self._firsts) == installations:
                return
            if each.size <= installations - len(self._firsts):
                self._firsts.extend(self._plan(each, index).first for index in range(each.size))
                self._deals.extend([each.number] * each.size)
                self._indexes.extend(range(each.size))
            else:
                self._left_out.add(each.number)

    def _deal(self, number: int) -> Deal:
        return deal(self.terms.seed, number, self.terms.over)

    def _plan(self, deal: Deal, index: int) -> Planned:
        return planned(self.terms.seed, deal, index, self.terms.over)

    def _copies(self, begin: int, ordinals: Iterable[int]) -> Batch:
        batch: Batch = defaultdict(list)
        for number, ordinal in enumerate(ordinals, start=begin):
            self._add_copy(batch, number, self._deal(self._deals[ordinal]), self._indexes[ordinal])
        return batch

    def _add_copy(self, batch: Batch, number: int, deal: Deal, index: int) -> None:
        record = history(Copy(deal, index, self.terms), number)
        batch[rows.Installation].append(installation(record))
        batch[rows.Present].append(present(record))
        batch[rows.State].extend(states(record))
        batch[rows.Change].extend(changes(record))
        batch[rows.Stretch].extend(stretches(record))
        batch[rows.Lineage].extend(lineage(record))
        for rival in rivals(record):
            batch[rows.Rival].append(rival)
            self.truth.forked[rival.received_at.date()] += 1
        self.pings += record.pings
        if record.life not in SILENT and record.copy.planned.is_counted:
            self._seats_used[deal.number] += 1
        self.truth.add_copy(record)

    def _registry(self, numbers: Iterable[int]) -> Batch:
        batch: Batch = defaultdict(list)
        for each in map(self._deal, numbers):
            if customer_of(self.terms.seed, each.number) == each.number:
                batch[rows.Customer].append(customer(each.number, self.slug, self.terms))
            if each.has_license and each.number not in self._left_out:
                self._add_license(batch, each)
        self.customers += len(batch[rows.Customer])
        self.licenses += len(batch[rows.License])
        return batch

    def _add_license(self, batch: Batch, deal: Deal) -> None:
        seats_used = self._seats_used[deal.number]
        batch[rows.License].append(license_row(deal, seats_used, self.slug, self.terms))
        batch[rows.LicenseKey].extend(license_keys(deal, self.terms, self.elsewhere))
        batch[rows.RegistryChange].extend(registry_changes(deal, self.terms))
        if deal.story in {Story.CLONED, Story.OVER_SEATS}:
            ids = [str(self._plan(deal, index).id) for index in range(deal.size)]
            self.truth.add_license(deal, seats_used, ids)
