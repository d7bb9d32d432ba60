"""A background thread: started with the first news, ended without work, and paused for a fork.

It is a thread of the operating system. Requests wait in a queue; the host waits with a timeout.
"""

from __future__ import annotations

import sys
import time
from collections import deque

from . import _process_fork
from ._primitives import allocate_lock, get_native_id, has_ended, start_new_thread
from ._problems import Problems
from ._wakeups import Request, Wakeup, wait_until

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Deque, List

    from ._engine import Engine

ANSWER_SECONDS = 2.0
MOST_REQUESTS = 64


class Worker:
    """The base of `Background`, which defines the work in `_loop`."""

    def __init__(self) -> None:
        self.problems = Problems()
        self.begin_anew()
        _process_fork.add(self)

    def begin_anew(self) -> None:
        """Called by __init__, and in a forked child, which has only its own thread."""
        self.importing = False
        self._requests: Deque[Request] = deque()
        self._wakeup = Wakeup()
        self._starting = allocate_lock()
        self._is_running = self._is_wanted = self._is_pausing = False
        self._has_no_thread = False  # none can be started: the process ends
        self._native_id = 0

    def _loop(self) -> None:
        """Works until nothing is left, and then clears `_is_wanted`, or until `_is_pausing`."""
        raise NotImplementedError

    def _has_not_started(self) -> None:
        """Called if no thread could be started: it is tried again with the next news."""

    # ── what the host's threads call ────────────────────────────────────────────────────────

    def wake(self) -> None:
        """Wakes the thread for news."""
        _process_fork.notice()
        if self._is_pausing and _process_fork.is_returned:
            _process_fork.resume()
        self._wakeup.set()
        if not self._is_running and not self._is_pausing:
            self._start()

    def ask(self, request: Request, timeout: float) -> bool:
        """Posts a request and waits for its answer at most `timeout` seconds; returns whether it came."""
        _process_fork.notice()
        if len(self._requests) >= MOST_REQUESTS:
            return False
        self._requests.append(request)
        self.wake()
        if _is_about_to_fork():
            return False
        wait_until(lambda: request.done or self._has_no_thread, time.monotonic() + timeout)
        if not request.done and self._has_no_thread:
            self._requests.clear()  # no waiting request will be answered
        return request.done

    def answer(self, work: Callable[[Engine], Any], timeout: float = ANSWER_SECONDS) -> Any:
        """The result of `work`, run in the background. Raises TimeoutError, and what the work raises."""
        request = Request(work=work)
        if not self.ask(request, timeout):
            raise TimeoutError("the disk does not answer")
        if request.error is not None:
            raise request.error
        return request.result

    # ── the thread ──────────────────────────────────────────────────────────────────────────

    def _start(self) -> None:
        if _is_about_to_fork():
            self._has_not_started()
            return
        if not self._starting.acquire(False):
            return
        try:
            if not self._is_running:
                self._is_running, self._is_wanted, self._has_no_thread = True, True, False
                start_new_thread(self._run, ())
        except RuntimeError:  # no thread: the counters keep the counts
            self._is_running, self._has_no_thread = False, True
            self._has_not_started()
        except BaseException:  # a signal handler of the host raises
            self._is_running = False
            raise
        finally:
            self._starting.release()

    def pause(self) -> None:
        self._is_pausing = True
        self._wakeup.set()

    def is_paused(self) -> bool:
        return not self._is_running and has_ended(self._native_id)

    def resume(self) -> None:
        self._is_pausing = False
        if self._is_wanted:
            self._start()

    def _run(self) -> None:
        self._native_id = get_native_id()
        try:
            self._loop()
        except BaseException as error:
            self._is_wanted = False
            self.problems.note("fault", f"a fault of the client itself: {error!r}")
        finally:
            self._is_running = False
            if not self._is_pausing and (self._is_wanted or self._requests or self._wakeup.is_set()):
                self._start()  # it arrived while the thread was ending

    def _take_requests(self) -> List[Request]:
        return [self._requests.popleft() for _ in range(len(self._requests))]


def _is_about_to_fork() -> bool:
    """Whether this is uWSGI's master, which forks in C and runs no hooks.

    A child would inherit the locks that our thread holds at that moment, and hang. The workers harvest its
    file.
    """
    worker_id = getattr(sys.modules.get("uwsgi"), "worker_id", None)
    return worker_id is not None and worker_id() == 0
