"""From disk to the server: enrol when there is no identity, send what is queued, do what the answer says."""

from __future__ import annotations

import enum
import gzip
import json
import os
import random
from functools import partial
from typing import Any, Callable, Dict, List, Optional, Tuple, Union

from . import answers, identity, levels, wire
from .answers import Answer, Outcome
from .collector import LONGEST_INTERVAL, Collector, jittered
from .identity import Identity, Request
from .ledger import Ledger, Upload
from .outbox import PATIENCE, Outbox, Unavailable
from .settings import DAY, Settings
from .signals import AT_ALL_COSTS, NOW, SOON
from .version import __version__

MOST_REQUESTS = 64
GZIP_FROM_BYTES = 1024
BACK_OFF_SECONDS = 30.0
LONGEST_BACK_OFF = 6 * 3600.0
ASIDE_SECONDS = 3600.0
SHORTEST_INTERVAL = 60.0
LARGEST_NOTICES = 4096
MEMORY_PATIENCE = 600.0

Json = Dict[str, Any]
SDK = {"name": "license-telemetry-python", "version": __version__}


class Delivery(enum.Enum):
    """How an attempt ended."""

    EMPTY = "nothing is queued any more"
    WAITING = "something is queued and has to wait"
    ELSEWHERE = "another process is sending"


Task = Union[Delivery, "partial[Optional[Delivery]]"]


class Courier:
    """Sends what is queued, one request at a time. `deliver_at`: when to try again, seconds since 1970."""

    def __init__(
        self,
        settings: Settings,
        outbox: Outbox,
        collector: Collector,
        post: Callable[[Request], Answer],
        clock: Callable[[], float],
    ) -> None:
        self._settings = settings
        self._outbox = outbox
        self._collector = collector
        self._post = post
        self._clock = clock
        self._born = clock()
        self._owner = f"{os.getpid()}-{os.urandom(8).hex()}"
        self._holds_lease = False
        self.deliver_at = 0.0

    def deliver(self, push: int) -> Delivery:
        """Send until nothing is queued or something has to wait; `push` is how much waiting to pass over."""
        try:
            for _ in range(MOST_REQUESTS):
                done = self._step(push)
                if done is not None:
                    return done
        except Unavailable:
            pass
        finally:
            self.release()
        self.deliver_at = self._clock() + 1
        return Delivery.WAITING

    def _step(self, push: int) -> Optional[Delivery]:
        """One request and its consequences; None when there is more to do."""
        with self._outbox.transaction() as ledger:
            task = self._next(ledger, push, self._clock())
            if isinstance(task, Delivery):
                ledger.release(self._owner)
        if not isinstance(task, Delivery):
            return task()
        self._holds_lease = False
        return task

    def release(self, patience: float = PATIENCE) -> None:
        """Let another process send: this one is through, or about to end."""
        if not self._holds_lease:
            return
        self._holds_lease = False
        try:
            with self._outbox.transaction(patience) as ledger:
                ledger.release(self._owner)
        except Unavailable:
            pass  # it runs out by itself

    # ── what to do next ─────────────────────────────────────────────────────────────────────

    def _next(self, ledger: Ledger, push: int, now: float) -> Task:
        self.deliver_at = now + DAY
        if not ledger.queued():
            return Delivery.EMPTY
        if not self._settings.endpoint or ledger.get("off") or ledger.get("stopped"):
            return Delivery.WAITING
        if not self._settings.product_key and (ledger.identity() is None or ledger.get("reenrol")):
            return Delivery.WAITING
        until = self._blocked_until(ledger, push, now)
        if until > now:
            self.deliver_at = until
            return Delivery.WAITING
        if not ledger.lease(self._owner, now):
            self.deliver_at = now + random.uniform(1, 3)  # noqa: S311  a schedule, no secret
            return Delivery.ELSEWHERE
        self._holds_lease = True
        _expect_the_worst(ledger, now)
        return self._task(ledger)

    def _task(self, ledger: Ledger) -> Task:
        known, why = ledger.identity(), ledger.get("reenrol")
        if known is None or why:
            return partial(self._enrol, known, why)
        upload = ledger.upload(self._build)
        return partial(self._send, known, upload) if upload else Delivery.EMPTY

    def _blocked_until(self, ledger: Ledger, push: int, now: float) -> float:
        waits = [0.0]
        if push < AT_ALL_COSTS:
            waits.append(ledger.get("pause_until", 0.0))
        if push < NOW:
            waits.append(ledger.get("retry_at", 0.0))
            if ledger.all_is_aside():
                waits.append(ledger.get("aside_until", 0.0))
            if self._outbox.in_memory:  # an identity that dies with the process is for processes that stay
                waits.append(self._born + MEMORY_PATIENCE)
        if push < SOON:
            waits.append(self._collector.send_at)
        return max(wait for wait in waits if wait <= now + 2 * DAY)  # farther off: the clock was turned back

    def _build(self, pings: List[Json]) -> Tuple[str, bytes, Optional[str]]:
        """An upload's bytes, at the level of today: what was queued at a higher one is lowered to it."""
        upload_id = wire.uuid7()
        upload = {
            "upload_id": upload_id,
            "sent_at": wire.timestamp(self._clock()),
            "sdk": SDK,
            "pings": [levels.lower(ping, self._settings.level) for ping in pings],
        }
        body = json.dumps(upload, separators=(",", ":")).encode()
        if len(body) <= GZIP_FROM_BYTES:
            return upload_id, body, None
        return upload_id, gzip.compress(body, mtime=0), "gzip"

    def uploads(self, ledger: Ledger) -> List[Upload]:
        """Everything queued as stored uploads, for the export."""
        return ledger.uploads(self._build)

    # ── enrolling ───────────────────────────────────────────────────────────────────────────

    def _enrol(self, known: Optional[Identity], why: Optional[str]) -> Optional[Delivery]:
        parent = known if why in ("forked", "moved") else None
        answer = self._post(identity.enrolment(self._settings.product_key or "", parent))
        now = self._clock()
        with self._outbox.transaction() as ledger:
            if ledger.identity() != known:
                return None  # the lease ran out meanwhile, another process enrolled
            _note(ledger, now, "enrolled" if answer.status in answers.CREATED else "not enrolled", answer)
            if answer.status in answers.CREATED:
                return self._adopt(ledger, answer, why, now)
            if parent is not None and 400 <= answer.status < 429 and not answer.is_page():  # noqa: PLR2004
                ledger.put("reenrol", "refused")  # the server can't take the parent's word: enrol without
                return None
            if answer.status in (401, 403) and not answer.is_page():
                ledger.put("pause_until", now + DAY)
            return self._wait(ledger, answer, now)

    def _adopt(self, ledger: Ledger, answer: Answer, why: Optional[str], now: float) -> Optional[Delivery]:
        told = answer.json()
        try:
            ledger.adopt(identity.from_answer(told))
        except ValueError:
            return self._wait(ledger, answer, now)
        ledger.put("enrolled_again", why == "unknown")
        ledger.put("doubted", False)
        ledger.put("pause_until", 0.0)
        if why is None:
            ledger.put("retry_at", 0.0)
        self._follow(ledger, told, now)
        return None

    # ── sending ─────────────────────────────────────────────────────────────────────────────

    def _send(self, known: Identity, upload: Upload) -> Optional[Delivery]:
        answer = self._post(identity.upload(known, upload.body, upload.encoding))
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
        with self._outbox.transaction() as ledger:
            if not ledger.holds(upload.upload_id):
                return None  # the lease ran out meanwhile, another process saw to it, maybe under new numbers
            _note(ledger, now, outcome.value, answer)
            return act(ledger, upload, answer, now)

    def _acknowledge(self, ledger: Ledger, upload: Upload, answer: Answer, now: float) -> Optional[Delivery]:
        told = answer.json() or {}
        fates = _fates(told)
        ledger.unpack(upload.upload_id)
        for sequence, ping_id in upload.pings:
            _settle(ledger, sequence, fates.get(ping_id), now)
        ledger.resend(_ranges(told))
        ledger.prune(now)
        _trust(ledger)
        if upload.aside:
            _hold_aside(ledger, 0.0, 0)  # the way is free: the others may follow
        self._follow(ledger, told, now)
        if all(fates.get(ping_id) not in (None, "forked") for _, ping_id in upload.pings):
            _calm(ledger)
            return None
        return None if "forked" in fates.values() else Delivery.WAITING

    def _give_in(self, ledger: Ledger, upload: Upload, _answer: Answer, _now: float) -> Optional[Delivery]:
        """The server itself won't have it: two halves are tried, a single ping is dropped and counted."""
        if not ledger.split(upload, self._build):
            ledger.unpack(upload.upload_id)
            for sequence, _ in upload.pings:
                ledger.refuse(sequence)
        _trust(ledger)
        _calm(ledger)
        return None

    def _step_aside(self, ledger: Ledger, upload: Upload, answer: Answer, now: float) -> Optional[Delivery]:
        """Nobody vouches for the refusal, so nothing is dropped: halves may pass where the whole did not.

        A single ping lets all others by. Of those set aside one is tried every few hours; when it passes,
        the others follow.
        """
        if not ledger.split(upload, self._build):
            ledger.set_aside(upload.upload_id)
            _hold_aside(ledger, now, ledger.get("aside_tries", 0) + 1)
        if upload.aside:
            _calm(ledger)  # it was no news, and no reason for the others to wait
        return self._wait(ledger, answer, now)

    def _doubt(self, ledger: Ledger, _upload: Upload, _answer: Answer, now: float) -> Optional[Delivery]:
        """Somebody says we are not known: a day later the same identity is tried again, then a new one taken.

        Only once: a new identity that is refused, too, is tried day after day.
        """
        may_enrol = self._settings.product_key and not ledger.get("enrolled_again")
        if may_enrol and ledger.get("doubted"):
            ledger.put("reenrol", "unknown")
            return None
        ledger.put("doubted", True)
        ledger.put("pause_until", now + DAY)
        self.deliver_at = now + DAY
        return None if may_enrol else Delivery.WAITING  # whoever passes over the pause goes on now

    def _stop(self, ledger: Ledger, _upload: Upload, answer: Answer, now: float) -> Optional[Delivery]:
        ledger.put("stopped", wire.timestamp(now))
        ledger.clear()
        return self._wait(ledger, answer, now)

    def _wait_for_it(self, ledger: Ledger, _upload: Upload, answer: Answer, now: float) -> Optional[Delivery]:
        return self._wait(ledger, answer, now)

    def _wait(self, ledger: Ledger, answer: Answer, now: float) -> Delivery:
        """Keep everything; wait as long as the server asked, else the back-off noted before the attempt."""
        asked = answer.retry_after(now) if answer.status in answers.BUSY else None
        if asked is not None:
            ledger.put("pause_until", now + asked * random.uniform(1, 1.1))  # noqa: S311  so that a fleet spreads
        self.deliver_at = now + 1
        return Delivery.WAITING

    def _follow(self, ledger: Ledger, told: Any, now: float) -> None:
        """What every good answer may ask: the interval, and notices to show."""
        if not isinstance(told, dict):
            return
        interval = told.get("next_ping_seconds")
        if isinstance(interval, (int, float)) and interval > 0:
            held = min(max(float(interval), SHORTEST_INTERVAL), LONGEST_INTERVAL)
            ledger.put("interval", held)
            ledger.put("due", now + jittered(held))
            self._collector.look_at = min(self._collector.look_at, now + held)
        for name in ("notice", "notices"):
            if name in told and len(json.dumps(told[name])) <= LARGEST_NOTICES:
                ledger.put(name, told[name])


def _expect_the_worst(ledger: Ledger, now: float) -> None:
    """Note the back-off, full jitter, before trying: a process killed in the middle must not try at once."""
    failures = ledger.get("failures", 0)
    longest = min(BACK_OFF_SECONDS * 2 ** min(failures, 20), LONGEST_BACK_OFF)
    ledger.put("failures", failures + 1)
    ledger.put("retry_at", now + 1 + random.uniform(0, longest))  # noqa: S311  a schedule, no secret


def _calm(ledger: Ledger) -> None:
    ledger.put("failures", 0)
    ledger.put("retry_at", 0.0)


def _trust(ledger: Ledger) -> None:
    """The server knows us: it signed."""
    ledger.put("enrolled_again", False)
    ledger.put("doubted", False)


def _hold_aside(ledger: Ledger, now: float, tries: int) -> None:
    """When one of those set aside may be tried again, after so many `tries` in vain."""
    longest = min(ASIDE_SECONDS * 2 ** min(tries, 20), LONGEST_BACK_OFF)
    ledger.put("aside_tries", tries)
    ledger.put("aside_until", now + longest * random.uniform(0.5, 1) if tries else 0.0)  # noqa: S311  a schedule, no secret


def _note(ledger: Ledger, now: float, outcome: str, answer: Answer) -> None:
    detail = answer.trouble or f"HTTP {answer.status}"
    ledger.put("last", {"at": wire.timestamp(now), "outcome": outcome, "detail": detail[:200]})


def _fates(told: Any) -> Dict[str, str]:
    """What became of each ping, by ping_id."""
    results = told.get("results") if isinstance(told, dict) else None
    return {
        str(result.get("ping_id")): str(result.get("status"))
        for result in (results if isinstance(results, list) else [])
        if isinstance(result, dict)
    }


def _settle(ledger: Ledger, sequence: int, status: Optional[str], now: float) -> None:
    if status is None:
        return
    if status in ("accepted", "duplicate"):
        ledger.keep(sequence, now)
    elif status == "forked":
        ledger.put("reenrol", "forked")
    elif status == "rejected":
        ledger.refuse(sequence)
    else:  # quarantined, or a word of a newer server: it has the ping, under its receipt
        ledger.drop(sequence)


def _ranges(told: Any) -> List[Tuple[int, int]]:
    missing = told.get("missing") if isinstance(told, dict) else None
    return [
        (pair[0], pair[1])
        for pair in (missing if isinstance(missing, list) else [])
        if isinstance(pair, list) and len(pair) == 2 and all(type(n) is int and 0 < n < 2**62 for n in pair)  # noqa: PLR2004
    ]
