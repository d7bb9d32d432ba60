"""Requests of the host's threads to the background thread, and how both wait.

The background thread waits on a real lock. A thread of the host polls every few milliseconds with
`time.sleep`: patched by gevent or eventlet, that lets other greenlets run, and no signal handler and no fork
can be caught between two locks.
"""

from __future__ import annotations

import time

from ._primitives import allocate_lock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Optional

# How hard to try to send; each step skips one more reason to wait.
WHEN_DUE = 0  # the schedule, spread over the fleet
SOON = 1  # the client's own back-off
NOW = 2  # a pause the server asked for
AT_ALL_COSTS = 3  # only for a human at the command line

RETRY_SECONDS = 60.0  # after a permanent failure
SHORTEST_LOOK, LONGEST_LOOK = 0.0005, 0.02


class Wakeup:
    """Wakes one waiting thread. Setting it twice wakes once; it may be set from a signal handler."""

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        self._lock = allocate_lock()
        self._lock.acquire()

    def set(self) -> None:
        try:
            self._lock.release()
        except RuntimeError:
            pass  # it is set already

    def is_set(self) -> bool:
        return not self._lock.locked()

    def wait(self, seconds: float) -> bool:
        """Waits at most `seconds` for set(); returns whether it was called."""
        return bool(self._lock.acquire(True, max(0.0, seconds)))


class Request:
    """A request of the host to the background thread.

    `work` is called there with the engine, and its result becomes `result`. Without it pings are sent, `push`
    says how hard, and `result` is True if nothing is queued any more, None while another process sends.
    `report`: counts don't wait for the next heartbeat. `last`: the host ends or closes, at `deadline`
    (monotonic) at the latest.
    """

    __slots__ = ("deadline", "done", "error", "exchanges", "last", "push", "report", "result", "work")

    def __init__(
        self,
        push: int = WHEN_DUE,
        *,
        work: Optional[Callable[[Any], Any]] = None,
        report: bool = False,
        last: bool = False,
        deadline: float = 0.0,
    ) -> None:
        self.push = push
        self.work = work
        self.report = report
        self.last = last
        self.deadline = deadline
        self.exchanges = 0
        self.done = False
        self.result: Any = None
        self.error: Optional[Exception] = None

    def answer(self, result: Any, error: Optional[Exception] = None) -> None:
        self.result, self.error, self.done = result, error, True


def wait_until(condition: Callable[[], bool], deadline: float) -> bool:
    """Waits on a host's thread until `condition()` or the monotonic `deadline`; returns whether it holds."""
    pause = SHORTEST_LOOK
    while not condition():
        left = deadline - time.monotonic()
        if left <= 0:
            return condition()
        time.sleep(min(pause, left))
        pause = min(pause * 1.5, LONGEST_LOOK)
    return True
