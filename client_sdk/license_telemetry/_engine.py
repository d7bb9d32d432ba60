"""The work of the background thread: collect, deliver, and answer status, preview and export.

Nothing here waits for the network: an exchange is posted on a separate thread, and settled after its answer
or its timeout. The command has no background thread, and calls the engine itself.
"""

from __future__ import annotations

import base64
import json
import os
import time
from typing import Any, Callable, Dict, List, Optional, TypeVar

from . import _identity as identity
from . import _wire as wire
from ._answers import Answer
from ._collector import GAP_SECONDS, Collector
from ._counters import Counters
from ._harvest import Harvest
from ._identity import Request as Post
from ._ledger import Ledger
from ._outbox import PATIENCE, Outbox, Spoiled, Unavailable
from ._problems import Problems
from ._settings import Settings
from ._state import LOSSES
from ._transport import Posting, Transport
from ._uploader import Delivery, Exchange, Uploader
from ._wakeups import AT_ALL_COSTS, RETRY_SECONDS, SOON, WHEN_DUE, Request, Wakeup

MOST_EXCHANGES = 64  # for one who waits
LEAVING_PATIENCE = 0.8
ELSEWHERE_SECONDS = 10.0

Json = Dict[str, Any]
Carried = TypeVar("Carried")


class Engine:
    """One process's engine on the outbox.

    `clock` returns seconds since 1970, `ticks` those of the monotonic clock; `post` is for tests.
    """

    def __init__(
        self,
        settings: Settings,
        problems: Problems,
        *,
        clock: Callable[[], float] = time.time,
        ticks: Callable[[], float] = time.monotonic,
        gap: float = GAP_SECONDS,
        post: Optional[Callable[[Post], Answer]] = None,
    ) -> None:
        self.counters: Optional[Counters] = None
        self._settings = settings
        self._problems = problems
        self._ticks = ticks
        self._outbox = Outbox(settings.state_dir)
        self._harvest = Harvest(settings.state_dir)
        self._collector = Collector(
            settings, self._outbox, self._harvest, problems, clock=clock, ticks=ticks, gap=gap
        )
        self._uploader = Uploader(settings, self._outbox, self._collector, problems, clock=clock, ticks=ticks)
        self._transport = Transport(settings)
        self._post = post or self._transport.post
        self._exchange: Optional[Exchange] = None
        self._posting: Optional[Posting] = None
        self._waiting: List[Request] = []
        self._collected = True

    def follow(self, settings: Settings) -> None:
        """Continues with the settings of the newest client."""
        if settings is not self._settings:
            self._settings = self._collector.settings = self._uploader.settings = settings
            self._transport = Transport(settings)

    # ── the background thread ───────────────────────────────────────────────────────────────

    def work(self, asked: List[Request], wakeup: Wakeup, *, news: bool) -> float:
        """Does what was requested and what is due; returns the time of the next call, by the monotonic clock.

        `news`: there are statements that are not collected yet.
        """
        for request in asked:
            if request.work is not None:
                self._answer(request)
        sending = [request for request in asked if request.work is None]
        self._waiting += sending
        used = self.counters is not None  # else the host only reads, and nothing is changed
        if news or sending or (used and self._ticks() >= self._collector.look_at):
            self._collect_for(sending)
        self._settle()
        if self._exchange is None and (sending or used) and self._is_time_to_send():
            self._send(wakeup)
        if self._exchange is None:
            self._hang_up()
        return self._next_at()

    def is_busy(self) -> bool:
        """Whether an answer is awaited."""
        return self._exchange is not None

    def is_collected(self) -> bool:
        """Whether the outbox has all counts and statements."""
        return self._collected

    def has_answer(self) -> bool:
        """Whether the awaited answer is there."""
        return self._exchange is not None and self._posting is not None and self._posting.done

    def _answer(self, request: Request) -> None:
        assert request.work is not None
        try:
            request.answer(request.work(self))
        except Exception as error:
            request.answer(None, error)

    def _collect_for(self, sending: List[Request]) -> None:
        leaving = any(request.last and not request.push for request in sending)
        self._collected = self.collect(
            LEAVING_PATIENCE if leaving else PATIENCE,
            report=any(request.report for request in sending),
            leaving=leaving,
        )
        for request in sending:
            if not request.last or request.push:
                continue
            if self._collector.leaves and self._collected:
                request.push = SOON
            else:
                request.answer(self._collected)
        self._waiting = [request for request in self._waiting if not request.done]

    def _is_time_to_send(self) -> bool:
        if any(request.push for request in self._waiting):
            return True
        return self._ticks() >= min(self._uploader.deliver_at, self._collector.send_at)

    def _send(self, wakeup: Wakeup) -> None:
        """Begins an exchange, if there is one to begin now."""
        for request in self._waiting:
            request.exchanges += 1
            if self._ticks() > request.deadline or request.exchanges > MOST_EXCHANGES:
                request.answer(False)
        self._waiting = [request for request in self._waiting if not request.done]
        push = max((request.push for request in self._waiting), default=WHEN_DUE)
        if self._ticks() >= self._collector.send_at:
            self._collector.send_at = float("inf")
        try:
            found = self._uploader.next(push)
        except Unavailable as error:
            self._problems.note("outbox", f"the outbox can't be written: {error}")
            self._uploader.deliver_at = self._ticks() + RETRY_SECONDS
            if isinstance(error, Spoiled):
                self._collector.look_at = self._ticks()  # what the counter files hold is for the new one
            found = Delivery.WAITING
        if isinstance(found, Delivery):
            self._answer_waiting(found)
            return
        self._exchange = found
        if self._posting is not None and not self._posting.ended:
            self._settle_with(
                Answer(0, {}, b"", "the last attempt still hangs, in a resolver that does not answer")
            )
        else:
            if self._posting is not None and self._posting.transport is not self._transport:
                self._hang_up()
            self._posting = Posting(self._transport, found.request, wakeup)

    def _hang_up(self) -> None:
        """A connection stays open from one request to the next, not longer."""
        if self._posting is not None:
            self._posting.transport.hang_up()

    def _settle(self) -> None:
        """Follows the answer, once it has arrived or cannot arrive any more."""
        posting = self._posting
        if self._exchange is None or posting is None:
            return
        if posting.done or self._ticks() >= posting.deadline:
            self._settle_with(posting.answer)

    def _settle_with(self, answer: Answer) -> None:
        exchange, self._exchange = self._exchange, None
        assert exchange is not None
        try:
            delivery = self._uploader.settle(exchange, answer)
        except Unavailable as error:
            self._problems.note("outbox", f"the outbox can't be written: {error}")
            self._uploader.deliver_at = self._ticks() + RETRY_SECONDS
            delivery = Delivery.WAITING
        if delivery is None:
            self._uploader.deliver_at = self._ticks()
            return
        self._answer_waiting(delivery)

    def _answer_waiting(self, delivery: Delivery) -> None:
        """Answers the waiting requests."""
        waiting, self._waiting = self._waiting, []
        sent = None if delivery is Delivery.ELSEWHERE else delivery is Delivery.EMPTY and self._collected
        for request in waiting:
            request.answer(sent)

    def _next_at(self) -> float:
        if self._exchange is not None and self._posting is not None:
            return min(self._posting.deadline, self._collector.look_at)
        return min(self._collector.look_at, self._collector.send_at, self._uploader.deliver_at)

    # ── by hand ─────────────────────────────────────────────────────────────────────────────

    def collect(self, patience: float = PATIENCE, *, report: bool = False, leaving: bool = False) -> bool:
        """Writes all counts and statements to disk; returns False if that is impossible now."""
        return self._collector.collect(self.counters, patience, report=report, leaving=leaving)

    def deliver(self, push: int) -> Delivery:
        """Sends until nothing is queued or something has to wait; `push` says which waits to skip."""
        try:
            for _ in range(MOST_EXCHANGES):
                found = self._uploader.next(push)
                if isinstance(found, Delivery):
                    return found
                delivery = self._uploader.settle(found, self._post(found.request))
                if delivery is not None:
                    return delivery
        except Unavailable as error:
            self._problems.note("outbox", f"the outbox can't be written: {error}")
        finally:
            self._uploader.release()
            self._transport.hang_up()
        return Delivery.WAITING

    def insist(self) -> Delivery:
        """Delivers for a human who asked: skips every wait, and waits for another process that is sending."""
        give_up = time.monotonic() + ELSEWHERE_SECONDS
        delivery = self.deliver(AT_ALL_COSTS)
        while delivery is Delivery.ELSEWHERE and time.monotonic() < give_up:
            time.sleep(0.2)
            delivery = self.deliver(AT_ALL_COSTS)
        return delivery

    def due(self) -> float:
        """When something is due for a short-lived program, in seconds since 1970; 0: now."""
        waits = not self._uploader.is_empty and self._collector.may_try_again
        return 0.0 if waits else self._collector.due

    def known_claim(self) -> Optional[Json]:
        """The last claim in the outbox."""
        return self._collector.known_claim()

    def consent(self) -> Json:
        """The consent in the outbox: `off`, `locked` by the customer, `level`; each None if not set."""
        collector = self._collector
        return {"off": collector.is_off, "locked": collector.is_locked, "level": collector.allowed}

    def product(self) -> Optional[str]:
        """The product's slug, from the key or the enrolment."""
        with self._outbox.look() as ledger:
            known = ledger.identity()
        return self._settings.product or (known.product if known else None)

    def newest(self) -> Optional[str]:
        """The ping_id of the ping queued last."""
        with self._outbox.look() as ledger:
            return ledger.newest()

    def number_of(self, ping_id: Optional[str]) -> Optional[int]:
        """The number under which a ping was acknowledged; None if unknown."""
        with self._outbox.look() as ledger:
            return ledger.number_of(ping_id) if ping_id else None

    # ── to look at ──────────────────────────────────────────────────────────────────────────

    def preview(self) -> Json:
        """The next ping as it would be sent. Changes nothing."""
        return self._collector.preview(self.counters)

    def status(self) -> Json:
        """The status, with times in RFC 3339. Changes nothing."""
        with self._outbox.look() as ledger:
            return {**self._standing(ledger), **_history(ledger), **_losses(ledger)}

    def _standing(self, ledger: Ledger) -> Json:
        known = ledger.identity()
        return {
            "enabled": self._settings.why_off is None and not ledger.get("off") and not ledger.get("stopped"),
            "why_off": self._why_off(ledger),
            "level": self._collector.level(ledger),
            "endpoint": self._settings.endpoint,
            "product": known.product if known else self._settings.product,
            "installation_id": known.installation_id if known else None,
            "forked_from": ledger.get("parent"),
            "state_dir": self._settings.state_dir,
            "storage": "memory" if self._outbox.in_memory else "disk",
            "why_memory": self._outbox.why_memory,
            "counters": self.counters.storage if self.counters else None,
            "trouble": self._problems.trouble(),
            "ignored_why": self._problems.ignored(),
            "queued": ledger.queued(),
        }

    def _why_off(self, ledger: Ledger) -> Optional[str]:
        if ledger.get("stopped"):
            return "the server asked this installation to stop for good"
        if ledger.get("forget") and ledger.get("off"):
            return "this installation asked to be forgotten; the server has not acknowledged it yet"
        return self._settings.why_off or ("it was switched off here" if ledger.get("off") else None)

    def switch(self, *, on: bool) -> None:
        """Sets the customer's switch, which the host can't undo. Off drops all counts. Raises Unavailable."""
        with self._outbox.transaction() as ledger:
            if bool(ledger.get("off")) == on:  # else nothing changes, and nothing is forgotten
                news = self._harvest.take(ledger, self.counters, time.time(), alone=self._outbox.in_memory)
                self._collector.keep_claim(ledger, news)
                self._collector.switch(ledger, on=on)
            ledger.put("locked", not on)

    def forget(self, reason: str) -> None:
        """Queues the request to be forgotten, and switches off. Raises Unavailable."""
        with self._outbox.transaction() as ledger:
            ledger.put("forget", {"reason": reason, "at": time.time()})
            self._collector.switch(ledger, on=False)
            ledger.clear()

    def notices(self) -> List[Json]:
        """The privacy notice that has to be shown, in its languages; empty if there is none."""
        return self._collector.notices

    def notice_was_shown(self, version: str) -> None:
        """Notes that the customer was shown this version of the notice. Raises Unavailable."""
        with self._outbox.transaction() as ledger:
            self._collector.notice_was_shown(ledger, version)

    def is_forgetting(self) -> bool:
        """Whether a request to be forgotten waits for the server."""
        with self._outbox.look() as ledger:
            return bool(ledger.get("forget"))

    def adopt(self, answer: Any) -> str:
        """Adopts the identity in an enrolment file; returns its id. Raises ValueError and Unavailable."""
        known = identity.from_answer(answer)
        with self._outbox.transaction() as ledger:
            ledger.adopt(known)
        return known.installation_id

    def export(self, path: str) -> int:
        """Writes everything queued as signed uploads, one JSON object per line; returns their number.

        Each has `method`, `path`, `headers` and `body` in base64. Raises ValueError without an identity,
        OSError and Unavailable.
        """
        if self._settings.why_off is not None:
            raise ValueError(self._settings.why_off)
        self.collect()
        if self.status()["installation_id"] is None:
            raise ValueError("this copy is not enrolled yet: send a ping, or import an enrolment file")
        found = self.carry(lambda _, exchanges: [exchange.request for exchange in exchanges])
        requests = [request for request in found if request.path == wire.PINGS_PATH]
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.writelines(line_of(request) for request in requests)
        return len(requests)

    def carry(self, work: Callable[[Ledger, List[Exchange]], Carried]) -> Carried:
        """Does `work` with all that waits for the server, in a transaction. Raises Unavailable."""
        with self._outbox.transaction() as ledger:
            return work(ledger, self._uploader.exchanges(ledger))


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
    """The losses since the outbox was made; `ignored` counts ignored calls, `spoiled` files set aside."""
    return {kind: ledger.get("total_" + kind, 0) for kind in (*LOSSES, "ignored", "spoiled")}


def _time(seconds: Optional[float]) -> Optional[str]:
    return wire.timestamp(seconds) if seconds else None


def line_of(request: Post) -> str:
    """A request in a file, as one line of JSON."""
    headers = {"Content-Type": "application/json", **request.headers}
    body = base64.b64encode(request.body).decode()
    return json.dumps({"method": "POST", "path": request.path, "headers": headers, "body": body}) + "\n"
