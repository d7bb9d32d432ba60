"""The ground truth: the planted irregularities, against which detections are measured."""

from collections import Counter
from datetime import date
from typing import Any

from telemetry_server.simulate.deals import Deal, Story
from telemetry_server.simulate.history import History
from telemetry_server.simulate.runs import Quirk, received_numbers
from telemetry_server.simulate.terms import moment
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

    def add_copy(self, of: History) -> None:
        copy, name = of.copy, str(of.copy.id)
        if copy.deal.story in _BY_COPY:
            self.planted[copy.deal.story].append(name)
        if missing := holes(received_numbers(list(of.runs))):
            self.planted[Quirk.GAPPY].append({"installation_id": name, "missing": missing})
        if of.has_returned:
            self.planted[Quirk.RETURNED].append(name)
        if of.quirk is Quirk.BUFFERED and len(of.runs) > 1:
            self.planted[Quirk.BUFFERED].append(name)
        if of.clock_off:
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
