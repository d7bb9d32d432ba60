"""The background thread: one per process and state directory, for any number of clients.

It is a thread of the operating system, which ends when there is no work, and is started again with the next
news. All use of disk and network happens here; the host waits for it with a timeout. The engine is imported
only when it is needed: something is due, or was asked for.
"""

from __future__ import annotations

import atexit
import sys
import threading  # noqa: F401  whoever imports it first is its main thread: never ours
import time

from . import _process_fork, _statements
from ._claims import key_words
from ._consent import OFF, Consent
from ._counters import MEMORY, SHARED_MEMORY, open_counters
from ._keeper import Keeper
from ._primitives import RLock, allocate_lock, is_patched
from ._wakeups import NOW, RETRY_SECONDS, WHEN_DUE, Request, wait_until
from ._worker import Worker

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, List, Optional, Tuple

    from ._counters import Counters
    from ._engine import Engine
    from ._settings import Settings

KEEP_SECONDS = 5.0  # from a count to its copy on disk
BEGIN_SECONDS = 5.0  # a program that ends before never loads the engine, unless something is due
LONGEST_SLEEP = 60.0  # so that a clock that was put right, or a process that ended, is noticed
HEAR_SECONDS = 5.0  # between two claims or requests for a ping that are handled, unless the host waits
SAY_AGAIN_SECONDS = 5.0  # from one attempt to learn the product of a claim to the next
CLOCK_JUMP_SECONDS = 60.0
FARTHEST_HINT_SECONDS = 32 * 86_400.0
GATHER_SECONDS = 0.03  # one write for many requests, and no thread that spins
EXIT_SECONDS = 1.0
CONSENT = 2  # of TOPICS, from here on
NEVER = float("inf")

_running: Dict[Any, Background] = {}


def background(settings: Settings) -> Background:
    """The background of this process for the state directory of `settings`."""
    key = settings.state_dir or (None, settings.endpoint, settings.product_key, settings.product)
    found = _running.get(key)
    if found is None:
        found = _running.setdefault(key, Background(settings))
    found.problems.debug = found.problems.debug or settings.debug
    return found


class Background(Worker):
    """Runs the engine for the clients of one state directory."""

    def __init__(self, settings: Settings) -> None:
        self.consent = Consent(settings)
        self.clients = 0  # that are open
        self.on_notice: Optional[Callable[[List[Dict[str, Any]]], Any]] = None
        # The last license() of the host: the arguments, the key, and the words of the claim.
        self.claim: Tuple[Any, Any, Dict[str, Optional[str]]] = (None, None, {})
        super().__init__()

    @property
    def settings(self) -> Settings:
        """The settings in force."""
        return self.consent.settings

    def begin_anew(self) -> None:
        """Called by __init__, and in a forked child, which needs separate files."""
        parents: Optional[Counters] = getattr(self, "counters", None)
        if parents is not None:
            parents.let_go()
        self.counters: Optional[Counters] = None
        super().begin_anew()
        self._engine: Optional[Engine] = None
        self._keeper = Keeper(self.settings.state_dir)
        self._opening = RLock()  # a signal handler may count while it is held
        self._keep_at = self._engine_at = self._claim_at = NEVER
        self._offset = _clock_offset()
        self._heard_at = 0.0
        self._said: Tuple[int, ...] = ()
        self._collected_said: Tuple[int, ...] = ()
        self._hinted: Any = None
        self._switch: Optional[bytes] = None  # as it was at the last look
        self._napping = allocate_lock()
        self._napping.acquire()
        self.consent.is_pending = False

    # ── clients and consent ─────────────────────────────────────────────────────────────────

    def open_client(
        self, settings: Settings, on_notice: Optional[Callable[[List[Dict[str, Any]]], Any]]
    ) -> None:
        with self._opening:
            self.clients += 1
            self.on_notice = on_notice or self.on_notice
        self._limit(lambda: self.consent.open(settings))

    def close_client(self, settings: Settings) -> None:
        with self._opening:
            self.clients -= 1
        self._limit(lambda: self.consent.limit(settings, -1))

    def change(self, settings: Settings, change: Callable[[Settings], None]) -> None:
        """Changes the settings of an open client."""
        self._limit(lambda: self.consent.change(settings, change))

    def _limit(self, change: Callable[[], None]) -> None:
        """Changes limits; if that switches off all clients of this process, their counts are forgone."""
        with self._opening:
            was_off = self.settings.why_off is not None
            change()
            is_off = self.settings.why_off is not None
            if is_off and not was_off and self.counters is not None:
                self.counters.forgo(for_good=True, everywhere=False)
        if was_off and not is_off:
            self.say_claim()

    def decide(self, topic: str, value: str, *, less: bool, **allowed: Any) -> None:
        """Decides for all processes. If `less` is allowed, earlier counts are forgone; else only those
        without consent.
        """
        _process_fork.notice()
        (self.counters or self.open()).forgo(for_good=less)
        self.consent.decide(**allowed)
        self.say(topic, {"value": value})
        if not less:
            self.say_claim()

    # ── what the host says ──────────────────────────────────────────────────────────────────

    def may_say(self) -> bool:
        return self.settings.why_off is None and not self.consent.off

    def say(self, topic: str, words: Dict[str, Optional[str]]) -> None:
        _process_fork.notice()
        (self.counters or self.open()).say(topic, _statements.write(time.time(), words))
        self.wake()

    def say_claim(self) -> None:
        """Hands over the last claim of the host, also one made without consent."""
        said, key, words = self.claim
        if said is None or not self.may_say():
            return
        if key and not self.settings.product:  # only the enrolment knows it
            self._claim_at = 0.0
            self.wake()
        else:
            self.say("license", {**key_words(self.settings.product, key), **words})

    def _say_claim_of(self, engine: Engine) -> None:
        """The same for a product that only the outbox knows: retries until it can be read."""
        self._claim_at = NEVER
        try:
            product = engine.product()
        except Exception as error:
            self._claim_at = time.monotonic() + SAY_AGAIN_SECONDS
            self.problems.note("claim", f"the license is not noted yet, the outbox can't be read: {error}")
            return
        self.problems.settle("claim")
        _, key, words = self.claim
        if self.may_say():
            self.say("license", {**key_words(product, key), **words})

    # ── what the host's threads call ────────────────────────────────────────────────────────

    def open(self) -> Counters:
        """The counters, made on first use."""
        with self._opening:
            if self.counters is None:
                self.counters = open_counters(self.settings.state_dir)
                self._said = self.counters.times_said()
                if self.counters.storage != SHARED_MEMORY and self.settings.state_dir:
                    self.problems.note(
                        "storage", f"counts lie in {self.counters.storage}: {self.counters.trouble}"
                    )
        return self.counters

    def leave(self) -> None:
        """Ends without TLS, which is gone already at this point: the counter file is enough."""
        self.pause()
        if wait_until(self.is_paused, time.monotonic() + EXIT_SECONDS) and self.counters is not None:
            self._keep()

    def standing(self) -> Dict[str, Any]:
        """The part of the status that needs no disk."""
        settings = self.settings
        return {
            "enabled": self.may_say(),
            "why_off": settings.why_off or ("it was switched off here" if self.consent.off else None),
            "level": self.consent.level,
            "endpoint": settings.endpoint,
            "product": settings.product,
            "state_dir": settings.state_dir,
            "counters": self.counters.storage if self.counters else None,
            "trouble": self.problems.trouble(),
        }

    def flush(self, timeout: float) -> bool:
        deadline, report = time.monotonic() + timeout, True
        while True:
            request, report = Request(NOW, report=report, deadline=deadline), False  # one ping for the counts
            if not self.ask(request, deadline - time.monotonic()):
                return False
            if request.result is not None or time.monotonic() >= deadline:
                return bool(request.result)
            time.sleep(GATHER_SECONDS)  # another process is sending

    def finish(self, push: int, timeout: float) -> None:
        """Writes everything to disk, with `push` tries to send it; the thread ends with its last client."""
        _process_fork.notice()
        if self.counters is None and not self._is_running:
            return
        self.ask(Request(push, last=True, deadline=time.monotonic() + timeout), timeout)
        if self._has_no_thread and self.counters is not None:
            self._keep()  # all that can be done without one: the next process sends it

    # ── the thread ──────────────────────────────────────────────────────────────────────────

    def _loop(self) -> None:
        while not self._is_pausing:
            self._wakeup.wait(0)  # what it is set for is looked at now
            asked = self._take_requests()
            self._note_news()
            if self._is_engine_wanted(asked):
                self._engine_at = self._work(asked)
                self._keep_at = 0.0 if self._keep_at < NEVER else NEVER  # on one wake-up
            else:
                self._answer_the_last(asked)
            if time.monotonic() >= self._keep_at:
                self._keep()
            if not is_patched():
                self.problems.log()
            if self._is_over():
                self._is_wanted = False
                return
            next_at = min(self._keep_at, self._engine_at, self._claim_at, time.monotonic() + LONGEST_SLEEP)
            if self._wakeup.wait(max(next_at - time.monotonic(), GATHER_SECONDS)) and self._may_gather():
                self._napping.acquire(True, GATHER_SECONDS)

    def _may_gather(self) -> bool:
        """Whether the news may wait for more of the same kind."""
        awaited = any(request.push >= NOW or request.last or request.work for request in self._requests)
        return not (awaited or self._is_pausing or (self._engine is not None and self._engine.has_answer()))

    def _note_news(self) -> None:
        """Notes news: counts are copied within seconds, statements are for the engine."""
        now = time.monotonic()
        if abs(_clock_offset() - self._offset) > CLOCK_JUMP_SECONDS:
            self._offset, self._engine_at = _clock_offset(), min(self._engine_at, now)
        counters = self.counters
        if counters is None:
            return
        before, self._switch = self._switch, self.consent.look()
        if before not in (None, self._switch) and (before or OFF in self._switch):
            self._engine_at, self._collected_said = now, ()  # by another process, or the customer's command
        if counters.fresh:
            return
        counters.fresh = True
        self._keep_at = min(self._keep_at, now + KEEP_SECONDS)
        said, self._said = self._said, counters.times_said()
        if self._engine is None:
            self._engine_at = min(self._engine_at, now + BEGIN_SECONDS)
        if said[CONSENT:] != self._said[CONSENT:]:
            self._engine_at = now
        elif said[1:] != self._said[1:] or (said != self._said and self._engine is not None):
            # all but a first claim, which a program that ends soon may know already
            self._engine_at = min(self._engine_at, max(now, self._heard_at + HEAR_SECONDS))

    def _keep(self) -> None:
        self._keep_at = NEVER
        try:
            if self.counters is not None:
                if not self.counters.is_in_place():
                    self.counters.put_back()
                self._keeper.keep(self.counters)
            self.problems.settle("copy")
        except OSError as error:
            self.problems.note(
                "copy", f"no copy of the counters can be kept in {self.settings.state_dir}: {error.strerror}"
            )

    def _is_engine_wanted(self, asked: List[Request]) -> bool:
        if time.monotonic() >= min(self._engine_at, self._claim_at) or (
            self._engine is not None and self._engine.has_answer()
        ):
            return True
        if any(request.work or not request.last for request in asked):
            return True
        return bool(asked) and (self._engine is not None or not self._is_nothing_due(asked))

    def _is_nothing_due(self, asked: List[Request]) -> bool:
        """Whether a program that ends may leave everything in its counter file for the next one."""
        counters = self.counters
        if counters is None:
            return True
        if counters.storage == MEMORY or self._claim_at < NEVER or any(request.push for request in asked):
            return False
        due, known = self._keeper.hint(counters)
        times = counters.times_said()
        claim = (counters.said("license") or "").partition("\n")[2]
        soon = time.time() < due <= time.time() + FARTHEST_HINT_SECONDS
        said_no_more = times[1:] == counters.times_at_birth[1:]
        return soon and said_no_more and (times[0] == counters.times_at_birth[0] or claim == known)

    def _work(self, asked: List[Request]) -> float:
        """Runs the engine; returns the time of its next run, by the monotonic clock."""
        try:
            engine = self._load()
            engine.counters = self.counters
            engine.follow(self.settings)
            if self._claim_at < NEVER:
                self._say_claim_of(engine)
            said, self._collected_said = self._collected_said, self._said
            self._heard_at = time.monotonic() if said != self._said else self._heard_at
            next_at = engine.work(asked, self._wakeup, news=said != self._said)
            self._after(engine)
            return time.monotonic() if self._show_notice(engine) else next_at
        except Exception as error:  # the host must not notice, and the next attempt comes
            self.problems.note("fault", f"a fault of the client itself: {error!r}")
            for request in asked:
                request.answer(None, error)
            return time.monotonic() + RETRY_SECONDS

    def _after(self, engine: Engine) -> None:
        """Takes over the consent in the outbox, and updates the hint for short-lived programs."""
        counters = self.counters
        if counters is None or not engine.is_collected() or counters.times_said() != self._collected_said:
            return  # the outbox may not know yet what was said last
        if self.consent.learn(**engine.consent()):
            self.say_claim()
        hint = (engine.due(), _statements.write(0, engine.known_claim() or {}).partition("\n")[2])
        if hint != self._hinted:
            self._hinted = hint
            self._keeper.note(counters, *hint)

    def _show_notice(self, engine: Engine) -> bool:
        """Has the host show a new privacy notice; returns whether it did."""
        found = engine.notices()
        if not found or self.on_notice is None:
            return False
        try:
            if self.on_notice([dict(one) for one in found]) is False:
                return False
        except Exception as error:
            self.problems.note("notice", f"on_notice failed, and is called again later: {error!r}")
            return False
        engine.notice_was_shown(found[0]["version"])
        return True

    def _load(self) -> Engine:
        """Imports the modules for disk and network; a fork waits meanwhile."""
        if self._engine is None:
            self.importing = True
            try:
                from ._engine import Engine  # noqa: PLC0415  costs what importing the package must not

                self._engine = Engine(self.settings, self.problems)
            finally:
                self.importing = False
        return self._engine

    def _answer_the_last(self, asked: List[Request]) -> None:
        if asked:
            self._keep()
        for request in asked:
            request.answer(True)

    def _is_over(self) -> bool:
        is_busy = self._requests or (self._engine is not None and self._engine.is_busy())
        return not is_busy and (self.clients <= 0 or self.counters is None)


def _clock_offset() -> float:
    return time.time() - time.monotonic()


def _at_exit() -> None:
    """Prints nothing, even if Ctrl-C is pressed again."""
    try:
        deadline = time.monotonic() + EXIT_SECONDS
        for found in list(_running.values()):
            found.clients = 0
            if "uwsgi" in sys.modules:  # it runs this after OpenSSL has cleaned up: a SIGSEGV
                found.leave()
            else:
                found.finish(WHEN_DUE, max(0.05, deadline - time.monotonic()))
    except BaseException:
        pass


atexit.register(_at_exit)
