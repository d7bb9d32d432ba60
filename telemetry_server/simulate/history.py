"""The rows of a copy from its first ping to its last: its states, its changes, and its present row."""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Generic, NamedTuple, Protocol, TypeAlias, TypeVar
from uuid import UUID

from telemetry_server.enrich.verdict import Judgement
from telemetry_server.model import Lifecycle
from telemetry_server.simulate import rows
from telemetry_server.simulate.copies import Copy, State, differences
from telemetry_server.simulate.lives import Course, Silence, SimulatedStep, life_of
from telemetry_server.simulate.runs import Clock, Quirk, Run, quirk_of, received_numbers, runs
from telemetry_server.simulate.terms import Terms, moment
from telemetry_server.simulate.world import DAY
from telemetry_server.store.ranges import multirange

LONGEST_VALUE = 256
_SLOWEST_UPLOAD = 20_000
_YEARS_BEHIND = (10, 25)

Change: TypeAlias = tuple[str, str | None, str | None]


class Reporter(Protocol):
    """The copy of a history: what its rows name."""

    @property
    def id(self) -> UUID: ...
    @property
    def profile(self) -> int | None: ...


Reporting = TypeVar("Reporting", bound=Reporter)


class Piece(NamedTuple):
    """Pings that differ only in number and time, and when the first and the last of them were received.

    `license_id` is the license with the reported key, `clock_off` how far the clock is ahead.
    """

    run: Run
    first_received: int
    last_received: int
    state: State
    judged: Judgement
    address: str
    reason: str
    license_id: UUID | None
    clock_off: int = 0

    @property
    def last(self) -> int:
        return self.run.first + self.run.pings - 1

    @property
    def upload_ends_with(self) -> int:
        """The number of the last ping in the upload with the first."""
        return self.run.first + (self.run.pings if self.run.delivered is not None else 0)


@dataclass(frozen=True, slots=True)
class History(Generic[Reporting]):
    """The history of one copy; `number` is unique in the fleet."""

    number: int
    product_id: UUID
    copy: Reporting
    quirk: Quirk
    clock: Clock
    lag: int
    runs: Sequence[Run]
    pieces: Sequence[Piece]
    outcome: Course

    @property
    def pings(self) -> int:
        return sum(run.pings for run in self.runs)

    @property
    def life(self) -> Lifecycle:
        return self.outcome.steps[-1].life if self.outcome.steps else Lifecycle.NEW

    @property
    def has_wrong_clock(self) -> bool:
        return any(piece.clock_off for piece in self.pieces)

    @property
    def has_returned(self) -> bool:
        return any(step.life is Lifecycle.RETURNED for step in self.outcome.steps)


def history(copy: Copy, number: int) -> History[Copy]:
    terms, dice = copy.terms, copy.dice
    quirk = quirk_of(copy.deal.story, dice)
    clock = Clock(terms.interval, terms.jitter, dice.number(0, terms.jitter))
    lag = dice.number(200, _SLOWEST_UPLOAD)
    behind = dice.number(*_YEARS_BEHIND) * 365 * DAY if quirk is Quirk.WRONG_CLOCK else 0
    parts = runs(quirk, copy.planned, terms, clock, dice)
    pieces = list(_pieces(copy, parts, clock, -behind))
    outcome = course_of(pieces, terms)
    return History(number, terms.product_id, copy, quirk, clock, lag, parts, pieces, outcome)


def course_of(pieces: Sequence[Piece], terms: Terms) -> Course:
    """The lifecycle that follows from the pieces of a copy."""
    return life_of(pieces[0].first_received, list(_silences(pieces, terms)), terms)


def _pieces(copy: Copy, parts: Sequence[Run], clock: Clock, clock_off: int) -> Iterator[Piece]:
    """The runs, split at events."""
    events = deque(copy.events())
    reason = "start"
    for run in parts:
        rest = run
        while rest.pings:
            at = clock.received(rest, rest.first)
            while events and events[0][0] <= at:
                _, happen = events.popleft()
                reason = happen()
            piece = rest._replace(pings=clock.before(rest, events[0][0]) if events else rest.pings)
            last_received = clock.received(piece, piece.first + piece.pings - 1)
            state, judged = copy.state(at), copy.judged(at)
            license_id = copy.deal.license_id if state.key_hash and copy.deal.has_license else None
            yield Piece(piece, at, last_received, state, judged, copy.address, reason, license_id, clock_off)
            reason = "heartbeat"
            begins = rest.begins + piece.pings * clock.interval
            rest = Run(rest.first + piece.pings, rest.pings - piece.pings, begins, rest.delivered)


def _silences(pieces: Sequence[Piece], terms: Terms) -> Iterator[Silence]:
    for one, other in pairwise(pieces):
        if other.first_received - one.last_received > terms.late_after:
            yield Silence(one.last_received, other.first_received, one.last, other.upload_ends_with)
    yield Silence(pieces[-1].last_received, None, pieces[-1].last, 0)


# ── as rows ─────────────────────────────────────────────────────────────────────────────────


def stretches(of: History[Reporting]) -> Iterator[rows.Stretch]:
    for piece in of.pieces:
        yield rows.Stretch(
            copy=of.number,
            installation_id=of.copy.id,
            first_number=piece.run.first,
            last_number=piece.last,
            begins_ms=piece.run.begins,
            delivered_ms=piece.run.delivered,
            first_received_ms=piece.first_received,
            last_received_ms=piece.last_received,
            phase_ms=of.clock.phase,
            lag_ms=of.lag,
            clock_off_ms=piece.clock_off,
            client_address=piece.address,
            state=piece.state.digest,
            reason=piece.reason,
            profile=of.copy.profile,
            verdict=piece.judged.verdict,
            claim_mismatch=piece.judged.claim_mismatch,
            source_mismatch=piece.judged.source_mismatch,
        )


def states(of: History[Reporting]) -> Iterator[rows.State]:
    seen: set[bytes] = set()
    for piece in of.pieces:
        state = piece.state
        if state.digest not in seen:
            seen.add(state.digest)
            claim, since = state.facts["license"], moment(piece.first_received)
            yield rows.State(
                *(of.copy.id, state.digest, since, claim["status"], claim.get("source")),
                *(state.key_hash, state.facts_json.decode(), state.network.place),
            )


def changes(of: History[Reporting]) -> Iterator[rows.Change]:
    """The changes as the writer and the job of the lifecycle record them."""
    for one, other in pairwise(of.pieces):
        at = moment(other.first_received)
        for field, before, after in _changed(one, other):
            yield rows.Change(of.copy.id, at, other.run.first, field, _cut(before), _cut(after))
    before = Lifecycle.NEW
    for step in of.outcome.steps:
        number = step.number if step.number is not None else _number_at(of, step)
        yield rows.Change(of.copy.id, moment(step.at), number, "life", before, step.life)
        before = step.life


def _changed(one: Piece, other: Piece) -> Iterator[Change]:
    if one.state.digest != other.state.digest:
        yield from differences(one.state, other.state)
    if one.address != other.address:
        yield "client_address", one.address, other.address
    if one.judged.verdict != other.judged.verdict:
        yield "verdict", one.judged.verdict, other.judged.verdict


def _cut(value: str | None) -> str | None:
    return value and value[:LONGEST_VALUE]


def _number_at(of: History[Reporting], step: SimulatedStep) -> int:
    """The number of the last ping before the step."""
    piece = [piece for piece in of.pieces if piece.first_received <= step.at][-1]
    return piece.run.first + max(of.clock.before(piece.run, step.at), 1) - 1


def installation(of: History[Reporting]) -> rows.Installation:
    first, last = of.pieces[0], of.pieces[-1]
    numbers = received_numbers(list(of.runs))
    begin, end = numbers[-1]
    before = [*numbers[:-1], *([(begin, end - 1)] if end - 1 > begin else [])]
    pieces = [piece for piece in of.pieces if piece.run.first < last.last]
    return rows.Installation(
        installation_id=of.copy.id,
        product_id=of.product_id,
        received=multirange(numbers),
        received_before=multirange(before),
        first_received_at=moment(first.first_received),
        last_received_at=moment(last.last_received),
        last_sequence=last.last,
        last_occurred_at=moment(of.clock.made(last.run, last.last) - of.lag + last.clock_off),
        client_address=last.address,
        state=last.state.digest,
        state_before=pieces[-1].state.digest if pieces else None,
    )


def present(of: History[Reporting]) -> rows.Present:
    """The present row as the writer and the jobs would have left it at the end."""
    copy, last, steps = of.copy, of.pieces[-1], of.outcome.steps
    return rows.Present(
        installation_id=copy.id,
        product_id=of.product_id,
        first_received_at=moment(of.pieces[0].first_received),
        license_id=last.license_id,
        verdict=last.judged.verdict,
        claim_mismatch=last.judged.claim_mismatch,
        source_mismatch=last.judged.source_mismatch,
        judged_at=moment(last.first_received),
        judge_again=False,
        life=of.life,
        life_since=moment(steps[-1].at if steps else of.pieces[0].first_received),
        due_at=moment(of.outcome.due_at),
    )
