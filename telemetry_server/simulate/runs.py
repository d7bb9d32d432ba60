"""The pings of a copy, in runs of equal intervals, with silences between them."""

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple, TypeAlias

from telemetry_server.simulate.deals import Planned, Story
from telemetry_server.simulate.dice import Dice, Weighted
from telemetry_server.simulate.terms import Terms

Numbers: TypeAlias = tuple[tuple[int, int], ...]

STRIDE = 7_919_013
"""The jitter of the n-th ping is (phase + n * STRIDE) modulo the largest jitter, also in store.sql."""

_FEWEST_PINGS = 8
_LONGEST_HOLE = 4


class Quirk(StrEnum):
    """A peculiarity of a copy's reports."""

    NONE = "none"
    FLAKY = "flaky"
    BUFFERED = "delivered_late"
    GAPPY = "gaps"
    RETURNED = "returned"
    RETRYING = "duplicates"
    WRONG_CLOCK = "wrong_clock"


_QUIRKS = Weighted(
    (
        (Quirk.NONE, 80),
        (Quirk.FLAKY, 6),
        (Quirk.BUFFERED, 4),
        (Quirk.GAPPY, 3.5),
        (Quirk.RETURNED, 2),
        (Quirk.RETRYING, 4),
        (Quirk.WRONG_CLOCK, 0.5),
    )
)


class Run(NamedTuple):
    """Pings numbered from `first` on, the first due at `begins`; with `delivered`, all were received then."""

    first: int
    pings: int
    begins: int
    delivered: int | None = None


@dataclass(frozen=True, slots=True)
class Clock:
    """The times of the pings of one copy."""

    interval: int
    jitter: int
    phase: int

    def received(self, run: Run, number: int) -> int:
        """The time at which that ping of the run was received."""
        if run.delivered is not None:
            return run.delivered
        return self.made(run, number)

    def made(self, run: Run, number: int) -> int:
        return run.begins + (number - run.first) * self.interval + self.delay(number)

    def delay(self, number: int) -> int:
        """The time from the moment that ping is due until it is made."""
        return (self.phase + number * STRIDE) % self.jitter

    def run(self, first: int, begins: int, gone: int) -> Run:
        """The pings from number `first` on, due from `begins` on, made before `gone`; at least one."""
        run = Run(first, max(1, (gone - begins - 1) // self.interval + 1), begins)
        too_late = self.made(run, first + run.pings - 1) >= gone
        return run._replace(pings=max(1, run.pings - too_late))

    def before(self, run: Run, moment: int) -> int:
        """The number of pings of the run received before `moment`."""
        if run.delivered is not None:
            return run.pings if run.delivered < moment else 0
        due = min(max(-(-(moment - run.begins) // self.interval), 0), run.pings)
        if due and self.received(run, run.first + due - 1) >= moment:
            due -= 1
        return due


def quirk_of(story: Story, dice: Dice) -> Quirk:
    """A quirk, only for copies without another irregularity, so that planted ones do not overlap."""
    return dice.pick(_QUIRKS) if story in {Story.HONEST, Story.UNLICENSED} else Quirk.NONE


def runs(quirk: Quirk, planned: Planned, terms: Terms, clock: Clock, dice: Dice) -> list[Run]:
    """The runs of a copy: the first begins with its first ping, the last ends before it is gone."""
    whole = clock.run(1, planned.first - clock.delay(1), planned.gone)
    if whole.pings < _FEWEST_PINGS:
        return [whole]
    match quirk:
        case Quirk.GAPPY:
            return _with_hole(whole, dice, terms)
        case Quirk.BUFFERED:
            return _with_late_delivery(whole, dice, clock)
        case Quirk.FLAKY:
            silence = terms.late_after + dice.number(1, 4) * terms.interval
            return _with_silence(whole, silence, planned.gone, dice, clock)
        case Quirk.RETURNED:
            silence = terms.lost_after + terms.jitter + dice.number(1, 3) * terms.interval
            return _with_silence(whole, silence, planned.gone, dice, clock)
        case Quirk.NONE | Quirk.RETRYING | Quirk.WRONG_CLOCK:
            return [whole]


def received_numbers(parts: list[Run]) -> Numbers:
    """The numbers of the runs, as half-open ranges that do not touch."""
    ranges: list[tuple[int, int]] = []
    for run in parts:
        begin, end = run.first, run.first + run.pings
        if ranges and ranges[-1][1] == begin:
            begin, _ = ranges.pop()
        ranges.append((begin, end))
    return tuple(ranges)


def _with_hole(whole: Run, dice: Dice, terms: Terms) -> list[Run]:
    before = dice.number(2, whole.pings - _LONGEST_HOLE - 1)
    lost = dice.number(1, _LONGEST_HOLE + 1)
    after = before + lost
    return [
        whole._replace(pings=before),
        Run(whole.first + after, whole.pings - after, whole.begins + after * terms.interval),
    ]


def _with_late_delivery(whole: Run, dice: Dice, clock: Clock) -> list[Run]:
    """Some pings wait in the outbox, and arrive in one upload with the next."""
    before, kept = dice.number(1, whole.pings - _LONGEST_HOLE - 1), dice.number(2, _LONGEST_HOLE + 1)
    after = before + kept
    begins = [whole.begins + number * clock.interval for number in (0, before, after)]
    rest = Run(whole.first + after, whole.pings - after, begins[2])
    waited = Run(whole.first + before, kept, begins[1], delivered=clock.received(rest, rest.first))
    return [whole._replace(pings=before), waited, rest]


def _with_silence(whole: Run, silence: int, gone: int, dice: Dice, clock: Clock) -> list[Run]:
    """The copy is off for a while: without pings, and so without a gap in the numbers."""
    latest = (gone - clock.jitter - 1 - whole.begins - silence) // clock.interval + 1
    if latest < 2:  # noqa: PLR2004  one ping before the silence, one after
        return [whole]
    before = dice.number(1, min(latest, whole.pings))
    begins = whole.begins + (before - 1) * clock.interval + silence
    return [whole._replace(pings=before), clock.run(whole.first + before, begins, gone)]
