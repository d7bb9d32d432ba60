"""The histories of the copies of a tale: runs, states, verdicts and seats, as the server would see them."""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from hashlib import blake2b
from itertools import pairwise
from operator import itemgetter
from typing import NamedTuple
from uuid import UUID

import orjson

from telemetry_server.enrich.steps import is_doubtful
from telemetry_server.enrich.verdict import Claim, Judgement, is_exceeded, judge
from telemetry_server.model import UNKNOWN, Grant, LicenseSource, LicenseType, Overage, ProductId
from telemetry_server.simulate.copies import Facts, State, facts_of
from telemetry_server.simulate.deals import FREE_ENVIRONMENTS
from telemetry_server.simulate.history import History, Piece, course_of
from telemetry_server.simulate.runs import Clock, Quirk, Run
from telemetry_server.simulate.tales import CopyPlan, License, LicenseTerms, Server, Spell, Tale
from telemetry_server.simulate.terms import Terms, moment

_SLOWEST_UPLOAD = 20_000


class Stay(NamedTuple):
    """Pings of a copy from one server, whose first has the reason."""

    run: Run
    first_received: int
    last_received: int
    server: Server
    reason: str


class Seats:
    """The seats of a license in use over time, from the spells in which copies report with its key."""

    def __init__(self, spells: Iterable[Spell]) -> None:
        steps: dict[int, int] = defaultdict(int)
        for begin, end in spells:
            steps[begin] += 1
            steps[end] -= 1
        self._moments, self._used, used = sorted(steps), [0], 0
        for at in self._moments:
            used += steps[at]
            self._used.append(used)

    def used(self, at: int) -> int:
        return self._used[bisect_right(self._moments, at)]

    @property
    def moments(self) -> Sequence[int]:
        return self._moments


class Telling:
    """Makes the histories of a tale; `sibling` is the sibling product."""

    def __init__(self, tale: Tale, terms: Terms, sibling: UUID) -> None:
        self.tale, self.terms, self._sibling = tale, terms, sibling
        self._clocks = [
            Clock(terms.interval, terms.jitter, c.dice.number(0, terms.jitter)) for c in tale.copies
        ]
        self._runs = [_runs(copy, clock) for copy, clock in zip(tale.copies, self._clocks, strict=True)]
        stays = [self._stays(index, frozenset()) for index in range(len(tale.copies))]
        spells: dict[int, list[Spell]] = defaultdict(list)
        for each in stays:
            for license_number, spell in _counted(each, terms.late_after):
                spells[license_number].append(spell)
        self.seats = {key.number: Seats(spells[key.number]) for key in tale.licenses}
        self._turns = {key.number: self._turns_of(key) for key in tale.licenses}

    def histories(self, first_number: int) -> Iterator[History[CopyPlan]]:
        """The history of each copy; they are numbered from `first_number` on."""
        for index, copy in enumerate(self.tale.copies):
            lag = copy.dice.number(200, _SLOWEST_UPLOAD)
            turns = frozenset().union(*(self._turns[key.number] for key in _licenses(copy)))
            pieces = list(self._pieces(self._stays(index, turns)))
            yield History(
                number=first_number + index,
                product_id=self.terms.product_id,
                copy=copy,
                quirk=Quirk.NONE,
                clock=self._clocks[index],
                lag=lag,
                runs=self._runs[index],
                pieces=pieces,
                outcome=course_of(pieces, self.terms),
            )

    def later_verdicts(self, of: History[CopyPlan]) -> Iterator[tuple[int, Judgement]]:
        """The verdicts that the jobs reach after the last ping, with their times, until the end."""
        last, terms = of.pieces[-1], self.terms
        server = of.copy.server_at(last.last_received)
        made_at = of.clock.made(last.run, last.last) - of.lag + server.clock_off
        late_at = last.last_received + terms.late_after
        key = server.license
        moments = {late_at, terms.over.end}
        if key is not None:
            moments |= key.moments | self._turns[key.number]
        for at in sorted(at for at in moments if last.last_received < at <= terms.over.end):
            yield at, self.judged(server, at, made_at, claimed_at=last.last_received, silent=at >= late_at)

    def state(self, server: Server, at: int) -> State:
        """The state that a ping from the server would be in."""
        key, seed = server.license, self.terms.seed
        facts = facts_of(
            boot=_digest(seed, server.boot),
            fingerprint={"machine_id": _digest(seed, server.machine), "board": _digest(seed, server.board)},
            claim=_claim(server, at),
            system=server.system,
            level=server.level,
            service={"version": server.version, "build": server.build, "environment": server.environment},
            runs_on=(server.vm, server.container, server.network.cloud),
        )
        facts_json = orjson.dumps(facts)
        key_hash = self.terms.hash_of_key(key.key) if key else None
        digest = self.terms.name_state(facts_json, server.network.place.encode(), key_hash or b"")
        return State(facts, facts_json, server.network, key_hash, digest)

    def judged(
        self, server: Server, at: int, made_at: int, *, claimed_at: int | None = None, silent: bool = False
    ) -> Judgement:
        """The judgement at `at` on a claim that was made then by the clock of the server."""
        claimed_at = at if claimed_at is None else claimed_at
        claimed = _claim(server, claimed_at)
        made, sent = moment(made_at), moment(claimed_at)
        claim = Claim(
            product_id=self.terms.product_id,
            has_key=server.license is not None,
            status=claimed["status"],
            source=claimed.get("source", UNKNOWN),
            environment=server.environment,
            address=server.address,
            made_at=sent if is_doubtful(made, sent) else made,
            silent=silent,
        )
        grant = self._grant(server.license, at) if server.license else None
        return judge(claim, grant, moment(at))

    # ── pings ───────────────────────────────────────────────────────────────────────────────

    def _stays(self, index: int, turns: frozenset[int]) -> list[Stay]:
        """The runs of a copy, split where its server, a license or the use of seats changes."""
        copy, clock = self.tale.copies[index], self._clocks[index]
        script = sorted(copy.script, key=itemgetter(0))
        splits = {at for at, _, _ in script} | turns
        for key in _licenses(copy):
            splits |= key.moments
        ahead, server, reason = sorted(splits), copy.server, "start"
        stays = []
        for whole in self._runs[index]:
            rest = whole
            while rest.pings:
                at = clock.received(rest, rest.first)
                while script and script[0][0] <= at:
                    _, fields, reason = script.pop(0)
                    server = server._replace(**fields)
                until = bisect_right(ahead, at)
                pings = clock.before(rest, ahead[until]) if until < len(ahead) else rest.pings
                run = rest._replace(pings=pings)
                stays.append(Stay(run, at, clock.received(run, run.first + pings - 1), server, reason))
                reason = "heartbeat"
                begins = rest.begins + pings * clock.interval
                rest = Run(rest.first + pings, rest.pings - pings, begins, rest.delivered)
        return stays

    def _pieces(self, stays: Sequence[Stay]) -> Iterator[Piece]:
        before: Piece | None = None
        for run, first, last, server, why in stays:
            state = self.state(server, first)
            judged = self.judged(server, first, first + server.clock_off)
            is_news = before and state.facts["license"] != before.state.facts["license"]
            reason = "license" if why == "heartbeat" and is_news else why
            key = server.license
            license_id = key.license_id if key and key.registered_at is not None else None
            piece = Piece(
                run, first, last, state, judged, server.address, reason, license_id, server.clock_off
            )
            before = piece
            yield piece

    # ── the registry ────────────────────────────────────────────────────────────────────────

    def _grant(self, key: License, at: int) -> Grant | None:
        if key.registered_at is None or at < key.registered_at:
            return None
        seats = self.seats[key.number].used(at)
        product_id = self._sibling if key.is_of_sibling else self.terms.product_id
        return _grant(key.at(at), key.starts_at, ProductId(product_id), seats)

    def _turns_of(self, key: License) -> frozenset[int]:
        """The times at which the license gets exceeded, or is no longer."""
        seats, product_id = self.seats[key.number], ProductId(self.terms.product_id)
        moments = sorted({*seats.moments, *(at for at, _ in key.changes)})
        exceeded = [
            is_exceeded(_grant(key.at(at), key.starts_at, product_id, seats.used(at))) for at in moments
        ]
        turned = pairwise([False, *exceeded])
        return frozenset(at for at, (was, now) in zip(moments, turned, strict=True) if was != now)


def _grant(terms: LicenseTerms, starts_at: int, product_id: ProductId, seats_used: int) -> Grant:
    return Grant(
        product_id=product_id,
        status=terms.status,
        type=terms.type,
        source=LicenseSource(terms.source),
        seats=terms.seats,
        seats_used=seats_used,
        overage=Overage(terms.overage),
        networks=(),
        free_environments=FREE_ENVIRONMENTS,
        starts_at=moment(starts_at),
        expires_at=None if terms.expires_at is None else moment(terms.expires_at),
    )


def _licenses(copy: CopyPlan) -> list[License]:
    """The licenses whose keys the copy has at some time."""
    later = [fields["license"] for _, fields, _ in copy.script if "license" in fields]
    found: list[License | None] = [copy.server.license, *later]
    return [key for key in found if key is not None]


def _counted(stays: Sequence[Stay], late_after: int) -> Iterator[tuple[int, Spell]]:
    """The licenses whose seats a copy takes, and when: until it changes, or is late."""
    begins = [stay.first_received for stay in stays[1:]]
    for stay, until in zip(stays, [*begins, None], strict=True):
        late_at = stay.last_received + late_after
        key = stay.server.license
        if key is not None and stay.server.environment not in FREE_ENVIRONMENTS:
            yield key.number, (stay.first_received, late_at if until is None else min(until, late_at))


def _claim(server: Server, at: int) -> Facts:
    """What a copy on that server says of its license, as the SDK writes it."""
    key = server.license
    if key is None:
        claim = {"status": server.claims or "unlicensed"}
        return claim | ({"source": server.claimed_source} if server.claimed_source else {})
    terms = key.at(at)
    is_trial = terms.type is LicenseType.TRIAL
    source = server.claimed_source or ("trial" if is_trial else terms.source)
    claim = {
        "status": server.claims or _honest_status(terms, at),
        "key_hint": key.key[-4:],
        "source": source,
    }
    if source == terms.source and terms.source_detail:
        claim["source_detail"] = terms.source_detail
    claim["edition"] = server.claimed_edition or terms.edition
    if terms.expires_at:
        claim["expires_at"] = f"{moment(terms.expires_at):%Y-%m-%dT%H:%M:%SZ}"
    return claim


def _honest_status(terms: LicenseTerms, at: int) -> str:
    if terms.expires_at is not None and at >= terms.expires_at:
        return "expired"
    return "trial" if terms.type is LicenseType.TRIAL else "licensed"


def _digest(seed: int, what: str) -> str:
    return blake2b(f"{seed} {what}".encode(), digest_size=32).hexdigest()


# ── runs ────────────────────────────────────────────────────────────────────────────────────


def _runs(copy: CopyPlan, clock: Clock) -> list[Run]:
    """The runs of a copy, at least one ping; its silences, offline and lost times do not overlap."""
    parts: list[Run] = []
    number, begins = 1, copy.first - clock.delay(1)
    waiting: Run | None = None
    breaks = [
        *((spell, "silent") for spell in copy.silent),
        *((spell, "offline") for spell in copy.offline),
        *((spell, "dropped") for spell in copy.dropped),
    ]
    for (begin, end), kind in [*sorted(breaks), ((copy.gone, copy.gone), "gone")]:
        run = _fitting(clock, number, begins, min(begin, copy.gone))
        if run.pings and waiting:
            parts.append(waiting._replace(delivered=clock.received(run, run.first)))
            waiting = None
        if run.pings:
            parts.append(run)
        number, begins = number + run.pings, begins + run.pings * clock.interval
        if kind == "silent":
            begins = max(begins, end)
        elif kind != "gone" and waiting is None:
            missed = _fitting(clock, number, begins, min(end, copy.gone))
            waiting = missed if kind == "offline" and missed.pings else None
            number, begins = number + missed.pings, begins + missed.pings * clock.interval
    return parts or [Run(1, 1, copy.first - clock.delay(1))]


def _fitting(clock: Clock, first: int, begins: int, until: int) -> Run:
    """The pings from number `first` on, due from `begins` on, made before `until`; maybe none."""
    run = Run(first, max(0, (until - begins - 1) // clock.interval + 1), begins)
    too_late = run.pings and clock.made(run, first + run.pings - 1) >= until
    return run._replace(pings=run.pings - bool(too_late))
