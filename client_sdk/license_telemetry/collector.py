"""From memory to disk: what the host handed over becomes counters, claims and numbered pings."""

from __future__ import annotations

import random
import threading
from typing import Any, Callable, Dict, Optional

from . import ping as pings
from . import wire
from .ledger import Ledger
from .outbox import Outbox, Spoiled, Unavailable
from .pending import Batch, Pending
from .settings import Settings

PATIENCE = 5.0
HOUR = 3600.0
LONGEST_INTERVAL = 31 * 86_400.0
SPREAD_SECONDS = 300.0  # over which a fleet that starts at one moment reports
FACTS_KEPT_SECONDS = HOUR

Json = Dict[str, Any]


def jittered(interval: float) -> float:
    """The interval, ten per cent more or less."""
    return interval * random.uniform(0.9, 1.1)  # noqa: S311  a schedule, no secret


class Collector:
    """Writes batches into the outbox, and heartbeats when due: one for the installation, not each process.

    `look_at` is when it wants to be called again though nothing was handed over; `send_at` when what it
    queued should leave, seconds since 1970 both.
    """

    def __init__(
        self, settings: Settings, pending: Pending, outbox: Outbox, clock: Callable[[], float]
    ) -> None:
        self._settings = settings
        self._pending = pending
        self._outbox = outbox
        self._clock = clock
        self._one_at_a_time = threading.Lock()
        self._known: Json = {}
        self._known_until = 0.0
        self._machine: Optional[str] = None
        self._begun = False
        self.look_at = 0.0
        self.send_at = clock() + self._spread()  # what an earlier process left behind
        self.trouble: Optional[str] = None

    def collect(self, patience: float = PATIENCE, *, report: bool = False) -> bool:
        """Put everything handed over on disk; False when that can't be done now, then memory keeps it.

        `report`: counts don't wait for the next heartbeat, a ping is made for them.
        """
        if not self._one_at_a_time.acquire(timeout=patience):
            return False
        try:
            return self._collect(patience, report=report)
        finally:
            self._one_at_a_time.release()

    def _collect(self, patience: float, *, report: bool) -> bool:
        now = self._clock()
        batch = self._pending.take()
        if not batch and not report and now < self.look_at:
            return True
        written = False
        try:
            self._look_around(now, wanted=report or bool(batch.requests) or now >= self.look_at)
            written = self._write(batch, now, patience, report=report)
        except Exception as error:  # a request that can't be written must not come back for ever
            self.trouble = repr(error)
            batch.lost += len(batch.requests)
            batch.requests.clear()
        if not written:
            self._pending.give_back(batch)
            self.look_at = max(self.look_at, now + PATIENCE)
        return written

    def _write(self, batch: Batch, now: float, patience: float, *, report: bool) -> bool:
        for _ in range(2):
            try:
                with self._outbox.transaction(patience) as ledger:
                    self._enter(ledger, batch, now, report=report)
            except Spoiled:
                continue
            except Unavailable as error:
                self.trouble = str(error)
                return False
            self._begun, self.trouble = True, None
            return True
        return False

    def _enter(self, ledger: Ledger, batch: Batch, now: float, *, report: bool) -> None:
        self.look_at = now + HOUR
        if ledger.get("off") or ledger.get("stopped"):
            return
        if not self._begun or ledger.get("usage_since") is None:
            self._begin(ledger, min([now, *(at for _, at, _ in batch.requests)]))
        if self._settings.level == "usage":
            ledger.count(batch.counts)
        ledger.lose("unsaved", batch.lost)
        ledger.add("total_ignored", batch.ignored)
        for reason, at, said in batch.requests:
            self._request(ledger, reason, at, said)
        if report and self._settings.level == "usage" and ledger.usage():
            self._queue(ledger, "manual", now)
        due = ledger.get("due", now)
        if now >= due or due > now + 2 * LONGEST_INTERVAL:
            self._queue(ledger, ledger.get("due_reason", "heartbeat"), now)
            self.send_at = now
        ledger.make_room()
        self.look_at = min(ledger.get("due", now), self.look_at)

    # ── the start of a process ──────────────────────────────────────────────────────────────

    def _begin(self, ledger: Ledger, now: float) -> None:
        """A new version, a reboot or a new machine is reported soon, but not by a whole fleet at once."""
        if ledger.get("usage_since") is None:
            ledger.put("usage_since", wire.timestamp(now))
        started_as = [self._settings.version, self._settings.build, self._known.get("boot_id")]
        if ledger.get("started_as") != started_as:
            ledger.put("started_as", started_as)
            ledger.put("due", now + self._spread())
            ledger.put("due_reason", "start")
        self._notice_a_move(ledger)

    def _notice_a_move(self, ledger: Ledger) -> None:
        """On a machine it never saw the identity was copied: say so, enrol anew as its child.

        Machines it saw stay known, so that a home shared by several does not enrol for ever.
        """
        if self._machine is None:
            return
        seen = ledger.get("machines", [])
        if self._machine in seen:
            return
        if seen and ledger.identity() is not None:
            ledger.put("reenrol", "moved")
        ledger.put("machines", [*seen[-15:], self._machine])

    def _look_around(self, now: float, *, wanted: bool) -> None:
        """Gather the facts outside of any transaction."""
        if wanted and now >= self._known_until:
            self._known = pings.facts(self._settings, self._settings.product)
            self._known_until = now + FACTS_KEPT_SECONDS
        if not self._begun:
            self._machine = pings.machine(self._settings.product)

    # ── requests ────────────────────────────────────────────────────────────────────────────

    def _request(self, ledger: Ledger, reason: str, at: float, said: Json) -> None:
        if reason == "license":
            claim = self._claim(ledger, said)
            if claim is None:
                ledger.add("total_ignored", 1)
            if claim is None or claim == ledger.get("claim"):
                return
            ledger.put("claim", claim)
            self.send_at = min(self.send_at, self._clock() + self._spread())
        self._queue(ledger, reason, at)

    def _claim(self, ledger: Ledger, said: Json) -> Optional[Json]:
        identity = ledger.identity()
        return pings.claim(self._settings, self._settings.product or (identity and identity.product), said)

    def _queue(self, ledger: Ledger, reason: str, at: float) -> None:
        ledger.queue(self._compose(ledger, reason, at))
        ledger.put("due", self._clock() + jittered(ledger.get("interval") or self._settings.interval))
        ledger.put("due_reason", "heartbeat")

    def _compose(self, ledger: Ledger, reason: str, at: float) -> Json:
        return pings.compose(
            self._settings,
            reason=reason,
            at=at,
            license_claim=ledger.get("claim") or pings.NO_CLAIM,
            known=self._known,
            lost=ledger.losses(),
            usage=ledger.usage(),
        )

    def _spread(self) -> float:
        return random.uniform(0, min(self._settings.interval, SPREAD_SECONDS))  # noqa: S311  a schedule, no secret

    # ── to look at ──────────────────────────────────────────────────────────────────────────

    def preview(self) -> Json:
        """The next ping, made of what is on disk and in memory. Changes nothing."""
        now, known = self._clock(), pings.facts(self._settings, self._settings.product)
        with self._one_at_a_time, self._outbox.look() as ledger:
            batch = self._pending.peek()
            lost, usage = ledger.losses(), ledger.usage()
            claim = ledger.get("claim") or pings.NO_CLAIM
            reason = ledger.get("due_reason", "start")
            sequence = ledger.get("next_sequence", 1)
            for asked, _, said in batch.requests:
                reason = asked
                claim = (self._claim(ledger, said) or claim) if asked == "license" else claim
            usage.setdefault("since", ledger.get("usage_since") or wire.timestamp(now))
        features = usage.setdefault("features", {})
        for name, count in batch.counts.items():
            features[name] = features.get(name, 0) + count
        if batch.lost:
            lost["unsaved"] = lost.get("unsaved", 0) + batch.lost
        ping = pings.compose(
            self._settings,
            reason=reason,
            at=now,
            license_claim=claim,
            known=known,
            lost=lost,
            usage=usage if features else None,
        )
        return {"ping_id": ping.pop("ping_id"), "sequence": sequence, **ping}
