"""What a fork does to the background threads: they pause for it, and a forked child begins anew.

A forked child inherits memory and descriptors, but no thread: a lock that another thread held stays locked
for ever. So the threads are asked to end before a fork, and are started again in the parent; the fork waits
for them for a tenth of a second, and two seconds while they import, because a child in which an import is
cut in half hangs at its own. What is cut off nevertheless is left behind: the child only needs new files.
"""

from __future__ import annotations

import gc
import os
import sys
import time
from weakref import WeakSet

from ._primitives import allocate_lock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Protocol

    class Forked(Protocol):
        """What has a thread that pauses for a fork."""

        importing: bool

        def pause(self) -> None: ...
        def is_paused(self) -> bool: ...
        def resume(self) -> None: ...
        def begin_anew(self) -> None: ...


PATIENCE = 0.1
IMPORT_PATIENCE = 2.0
SHOWS_THREADS = sys.version_info >= (
    3,
    12,
)  # fork() then warns of threads, counting them in the parent afterwards

threads: WeakSet[Any] = WeakSet()
descriptors: set[int] = set()  # open only for a moment: a child that was forked in it closes them
left_behind: list[Any] = []  # what a child must not free: it would close descriptors that may be the host's


def before_fork() -> None:
    """Ask all threads to end, and wait for them a little."""
    for thread in list(threads):
        thread.pause()
    started = time.monotonic()
    for thread in list(threads):
        patience = IMPORT_PATIENCE if thread.importing else PATIENCE
        _wait(thread, started + patience)


def after_fork_in_parent() -> None:
    if not SHOWS_THREADS:
        resume()
        return
    gc.callbacks.append(_resume_later)


def after_fork_in_child() -> None:
    """Also where a server forks in C and calls Python's hooks for the child only."""
    for descriptor in list(descriptors):
        try:
            os.close(descriptor)
        except OSError:
            pass
    descriptors.clear()
    if _resume_later in gc.callbacks:
        gc.callbacks.remove(_resume_later)
    for thread in list(threads):
        thread.begin_anew()


def resume() -> None:
    for thread in list(threads):
        thread.resume()


def _resume_later(_phase: str, _info: Any) -> None:
    """The next collection of garbage after a fork is late enough for fork() to have counted the threads."""
    gc.callbacks.remove(_resume_later)
    resume()


def _wait(thread: Forked, deadline: float) -> None:
    """On a real lock that nothing releases: the host's own sleep may be that of a hub of greenlets."""
    nap = allocate_lock()
    nap.acquire()
    while not thread.is_paused() and time.monotonic() < deadline:
        nap.acquire(True, 0.0005)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=before_fork,
        after_in_parent=after_fork_in_parent,
        after_in_child=after_fork_in_child,
    )
