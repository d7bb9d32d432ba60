"""What a fork does to the background threads: they pause for it, and a forked child begins anew.

A forked child inherits memory and descriptors, but no thread: a lock that another thread held stays locked
for ever. So the threads are asked to end before a fork, and are started again in the parent; the fork waits
for them for a tenth of a second, and two seconds while they import, because a child in which an import is
cut in half hangs at its own. What is cut off nevertheless is left behind: the child only needs new files.
"""

from __future__ import annotations

import gc
import mmap
import os
import sys
import time
from weakref import ref

from ._primitives import RLock, allocate_lock

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
COUNTS_AFTERWARDS = sys.version_info >= (3, 13)  # fork() counts threads after the hooks, to warn of them
WIPE_ON_FORK = 18  # madvise(2)

_threads: dict[int, Any] = {}  # weak references; a WeakSet cannot be read while another thread adds to it
descriptors: set[int] = set()  # open only for a moment: a child that was forked in it closes them
left_behind: list[Any] = []  # what a child must not free: it would close descriptors that may be the host's


class _Pid:
    """What stands for the mark where the kernel wipes no page: it costs a system call."""

    def __init__(self) -> None:
        self[0] = 1

    def __setitem__(self, _index: int, _value: int) -> None:
        self._pid = os.getpid()

    def __getitem__(self, _index: int) -> bool:
        return os.getpid() == self._pid


def _make_mark() -> Any:
    """A page that the kernel wipes in a forked child; its first byte is 1."""
    try:
        page = mmap.mmap(-1, mmap.PAGESIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        page.madvise(WIPE_ON_FORK)
    except (AttributeError, OSError, ValueError, TypeError):
        return _Pid()
    page[0] = 1
    return page


mark = _make_mark()
_noticing = RLock()


def add(thread: Forked) -> None:
    """Let it pause for forks, as long as it lives."""
    key = id(thread)
    _threads[key] = ref(thread, lambda _gone: _threads.pop(key, None))


def _living() -> list[Any]:
    return [thread for thread in [one() for one in list(_threads.values())] if thread is not None]


def notice() -> None:
    """In a child of a server that forks in C and runs no hooks, as uWSGI does: begin anew, once."""
    if mark[0]:
        return
    with _noticing:
        if not mark[0]:
            after_fork_in_child()


def before_fork() -> None:
    """Ask all threads to end, and wait for them a little."""
    global is_returned  # noqa: PLW0603  a process forks as a whole
    is_returned = False
    for thread in _living():
        thread.pause()
    started = time.monotonic()
    for thread in _living():
        _wait(thread, started)


def after_fork_in_parent() -> None:
    global is_returned  # noqa: PLW0603  a process forks as a whole
    is_returned = True
    if COUNTS_AFTERWARDS:
        if _resume_later not in gc.callbacks:
            gc.callbacks.append(_resume_later)
    else:
        resume()


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
    for thread in _living():
        thread.begin_anew()
    mark[0] = 1


def _after_fork_in_child() -> None:
    """Called by the interpreter, before any other thread can be there."""
    global is_alone  # noqa: PLW0603  a process forks as a whole
    is_alone = True
    try:
        after_fork_in_child()
    finally:
        is_alone = False


def resume() -> None:
    """After a fork, in the parent: at the next call of the host at the latest."""
    if _resume_later in gc.callbacks:
        gc.callbacks.remove(_resume_later)
    for thread in _living():
        thread.resume()


def _resume_later(_phase: str, _info: Any) -> None:
    """The next collection of garbage after a fork is late enough for fork() to have counted the threads."""
    resume()


is_returned = True
is_alone = False


def _wait(thread: Forked, started: float) -> None:
    """On a real lock that nothing releases: the host's own sleep may be that of a hub of greenlets."""
    nap = allocate_lock()
    nap.acquire()
    while not thread.is_paused():
        if time.monotonic() > started + (IMPORT_PATIENCE if thread.importing else PATIENCE):
            return
        nap.acquire(True, 0.0005)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=before_fork,
        after_in_parent=after_fork_in_parent,
        after_in_child=_after_fork_in_child,
    )
