"""The background thread's work: collect, deliver, wait; and what status, preview and export show of it."""

from __future__ import annotations

import base64
import json
import os
import time
from queue import Empty, SimpleQueue
from typing import Any, Callable, Dict, List, Optional, Tuple

from . import identity, wire
from .answers import Answer
from .collector import PATIENCE, Collector
from .courier import Courier, Delivery
from .identity import Request
from .ledger import LOSSES, Ledger
from .outbox import Outbox
from .pending import Pending
from .settings import Settings
from .signals import NOW, WHEN_DUE, Signal
from .transport import Transport

FLUSH_SECONDS = 5.0
GATHER_SECONDS = 0.03
LONGEST_SLEEP = 3600.0

Json = Dict[str, Any]


class Sender:
    """One process's end of the outbox. `clock` gives seconds since 1970; `post` is for tests."""

    def __init__(
        self,
        settings: Settings,
        pending: Pending,
        *,
        clock: Callable[[], float] = time.time,
        post: Optional[Callable[[Request], Answer]] = None,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._outbox = Outbox(settings.state_dir)
        self._collector = Collector(settings, pending, self._outbox, clock)
        post = post or Transport(settings).post
        self._courier = Courier(settings, self._outbox, self._collector, post, clock)

    def collect(self, patience: float = PATIENCE, *, report: bool = False) -> bool:
        """Put everything handed over on disk; False when that can't be done now, then memory keeps it.

        `report`: counts don't wait for the next heartbeat, a ping is made for them.
        """
        return self._collector.collect(patience, report=report)

    def deliver(self, push: int) -> Delivery:
        """Send what is queued; `push`, one of the four in `signals`, says how much waiting to pass over."""
        return self._courier.deliver(push)

    def release(self) -> None:
        """Let another process send, for this one is about to end."""
        self._courier.release(patience=0.1)

    # ── the thread ──────────────────────────────────────────────────────────────────────────

    def run(self, signals: SimpleQueue[Optional[Signal]]) -> None:
        """Until a closing signal. None in `signals` is news of counts: more is gathered for a few seconds."""
        flush_by = 0.0
        while True:
            asked, news = _wait(signals, min(flush_by, self._wake_by()))
            if news:
                flush_by = min(flush_by, time.monotonic() + FLUSH_SECONDS)
            if not asked and time.monotonic() < min(flush_by, self._wake_by()):
                continue
            flush_by = self._work(asked)
            if any(signal.closing for signal in asked):
                self._outbox.close()
                return

    def _wake_by(self) -> float:
        """When the schedule wants the thread, by the monotonic clock."""
        next_at = min(self._collector.look_at, self._collector.send_at, self._courier.deliver_at)
        return time.monotonic() + min(max(next_at - self._clock(), 0.0), LONGEST_SLEEP)

    def _work(self, asked: List[Signal]) -> float:
        """Collect and deliver, tell whoever waits; by when memory is to be looked at again."""
        push = max((signal.push for signal in asked), default=WHEN_DUE)
        collected = self.collect(report=push >= NOW)
        sent = self._deliver(push)
        for signal in asked:
            signal.sent = sent and collected if sent is not None else None
            signal.done.set()
        return time.monotonic() + (LONGEST_SLEEP if collected else FLUSH_SECONDS)

    def _deliver(self, push: int) -> Optional[bool]:
        """True: nothing is queued any more. None: another process is sending."""
        if push == WHEN_DUE and self._clock() < min(self._courier.deliver_at, self._collector.send_at):
            return False
        try:
            delivery = self.deliver(push)
        except Exception as error:  # a fault of ours: the host must not notice, and memory goes on to disk
            self._collector.trouble = repr(error)
            self._courier.deliver_at = self._clock() + LONGEST_SLEEP
            delivery = Delivery.WAITING
        self._collector.send_at = float("inf")
        return None if delivery is Delivery.ELSEWHERE else delivery is Delivery.EMPTY

    # ── to look at, and by hand ─────────────────────────────────────────────────────────────

    def preview(self) -> Json:
        """The next ping as it would be sent. Changes nothing."""
        return self._collector.preview()

    def status(self) -> Json:
        """How things stand; times in RFC 3339. Changes nothing."""
        with self._outbox.look() as ledger:
            return {**self._standing(ledger), **_history(ledger), **_losses(ledger)}

    def _standing(self, ledger: Ledger) -> Json:
        known = ledger.identity()
        return {
            "enabled": self._settings.why_off is None and not ledger.get("off") and not ledger.get("stopped"),
            "why_off": self._why_off(ledger),
            "level": self._settings.level,
            "endpoint": self._settings.endpoint,
            "product": known.product if known else self._settings.product,
            "installation_id": known.installation_id if known else None,
            "forked_from": ledger.get("parent"),
            "state_dir": self._settings.state_dir,
            "storage": "memory" if self._outbox.in_memory else "disk",
            "trouble": self._collector.trouble,
            "queued": ledger.queued(),
        }

    def _why_off(self, ledger: Ledger) -> Optional[str]:
        if ledger.get("stopped"):
            return "the server asked this installation to stop for good"
        return self._settings.why_off or ("it was switched off here" if ledger.get("off") else None)

    def switch(self, *, on: bool) -> None:
        """The persisted switch. Off forgets what was counted; what is queued waits. Raises Unavailable."""
        with self._outbox.transaction() as ledger:
            ledger.put("off", not on)
            if not on:
                ledger.forget_counts()

    def adopt(self, answer: Any) -> str:
        """Go on as the installation of an enrolment file; its id. Raises ValueError and Unavailable."""
        known = identity.from_answer(answer)
        with self._outbox.transaction() as ledger:
            ledger.adopt(known)
        return known.installation_id

    def export(self, path: str) -> int:
        """Write everything queued as signed uploads, one JSON object a line; how many.

        Each has `method`, `path`, `headers` and `body` in base64. Raises ValueError without an identity,
        OSError and Unavailable.
        """
        with self._outbox.transaction() as ledger:
            known, uploads = ledger.identity(), self._courier.uploads(ledger)
        if known is None:
            raise ValueError("this copy is not enrolled yet: send a ping, or import an enrolment file")
        requests = [identity.upload(known, upload.body, upload.encoding) for upload in uploads]
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.writelines(_line(request) for request in requests)
        return len(requests)


def _wait(signals: SimpleQueue[Optional[Signal]], until: float) -> Tuple[List[Signal], bool]:
    """Wait for a signal, then take all there are; whether news was among them.

    Where nobody waits for the outcome a moment more is gathered: one write for many, and room for other
    processes to write in between.
    """
    asked: List[Signal] = []
    news = False
    while True:
        try:
            signal = signals.get(timeout=max(0.0, until - time.monotonic()))
        except Empty:
            return asked, news
        if signal is None:
            news = True
        else:
            asked.append(signal)
        gather = GATHER_SECONDS if signal and signal.push < NOW and not signal.closing else 0.0
        until = min(until, time.monotonic() + gather)


def _history(ledger: Ledger) -> Json:
    acknowledged = ledger.get("last_acknowledged")
    return {
        "last_acknowledged": acknowledged
        and {"sequence": acknowledged[0], "at": wire.timestamp(acknowledged[1])},
        "last_answer": ledger.get("last"),
        "next_ping_at": _time(ledger.get("due")),
        "waits_until": _time(max(ledger.get("pause_until", 0.0), ledger.get("retry_at", 0.0))),
        "notice": ledger.get("notice"),
        "notices": ledger.get("notices", []),
    }


def _losses(ledger: Ledger) -> Json:
    """Since the outbox began; `ignored` counts calls with arguments of no use, `spoiled` files set aside."""
    return {kind: ledger.get("total_" + kind, 0) for kind in (*LOSSES, "ignored", "spoiled")}


def _time(seconds: Optional[float]) -> Optional[str]:
    return wire.timestamp(seconds) if seconds else None


def _line(request: Request) -> str:
    headers = {"Content-Type": "application/json", **request.headers}
    body = base64.b64encode(request.body).decode()
    return json.dumps({"method": "POST", "path": request.path, "headers": headers, "body": body}) + "\n"
