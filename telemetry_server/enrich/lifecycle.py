"""The lifecycle of an installation: new, active, late, lost, returned, each since when. Pure.

The times of the changes depend only on the last ping and the product's schedule, so every evaluation, however
late, finds the same changes at the same times:

    new, returned   becomes active after new_for
    active          becomes late after late_after of silence
    late            becomes lost after lost_after of silence

An outage is not silence: if no copy could report, or none did, that is no evidence against one copy.
Only a ping, a longer schedule or an outage found later revokes late or lost.
"""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from operator import itemgetter
from typing import NamedTuple, Self, TypeAlias

from telemetry_server.model import Lifecycle, Product

NEVER = datetime(9999, 1, 1, tzinfo=UTC)
SILENT = frozenset({Lifecycle.LATE, Lifecycle.LOST})
_MOMENT = timedelta(microseconds=1)

Outage: TypeAlias = tuple[datetime, datetime]


class Phase(NamedTuple):
    """A state of the lifecycle and the moment it began."""

    life: Lifecycle
    since: datetime


class NextPhase(NamedTuple):
    """The present state, since when, and the next evaluation: after now, NEVER if only a ping changes it."""

    life: Lifecycle
    since: datetime
    due_at: datetime


@dataclass(frozen=True, slots=True)
class Schedule:
    """The time limits of a product's copies. `outages` are sorted and do not overlap."""

    late_after: timedelta
    lost_after: timedelta
    new_for: timedelta
    outages: Sequence[Outage] = ()

    @classmethod
    def of(cls, product: Product, outages: Sequence[Outage] = ()) -> Self:
        return cls(
            timedelta(seconds=product.ping_interval_seconds + product.grace_seconds),
            timedelta(seconds=product.lost_after_seconds),
            timedelta(seconds=product.new_for_seconds),
            outages,
        )

    def late_at(self, last: datetime) -> datetime:
        """The time from which a copy last seen at `last` is late."""
        return self._silent(last, self.late_after)

    def lost_at(self, last: datetime) -> datetime:
        """The time from which it is lost; never before it is late."""
        return self._silent(last, max(self.late_after, self.lost_after))

    def _silent(self, last: datetime, span: timedelta) -> datetime:
        """The end of a silence of `span` since `last`; outages do not count."""
        end = _after(last, span)
        first = bisect_right(self.outages, last, key=itemgetter(1))
        for began_at, ended_at in islice(self.outages, first, None):
            if began_at >= end:
                break
            end = _after(end, ended_at - max(began_at, last))
        return end


def next_life(
    life: Lifecycle, since: datetime, first: datetime, last: datetime, *, schedule: Schedule, now: datetime
) -> NextPhase:
    """The present state of an installation that was `life` since `since`, first and last seen then."""
    steps = lives(life, since, first, last, schedule=schedule, now=now)
    known = steps[-1] if steps else Phase(life, since)
    following = _following(known, first, last, schedule, now)
    return NextPhase(*known, following.since if following else NEVER)


def lives(
    life: Lifecycle, since: datetime, first: datetime, last: datetime, *, schedule: Schedule, now: datetime
) -> list[Phase]:
    """Its states after `since` until now, each later than the one before."""
    steps: list[Phase] = []
    known = Phase(life, since)
    while (following := _following(known, first, last, schedule, now)) and following.since <= now:
        known = following
        steps.append(known)
    return steps


def _following(
    known: Phase, first: datetime, last: datetime, schedule: Schedule, now: datetime
) -> Phase | None:
    """The next state, past or future, if no further ping comes; None if there is none."""
    late_at, lost_at = schedule.late_at(last), schedule.lost_at(last)
    match known.life:
        case Lifecycle.NEW | Lifecycle.RETURNED:
            settled_at = _after(first if known.life is Lifecycle.NEW else known.since, schedule.new_for)
            step = Phase(Lifecycle.ACTIVE, settled_at) if settled_at < late_at else _silence(late_at, lost_at)
        case Lifecycle.ACTIVE:
            step = _silence(late_at, lost_at)
        case Lifecycle.LATE if last > known.since:
            step = Phase(Lifecycle.ACTIVE, last)
        case Lifecycle.LATE:
            step = Phase(Lifecycle.ACTIVE, now) if late_at > now else Phase(Lifecycle.LOST, lost_at)
        case Lifecycle.LOST if last > known.since:
            step = Phase(Lifecycle.RETURNED, last)
        case Lifecycle.LOST if lost_at > now:
            step = Phase(Lifecycle.ACTIVE if late_at > now else Lifecycle.LATE, now)
        case Lifecycle.LOST:
            return None
    return step._replace(since=max(step.since, _after(known.since, _MOMENT)))


def _silence(late_at: datetime, lost_at: datetime) -> Phase:
    return Phase(Lifecycle.LATE, late_at) if late_at < lost_at else Phase(Lifecycle.LOST, lost_at)


def _after(moment: datetime, span: timedelta) -> datetime:
    return moment + span if span < NEVER - moment else max(NEVER, moment)


def apart(outages: Iterable[Outage]) -> tuple[Outage, ...]:
    """The outages sorted; those that touch or overlap are joined."""
    joined: list[Outage] = []
    for began_at, ended_at in sorted(outages):
        if joined and began_at <= joined[-1][1]:
            joined[-1] = joined[-1][0], max(joined[-1][1], ended_at)
        else:
            joined.append((began_at, ended_at))
    return tuple(joined)
