"""What a fork must not cut in half: imports in the background thread, and open databases.

A forked child inherits memory and descriptors, but no thread: a lock that another thread held stays
locked for ever, and SQLite would believe in file locks that the child doesn't have. Both happen only
under `guard`, and forking waits for it. It is held for milliseconds, never during network I/O.
"""

from __future__ import annotations

import os
import threading
from weakref import WeakSet

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Optional, Type

    from .client import Telemetry

PATIENCE = 2.0


class Guard:
    """A lock; a fork waits for it for two seconds."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._forker: Optional[int] = None

    def acquire(self, timeout: float) -> bool:
        return self._lock.acquire(timeout=timeout)

    def release(self) -> None:
        self._lock.release()

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        self._lock.release()

    def before_fork(self) -> None:
        if self._lock.acquire(timeout=PATIENCE):
            self._forker = threading.get_ident()

    def after_fork_in_parent(self) -> None:
        if self._forker == threading.get_ident():
            self._forker = None
            self._lock.release()

    def after_fork_in_child(self) -> bool:
        """A new lock; whether nothing was cut in half."""
        whole = self._forker == threading.get_ident() or self._lock.acquire(blocking=False)
        self._lock, self._forker = threading.Lock(), None
        return whole


guard = Guard()
clients: WeakSet[Telemetry] = WeakSet()


def start_afresh() -> None:
    """In a forked child: begin with empty memory. Servers that fork in C get here with the first call."""
    whole = guard.after_fork_in_child()
    for client in list(clients):
        client.start_afresh(whole=whole)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=guard.before_fork,
        after_in_parent=guard.after_fork_in_parent,
        after_in_child=start_afresh,
    )
