"""From disk to the server: enrols if there is no identity, sends the queue, follows the answers."""

from __future__ import annotations

import enum
import gzip
import json
import os
from functools import partial
from math import ceil
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional, Tuple, Union

from . import _answers as answers
from . import _identity as identity
from . import _levels as levels
from . import _support_requests as support_requests
from . import _wire as wire
from ._answers import Answer, Outcome
from ._backoff import LONGEST_BACK_OFF, calm, expect_the_worst, hold_aside, trust, within
from ._chance import chance
from ._collector import LONGEST_INTERVAL, Collector, jittered
from ._identity import Identity, Request
from ._ledger import Ledger, Upload
from ._outbox import PATIENCE, Outbox, Unavailable
from ._problems import Problems
from ._settings import DAY, SHORTEST_INTERVAL, Settings
from ._version import __version__
from ._wakeups import AT_ALL_COSTS, NOW, SOON, WHEN_DUE

GZIP_FROM_BYTES = 1024
MEMORY_PATIENCE = 600.0
LOOK_SECONDS = 60.0  # the interval at which an idle background thread wakes: attempts need no extra wake-up


Json = Dict[str, Any]
SDK = {"name": "license-telemetry-python", "version": __version__}


class Delivery(enum.Enum):
    """The result of an attempt."""

    EMPTY = "nothing is queued any more"
    WAITING = "something is queued and has to wait"
    ELSEWHERE = "another process is sending"


class Exchange(NamedTuple):
    """A request to post, and what to do with its answer, for `Uploader.settle`."""

    request: Request
    settle: Callable[[Ledger, Answer], Optional[Delivery]]


class Uploader:
    """Chooses the next request, one at a time, and follows its answer.

    `deliver_at` is the time of the next attempt by `ticks`, the monotonic clock. `clock` returns seconds
    since 1970.
    """

    def __init__(
        self,
        settings: Settings,
        outbox: Outbox,
        collector: Collector,
        problems: Problems,
        *,
        clock: Callable[[], float],
        ticks: Callable[[], float],
    ) -> None:
        self.settings = settings
        self._outbox = outbox
        self._collector = collector
        self._problems = problems
        self._clock = clock
        self._ticks = ticks
        self._born = clock()
        self._owner = f"{os.getpid()}-{os.urandom(8).hex()}"
        self._holds_lease = False
        self.deliver_at = 0.0
        self.is_empty = False

    def next(self, push: int) -> Union[Exchange, Delivery]:
        """The request to send now; `push` says which waits to skip. Raises Unavailable."""
        with self._outbox.transaction() as ledger:
            found = self._next(ledger, push, self._clock())
            if isinstance(found, Delivery):
                ledger.release(self._owner)
        if isinstance(found, Delivery):
            self._holds_lease = False
        self.is_empty = found is Delivery.EMPTY
        return found

    def release(self, patience: float = PATIENCE) -> None:
        """Lets another process send: this one is done, or about to end."""
        if not self._holds_lease:
            return
        self._holds_lease = False
        try:
            with self._outbox.transaction(patience) as ledger:
                ledger.release(self._owner)
        except Unavailable:
            pass  # it expires by itself

    def settle(self, exchange: Exchange, answer: Answer) -> Optional[Delivery]:
        """Follows the answer; returns None if there is more to do. Raises Unavailable."""
        with self._outbox.transaction() as ledger:
            delivery = exchange.settle(ledger, answer)
            if delivery is not None:
                ledger.release(self._owner)
        self._holds_lease = self._holds_lease and delivery is None
        return delivery

    def _wait_for(self, seconds: float) -> None:
        self.deliver_at = self._ticks() + max(0.0, seconds)

    # ── what to do next ─────────────────────────────────────────────────────────────────────

    def _next(self, ledger: Ledger, push: int, now: float) -> Union[Exchange, Delivery]:
        self._wait_for(DAY)
        asked = self._forgetting(ledger, push, now) or next(self._supporting(ledger, push, now), None)
        if not asked and not ledger.queued():
            return Delivery.EMPTY
        if not self.settings.endpoint or ledger.get("stopped"):
            return Delivery.WAITING
        if (ledger.get("off") or self.settings.why_off is not None) and not asked:
            return Delivery.WAITING
        if not self.settings.product_key and (ledger.identity() is None or ledger.get("reenrol")):
            return Delivery.WAITING
        until = self._blocked_until(ledger, push, now)
        if until > now:
            self._wait_for(until - now)
            return Delivery.WAITING
        if not ledger.lease(self._owner, now):
            self._wait_for(chance.uniform(20, 40))  #  the other process sends everything
            return Delivery.ELSEWHERE
        self._holds_lease = True
        expect_the_worst(ledger, now)
        return asked or self._exchange(ledger)

    def _exchange(self, ledger: Ledger) -> Union[Exchange, Delivery]:
        known = ledger.identity()
        if known is None or ledger.get("reenrol"):
            return self._enrolling(ledger, known)
        upload = ledger.upload(partial(self._build, self._collector.level(ledger)))
        if upload is None:
            return Delivery.EMPTY
        return self._uploading(known, upload, more=ledger.queued() > len(upload.pings))

    def exchanges(self, ledger: Ledger) -> List[Exchange]:
        """All that waits for the server, also for its time: to be carried there in a bundle."""
        now, known = self._clock(), ledger.identity()
        asked = [self._forgetting(ledger, AT_ALL_COSTS, now), *self._supporting(ledger, AT_ALL_COSTS, now)]
        found = [exchange for exchange in asked if exchange is not None]
        if ledger.get("stopped") or ledger.get("off") or self.settings.why_off is not None:
            return found
        if known is None or ledger.get("reenrol"):
            return found + ([self._enrolling(ledger, known)] if self.settings.product_key else [])
        uploads = ledger.uploads(partial(self._build, self._collector.level(ledger)))
        return found + [self._uploading(known, upload, more=False) for upload in uploads]

    def _enrolling(self, ledger: Ledger, known: Optional[Identity]) -> Exchange:
        why = ledger.get("reenrol")
        parent = known if why in ("forked", "moved") else None
        request = identity.enrolment(self.settings.product_key or "", parent)._replace(more=True)
        return Exchange(request, partial(self._enrolled, known, parent, why))

    def _uploading(self, known: Identity, upload: Upload, *, more: bool) -> Exchange:
        request = identity.upload(known, upload.body, upload.encoding)._replace(more=more)
        return Exchange(request, partial(self._sent, known, upload))

    def _blocked_until(self, ledger: Ledger, push: int, now: float) -> float:
        """The latest of the waits; one that is impossibly far off is ignored, as it is of another clock."""
        waits = [0.0]
        if push < AT_ALL_COSTS:
            waits.append(within(ledger.get("pause_until", 0.0), now, 1.1 * DAY))
        if push < NOW:
            waits.append(within(ledger.get("retry_at", 0.0), now, LONGEST_BACK_OFF + 2))
            if ledger.all_is_aside():
                waits.append(within(ledger.get("aside_until", 0.0), now, LONGEST_BACK_OFF))
            if self._outbox.in_memory:  # an identity that dies with the process is for processes that stay
                waits.append(within(self._born + MEMORY_PATIENCE, now, MEMORY_PATIENCE))
        if push < SOON:
            spread = self._collector.send_at - self._ticks()
            waits.append(now + spread if spread < DAY else 0.0)  # farther off: nothing is to leave
        return max(waits)

    def _build(self, level: str, pings: List[Json]) -> Tuple[str, bytes, Optional[str]]:
        """The bytes of an upload, with pings lowered to the present level."""
        upload_id = wire.uuid7()
        upload = {
            "upload_id": upload_id,
            "sent_at": wire.timestamp(self._clock()),
            "sdk": SDK,
            "pings": [levels.lower(ping, level) for ping in pings],
        }
        body = json.dumps(upload, separators=(",", ":")).encode()
        if len(body) <= GZIP_FROM_BYTES:
            return upload_id, body, None
        return upload_id, gzip.compress(body, mtime=0), "gzip"

    # ── enrolling ───────────────────────────────────────────────────────────────────────────

    def _enrolled(
        self,
        known: Optional[Identity],
        parent: Optional[Identity],
        why: Optional[str],
        ledger: Ledger,
        answer: Answer,
    ) -> Optional[Delivery]:
        now = self._clock()
        if ledger.identity() != known:
            return None  # the lease ran out meanwhile, another process enrolled
        fresh = answers.issued(answer)
        outcome = "enrolled" if fresh else "not enrolled"
        self._note(ledger, now, outcome, answer, good=fresh is not None)
        if fresh is not None:
            return self._adopt(ledger, fresh, answer, why, now)
        if parent is not None and 400 <= answer.status < 429 and not answer.is_page():  # noqa: PLR2004
            ledger.put("reenrol", "refused")  # the server rejects the parent's signature: enrol without
            return None
        if answer.status in (401, 403) and not answer.is_page():
            ledger.put("pause_until", now + DAY)
        return self._wait(ledger, answer, now)

    def _adopt(
        self, ledger: Ledger, fresh: Identity, answer: Answer, why: Optional[str], now: float
    ) -> Optional[Delivery]:
        ledger.adopt(fresh)
        ledger.put("enrolled_again", why == "unknown")
        ledger.put("doubted", False)
        ledger.put("pause_until", 0.0)
        if why is None:
            ledger.put("retry_at", 0.0)
        self._follow(ledger, answer.json(), now)
        return None

    # ── sending ─────────────────────────────────────────────────────────────────────────────

    def _sent(self, known: Identity, upload: Upload, ledger: Ledger, answer: Answer) -> Optional[Delivery]:
        outcome, now = answers.judge(answer, known, upload.body), self._clock()
        act = {
            Outcome.ACKNOWLEDGED: self._acknowledge,
            Outcome.REFUSED: self._give_in,
            Outcome.TURNED_AWAY: self._step_aside,
            Outcome.UNKNOWN: self._doubt,
            Outcome.GONE: self._stop,
            Outcome.BUSY: self._wait_for_it,
            Outcome.UNANSWERED: self._wait_for_it,
        }[outcome]
        if not ledger.holds(upload.upload_id):
            return None  # another process settled it meanwhile, or consent to its content was withdrawn
        self._note(ledger, now, outcome.value, answer, good=outcome is Outcome.ACKNOWLEDGED)
        return act(ledger, upload, answer, now)

    def _acknowledge(self, ledger: Ledger, upload: Upload, answer: Answer, now: float) -> Optional[Delivery]:
        content = answer.json() or {}
        fates = answers.fates(content)
        ledger.unpack(upload.upload_id)
        for sequence, ping_id in upload.pings:
            ledger.settle(sequence, fates.get(ping_id), now)
        ledger.resend(answers.missing(content))
        ledger.prune(now)
        trust(ledger)
        if upload.aside:
            hold_aside(ledger, 0.0, 0)  # the network is free again: the others may follow
        self._follow(ledger, content, now)
        if all(fates.get(ping_id) not in (None, "forked") for _, ping_id in upload.pings):
            calm(ledger)
            return None
        return None if "forked" in fates.values() else Delivery.WAITING

    def _give_in(self, ledger: Ledger, upload: Upload, _answer: Answer, _now: float) -> Optional[Delivery]:
        """Handles a refusal by the server itself: tries two halves, drops and counts a single ping."""
        if not ledger.split(upload, partial(self._build, self._collector.level(ledger))):
            ledger.unpack(upload.upload_id)
            for sequence, _ in upload.pings:
                ledger.refuse(sequence)
        trust(ledger)
        calm(ledger)
        return None

    def _step_aside(self, ledger: Ledger, upload: Upload, answer: Answer, now: float) -> Optional[Delivery]:
        """Handles a refusal without a receipt: nothing is dropped, and two halves are tried.

        A single ping is set aside for all others. One of those set aside is tried every few hours; when it
        passes, the others follow.
        """
        if not ledger.split(upload, partial(self._build, self._collector.level(ledger))):
            ledger.set_aside(upload.upload_id)
            hold_aside(ledger, now, ledger.get("aside_tries", 0) + 1)
        if upload.aside:
            calm(ledger)  # it was no news, and no reason for the others to wait
        return self._wait(ledger, answer, now)

    def _doubt(self, ledger: Ledger, _upload: Upload, _answer: Answer, now: float) -> Optional[Delivery]:
        """Handles "unknown installation": tries the same identity a day later, then takes a new one.

        Only once: a new identity that is refused, too, is tried every day.
        """
        may_enrol = self.settings.product_key and not ledger.get("enrolled_again")
        if may_enrol and ledger.get("doubted"):
            ledger.put("reenrol", "unknown")
            return None
        ledger.put("doubted", True)
        ledger.put("pause_until", now + DAY)
        self._wait_for(DAY)
        return None if may_enrol else Delivery.WAITING  # a push that skips the pause continues now

    def _stop(self, ledger: Ledger, _upload: Upload, answer: Answer, now: float) -> Optional[Delivery]:
        ledger.put("stopped", wire.timestamp(now))
        ledger.clear()
        return self._wait(ledger, answer, now)

    def _wait_for_it(self, ledger: Ledger, _upload: Upload, answer: Answer, now: float) -> Optional[Delivery]:
        return self._wait(ledger, answer, now)

    def _note(self, ledger: Ledger, now: float, outcome: str, answer: Answer, *, good: bool) -> None:
        detail = answer.trouble or f"HTTP {answer.status}"
        if not good and (answer.is_page() or 200 <= answer.status < 300):  # noqa: PLR2004  success
            detail += ", but not from a telemetry server: a proxy or a sign-in page may answer in its place"
        ledger.put("last", {"at": wire.timestamp(now), "outcome": outcome, "detail": detail[:200]})
        text = f"{self.settings.endpoint}: {outcome} ({detail[:200]})"
        if good:
            self._problems.settle("server")
            self._problems.trace(text)
        else:
            self._problems.note("server", text)

    def _wait(self, ledger: Ledger, answer: Answer, now: float) -> Delivery:
        """Keeps everything; waits as long as the server asked, else for the back-off noted before."""
        asked = answer.retry_after(now) if answer.status in answers.BUSY else None
        if asked is not None:
            ledger.put("pause_until", now + asked * chance.uniform(1, 1.1))  #  so that a fleet spreads
        looks = ceil((self._blocked_until(ledger, WHEN_DUE, now) - now) / LOOK_SECONDS)
        self._wait_for(max(1, looks) * LOOK_SECONDS)
        return Delivery.WAITING

    # ── being forgotten ─────────────────────────────────────────────────────────────────────

    def _forgetting(self, ledger: Ledger, push: int, now: float) -> Optional[Exchange]:
        """The request to be forgotten, if one waits: it is sent first, even while telemetry is off."""
        wish, known = ledger.get("forget"), ledger.identity()
        if not wish or self.settings.is_forbidden:
            return None
        if known is None:  # the server does not know this copy
            ledger.put("forget", None)
            return None
        if push < NOW and within(ledger.get("forget_at", 0.0), now, 1.1 * DAY) > now:
            return None
        body = json.dumps({"reason": wish.get("reason", "")} if wish.get("reason") else {}).encode()
        return Exchange(identity.forgetting(known, body), partial(self._forgotten, known, body))

    def _forgotten(self, known: Identity, body: bytes, ledger: Ledger, answer: Answer) -> Optional[Delivery]:
        now = self._clock()
        if ledger.identity() != known:
            return None
        receipted = known.is_receipt(answer.headers.get(wire.RECEIPT.lower()), body, answer.body)
        done = receipted and answer.status in (200, 202, 410)
        self._note(ledger, now, "forgotten" if done else "not forgotten yet", answer, good=done)
        if done:
            ledger.leave_identity()
            ledger.put("forget", None)
            ledger.put("forgotten_at", wire.timestamp(now))
            calm(ledger)
            return None
        return self._again(ledger, "forget_at", answer, now)

    # ── support access ──────────────────────────────────────────────────────────────────────

    def _supporting(self, ledger: Ledger, push: int, now: float) -> Iterator[Exchange]:
        """The requests to grant or revoke support access that wait: as the request to be forgotten."""
        if self.settings.is_forbidden:
            return
        if push < AT_ALL_COSTS and within(ledger.get("support_at", 0.0), now, 1.1 * DAY) > now:
            return
        for waiting in support_requests.waiting(ledger, now):
            yield Exchange(support_requests.request_of(waiting), partial(self._supported, waiting))

    def _supported(self, sent: Json, ledger: Ledger, answer: Answer) -> Optional[Delivery]:
        now, outcome = self._clock(), support_requests.settle(ledger, sent, answer)
        said = f"support access {outcome or 'not acknowledged yet'}"
        self._note(ledger, now, said, answer, good=outcome == "acknowledged")
        if outcome is None:
            return self._again(ledger, "support_at", answer, now)
        calm(ledger)
        return None

    def _again(self, ledger: Ledger, when: str, answer: Answer, now: float) -> Delivery:
        """Keeps what has no receipt of the server, and sends it again."""
        if answer.status:  # the server answered, and cannot do it yet
            ledger.put(when, now + DAY)
            calm(ledger)
        return self._wait(ledger, answer, now)

    def _follow(self, ledger: Ledger, content: Any, now: float) -> None:
        """Takes the interval and the notices of a good answer."""
        if not isinstance(content, dict):
            return
        interval: Any = content.get("next_ping_seconds")
        if type(interval) in (int, float) and interval > 0:
            held = min(max(float(interval), SHORTEST_INTERVAL), LONGEST_INTERVAL)
            ledger.put("interval", held)
            self._collector.due = now + jittered(held)
            ledger.put("due", self._collector.due)
            self._collector.look_at = min(self._collector.look_at, self._ticks() + held)
        for name in ("notice", "notices"):
            if name in content and len(json.dumps(content[name])) <= answers.LARGEST_NOTICES:
                ledger.put(name, content[name])
        self._collector.learn_notice(ledger, content)
