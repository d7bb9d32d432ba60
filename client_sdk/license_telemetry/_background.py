"""The background thread: one for a process and state directory, however many clients there are.

It is a thread of the operating system, ends when nothing is to be done any more and is started again with the
next news. Everything that touches disk or network happens here; the host waits for it at most so long.
While the engine is not needed (nothing is due, nothing was asked for) it is not even imported.
"""

from __future__ import annotations

import atexit
import sys
import threading  # noqa: F401  whoever imports it first is its main thread: never ours
import time
from collections import deque

from . import _process_fork, _statements
from ._counters import MEMORY, SHARED_MEMORY, open_counters
from ._keeper import Keeper
from ._primitives import RLock, allocate_lock, is_patched, start_new_thread
from ._problems import Problems
from ._settings import LEVELS
from ._wakeups import NOW, WHEN_DUE, Request, Wakeup, wait_until

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Deque, Dict, List, Optional, Tuple

    from ._counters import Counters
    from ._engine import Engine
    from ._settings import Level, Settings

KEEP_SECONDS = 5.0  # from a count to its copy on disk
BEGIN_SECONDS = 5.0  # a program that ends before never loads the engine, unless something is due
LONGEST_SLEEP = 60.0  # so that a clock that was put right, or a process that ended, is noticed
HEAR_SECONDS = 5.0  # from one claim or wish for a ping to the next that is heard, unless the host waits
RETRY_SECONDS = 60.0
CLOCK_JUMP_SECONDS = 60.0
FARTHEST_HINT_SECONDS = 32 * 86_400.0
GATHER_SECONDS = 0.03  # one write for many requests, and no thread that spins
EXIT_SECONDS = 1.0
ANSWER_SECONDS = 2.0
MOST_REQUESTS = 64
CONSENT = 2  # of TOPICS, from here on
NEVER = float("inf")

_running: Dict[Any, Background] = {}


def background(settings: Settings) -> Background:
    """The one of this process for the state directory of `settings`; the newest settings hold."""
    key = settings.state_dir or (None, settings.endpoint, settings.product_key, settings.product)
    found = _running.get(key)
    if found is None:
        found = _running.setdefault(key, Background(settings))
    found.settings = settings
    found.problems.debug = found.problems.debug or settings.debug
    found.consent()
    return found


class Background:
    """Runs the engine for the clients of one state directory."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.problems = Problems()
        self.clients = 0  # that are open
        self._off: Optional[bool] = None  # by the outbox; None: not known yet
        self._allowed: Optional[Level] = None  # by the outbox
        self.begin_anew()
        _process_fork.add(self)

    def begin_anew(self) -> None:
        """At birth, and in a forked child: with files of its own."""
        parents: Optional[Counters] = getattr(self, "counters", None)
        if parents is not None:
            parents.let_go()
        self.counters: Optional[Counters] = None
        self.importing = False
        self._engine: Optional[Engine] = None
        self._keeper = Keeper(self.settings.state_dir)
        self._requests: Deque[Request] = deque()
        self._wakeup = Wakeup()
        self._starting = allocate_lock()
        self._opening = RLock()  # a signal handler may count while it is held
        self._is_running = self._is_wanted = self._is_pausing = False
        self._keep_at = self._engine_at = NEVER
        self._offset = _clock_offset()
        self._heard_at = 0.0
        self._said: Tuple[int, ...] = ()
        self._collected_said: Tuple[int, ...] = ()
        self._hinted: Any = None
        self._napping = allocate_lock()
        self._napping.acquire()
        self.consent()

    def open_client(self) -> None:
        with self._opening:
            self.clients += 1

    def close_client(self) -> None:
        with self._opening:
            self.clients -= 1

    # ── consent ─────────────────────────────────────────────────────────────────────────────

    @property
    def is_off(self) -> bool:
        """Whether it was switched off, as far as this process knows."""
        return bool(self._off)

    def is_known_to_be(self, *, off: bool) -> bool:
        return self._off is off

    @property
    def level(self) -> Level:
        """The lowest of what the host, the environment and the outbox allow, as far as this process knows."""
        levels = (self.settings.level, self._allowed or self.settings.level)
        return LEVELS[min(map(LEVELS.index, levels))]

    def consent(self, *, off: Optional[bool] = None, level: Optional[Level] = None) -> None:
        """What the customer allows: at once here, and everywhere once it stands in the outbox."""
        self._off = self._off if off is None else off
        self._allowed = self._allowed if level is None else level
        self.is_counting = self.settings.why_off is None and not self.is_off and self.level == "usage"

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

    def wake(self) -> None:
        """There is news."""
        _process_fork.notice()
        if self._is_pausing and _process_fork.is_returned:
            _process_fork.resume()
        self._wakeup.set()
        if not self._is_running and not self._is_pausing:
            self._start()

    def ask(self, request: Request, timeout: float) -> bool:
        """Hand a request over and wait for its answer at most `timeout` seconds; whether it came."""
        _process_fork.notice()
        if len(self._requests) >= MOST_REQUESTS:
            return False
        self._requests.append(request)
        self.wake()
        if _is_about_to_fork():
            return False
        return wait_until(lambda: request.done, time.monotonic() + timeout)

    def leave(self) -> None:
        """The process ends where what TLS needs is gone already: the counter file is enough."""
        self.pause()
        if wait_until(self.is_paused, time.monotonic() + EXIT_SECONDS) and self.counters is not None:
            self._keep()

    def answer(self, work: Callable[[Engine], Any], timeout: float = ANSWER_SECONDS) -> Any:
        """The result of `work`, done in the background. Raises TimeoutError, and what the work raises."""
        request = Request(work=work)
        if not self.ask(request, timeout):
            raise TimeoutError("the disk does not answer")
        if request.error is not None:
            raise request.error
        return request.result

    def do(self, work: Callable[[Engine], Any]) -> None:
        """Have `work` done in the background, without waiting."""
        if len(self._requests) < MOST_REQUESTS:
            self._requests.append(Request(work=work))
        self.wake()

    def standing(self) -> Dict[str, Any]:
        """What is known without asking the disk."""
        settings = self.settings
        return {
            "enabled": settings.why_off is None and not self.is_off,
            "why_off": settings.why_off or ("it was switched off here" if self.is_off else None),
            "level": self.level,
            "endpoint": settings.endpoint,
            "product": settings.product,
            "state_dir": settings.state_dir,
            "counters": self.counters.storage if self.counters else None,
            "trouble": self.problems.trouble(),
        }

    def flush(self, timeout: float) -> bool:
        deadline = time.monotonic() + timeout
        while True:
            request = Request(NOW, report=True, deadline=deadline)
            if not self.ask(request, deadline - time.monotonic()):
                return False
            if request.result is not None or time.monotonic() >= deadline:
                return bool(request.result)
            time.sleep(GATHER_SECONDS)  # another process is sending

    def finish(self, push: int, timeout: float) -> None:
        """All on disk, and with `push` an attempt to send it; then the thread ends with its last client."""
        _process_fork.notice()
        if self.counters is None and not self._is_running:
            return
        self.ask(Request(push, last=True, deadline=time.monotonic() + timeout), timeout)

    # ── the thread ──────────────────────────────────────────────────────────────────────────

    def _start(self) -> None:
        if _is_about_to_fork():
            if self.counters is not None:
                self.counters.fresh = True
            return
        if not self._starting.acquire(False):
            return
        try:
            if not self._is_running:
                self._is_running = self._is_wanted = True
                start_new_thread(self._run, ())
        except RuntimeError:  # no thread to be had: the counters keep what was counted
            self._is_running = False
            if self.counters is not None:
                self.counters.fresh = True
        except BaseException:  # a signal handler of the host's that raises
            self._is_running = False
            raise
        finally:
            self._starting.release()

    def pause(self) -> None:
        self._is_pausing = True
        self._wakeup.set()

    def is_paused(self) -> bool:
        return not self._is_running

    def resume(self) -> None:
        self._is_pausing = False
        if self._is_wanted:
            self._start()

    def _run(self) -> None:
        try:
            self._loop()
        except BaseException as error:
            self.problems.note("fault", f"a fault of the client itself: {error!r}")
        finally:
            self._is_running = False
            if not self._is_pausing and (self._requests or self._wakeup.is_set()):
                self._start()  # it came while the thread was ending

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
            next_at = min(self._keep_at, self._engine_at, time.monotonic() + LONGEST_SLEEP)
            if self._wakeup.wait(max(next_at - time.monotonic(), GATHER_SECONDS)) and self._may_gather():
                self._napping.acquire(True, GATHER_SECONDS)

    def _may_gather(self) -> bool:
        """Whether what woke the thread may wait for more of its kind."""
        awaited = any(request.push >= NOW or request.last or request.work for request in self._requests)
        return not (awaited or self._is_pausing or (self._engine is not None and self._engine.has_answer()))

    def _take_requests(self) -> List[Request]:
        return [self._requests.popleft() for _ in range(len(self._requests))]

    def _note_news(self) -> None:
        """Counts are copied within seconds; what was said is for the engine."""
        now = time.monotonic()
        if abs(_clock_offset() - self._offset) > CLOCK_JUMP_SECONDS:
            self._offset, self._engine_at = _clock_offset(), min(self._engine_at, now)
        counters = self.counters
        if counters is None or counters.fresh:
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
        if time.monotonic() >= self._engine_at or (self._engine is not None and self._engine.has_answer()):
            return True
        if any(request.work or not request.last for request in asked):
            return True
        return bool(asked) and (self._engine is not None or not self._is_nothing_due(asked))

    def _is_nothing_due(self, asked: List[Request]) -> bool:
        """Whether a program that ends may leave all to its counter file, which the next one goes on with."""
        counters = self.counters
        if counters is None:
            return True
        if counters.storage == MEMORY or any(request.push for request in asked):
            return False
        due, known = self._keeper.hint(counters)
        times = counters.times_said()
        claim = (counters.said("license") or "").partition("\n")[2]
        soon = time.time() < due <= time.time() + FARTHEST_HINT_SECONDS
        said_no_more = times[1:] == counters.times_at_birth[1:]
        return soon and said_no_more and (times[0] == counters.times_at_birth[0] or claim == known)

    def _work(self, asked: List[Request]) -> float:
        """Let the engine work; when it wants to again, by the monotonic clock."""
        try:
            engine = self._load()
            engine.counters = self.counters
            engine.follow(self.settings)
            said, self._collected_said = self._collected_said, self._said
            self._heard_at = time.monotonic() if said != self._said else self._heard_at
            next_at = engine.work(asked, self._wakeup, news=said != self._said)
            self._after(engine)
            return next_at
        except Exception as error:  # the host must not notice, and the next attempt comes
            self.problems.note("fault", f"a fault of the client itself: {error!r}")
            for request in asked:
                request.answer(None, error)
            return time.monotonic() + RETRY_SECONDS

    def _after(self, engine: Engine) -> None:
        """What the outbox says of consent holds here, too; and what a short-lived program may know of it."""
        counters = self.counters
        if counters is None or not engine.is_collected() or counters.times_said() != self._collected_said:
            return  # the outbox may not know yet what was said last
        allowed = engine.consent()
        self._off, self._allowed = allowed["off"], allowed["level"]
        self.consent()
        hint = (engine.due(), _statements.write(0, engine.known_claim() or {}).partition("\n")[2])
        if hint != self._hinted:
            self._hinted = hint
            self._keeper.note(counters, *hint)

    def _load(self) -> Engine:
        """What knows disk and network; a fork waits while it is imported."""
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


def _is_about_to_fork() -> bool:
    """Whether this is uWSGI's master: it forks in C and runs no hooks.

    A child would inherit what a thread of ours holds at that moment, and hang. The workers harvest its file.
    """
    worker_id = getattr(sys.modules.get("uwsgi"), "worker_id", None)
    return worker_id is not None and worker_id() == 0


def _clock_offset() -> float:
    return time.time() - time.monotonic()


def _at_exit() -> None:
    """Nothing of ours may be printed, also when somebody is impatient and presses Ctrl-C again."""
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
