"""The ground truth: the planted irregularities, against which detections are measured."""

from collections import Counter
from datetime import date
from operator import itemgetter
from typing import Any

from telemetry_server.simulate.copies import Copy
from telemetry_server.simulate.deals import Deal, Story
from telemetry_server.simulate.history import History
from telemetry_server.simulate.runs import Quirk, received_numbers
from telemetry_server.simulate.tales import CopyPlan, Tale, TruthEntry
from telemetry_server.simulate.terms import Terms, moment
from telemetry_server.simulate.world import DAY
from telemetry_server.store.ranges import holes

_BY_COPY = {
    Story.UNKNOWN_KEY,
    Story.REVOKED,
    Story.SUSPENDED,
    Story.EXPIRED,
    Story.SOURCE_MISMATCH,
    Story.WRONG_PLACE,
    Story.RESTORED,
}


class Truth:
    """Collects planted irregularities: `planted` maps each kind to its installations or licenses."""

    def __init__(self) -> None:
        kinds = (*_BY_COPY, Story.OVER_SEATS, Story.CLONED, Quirk.GAPPY, Quirk.RETURNED, Quirk.BUFFERED)
        self.planted: dict[str, list[Any]] = {kind.value: [] for kind in sorted((*kinds, Quirk.WRONG_CLOCK))}
        self.duplicates: Counter[date] = Counter()
        self.forked: Counter[date] = Counter()

    def add_copy(self, of: History[Copy]) -> None:
        copy, name = of.copy, str(of.copy.id)
        if copy.deal.story in _BY_COPY:
            self.planted[copy.deal.story].append(name)
        if missing := holes(received_numbers(list(of.runs))):
            self.planted[Quirk.GAPPY].append({"installation_id": name, "missing": missing})
        if of.has_returned:
            self.planted[Quirk.RETURNED].append(name)
        if of.quirk is Quirk.BUFFERED and len(of.runs) > 1:
            self.planted[Quirk.BUFFERED].append(name)
        if of.has_wrong_clock:
            self.planted[Quirk.WRONG_CLOCK].append(name)
        if of.quirk is Quirk.RETRYING:
            run = of.runs[0]
            number = run.first + run.pings // 2
            self.duplicates[moment(of.clock.received(run, number)).date()] += 1 + of.number % 3

    def add_license(self, deal: Deal, seats_used: int, copies: list[str]) -> None:
        if deal.story is Story.CLONED:
            original, clone = copies
            self.planted[Story.CLONED].append({"installation_id": original, "clone": clone})
        if deal.story is Story.OVER_SEATS:
            self.planted[Story.OVER_SEATS].append(
                {
                    "license_id": str(deal.license_id),
                    "seats": deal.seats,
                    "seats_used": seats_used,
                    "installations": copies,
                }
            )


class WorldTruth:
    """Collects the truth about the customers of a world whose story looks guilty, or is."""

    def __init__(self, terms: Terms) -> None:
        self._terms = terms
        self.misuse: list[dict[str, Any]] = []
        self.honest: list[dict[str, Any]] = []
        self.duplicates: Counter[date] = Counter()
        self.forked: Counter[date] = Counter()

    @property
    def planted(self) -> dict[str, list[Any]]:
        """The entries by story."""
        stories: dict[str, list[Any]] = {}
        for entry in sorted((*self.misuse, *self.honest), key=itemgetter("story")):
            stories.setdefault(entry["story"], []).append(entry)
        return stories

    def add_tale(self, tale: Tale) -> None:
        for entry in tale.entries:
            (self.misuse if entry.is_misuse else self.honest).append(self._entry(entry))

    def add_duplicates(self, of: History[CopyPlan]) -> None:
        run = of.runs[-1]
        if of.copy.duplicates:
            at = of.clock.received(run, run.first + run.pings // 2)
            self.duplicates[moment(at).date()] += of.copy.duplicates

    def _entry(self, entry: TruthEntry) -> dict[str, Any]:
        """Times of the first and the last misuse; `related` are honest copies on the same license."""
        key, end = entry.license, min(entry.end, self._terms.over.end)
        is_registered = key is not None and key.registered_at is not None
        return {
            "story": entry.story,
            "from": moment(entry.begin),
            "to": moment(end),
            "days": round((end - entry.begin) / DAY, 1),
            "customer": str(entry.customer.customer_id) if entry.customer else None,
            "license": str(key.license_id) if key and is_registered else None,
            "key": self._terms.hash_of_key(key.key).hex() if key else None,
            "installations": [str(copy.id) for copy in entry.copies],
            "related": [str(copy.id) for copy in entry.related],
        }
