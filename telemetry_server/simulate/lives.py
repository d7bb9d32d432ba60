"""The lifecycle of a copy: the states that follow from its silences and the product's schedule."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from telemetry_server.enrich.lifecycle import SILENT
from telemetry_server.model import Lifecycle
from telemetry_server.simulate.terms import Terms

NEVER = 253_370_764_800_000
"""The year 9999: only a ping changes the state."""


class Silence(NamedTuple):
    """The time from one ping to the next (None: there is no next), with the numbers of both pings."""

    since: int
    until: int | None
    last: int
    next: int


class SimulatedStep(NamedTuple):
    """A new state, its time, and the number of the ping that caused or preceded it; None: to be looked up."""

    life: Lifecycle
    at: int
    number: int | None


class Course(NamedTuple):
    """The steps of a copy after NEW, and when the next one is due."""

    steps: Sequence[SimulatedStep]
    due_at: int


def life_of(first: int, silences: Sequence[Silence], terms: Terms) -> Course:
    """The steps until the end; `silences` are those longer than a product allows, and the last one."""
    steps: list[SimulatedStep] = []
    now = SimulatedStep(Lifecycle.NEW, first, None)
    for silence in silences:
        until = terms.over.end if silence.until is None else silence.until
        for step in _in_silence(now, silence, terms):
            if step.at > until:
                if silence.until is None:
                    return Course(steps, step.at)
                break
            steps.append(now := step)
        if silence.until is not None and now.life in SILENT:
            back = Lifecycle.ACTIVE if now.life is Lifecycle.LATE else Lifecycle.RETURNED
            steps.append(now := SimulatedStep(back, silence.until, silence.next))
    return Course(steps, NEVER)


def _in_silence(now: SimulatedStep, silence: Silence, terms: Terms) -> Iterator[SimulatedStep]:
    """The steps that would follow if the silence never ended."""
    late_at, lost_at = silence.since + terms.late_after, silence.since + terms.lost_after
    if now.life in {Lifecycle.NEW, Lifecycle.RETURNED} and now.at + terms.new_for < late_at:
        yield SimulatedStep(Lifecycle.ACTIVE, now.at + terms.new_for, None)
    yield SimulatedStep(Lifecycle.LATE, late_at, silence.last)
    yield SimulatedStep(Lifecycle.LOST, lost_at, silence.last)
