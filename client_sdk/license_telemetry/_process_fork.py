"""Handles forks: the background threads pause, and a forked child starts again.

A forked child inherits memory and descriptors, but no thread: a lock held by another thread stays locked for
ever. So the threads are asked to end before a fork, and are started again in the parent. The fork waits for
them a tenth of a second, and two seconds while they import, because a child with a half-done import hangs at
its own. Threads that are cut off nevertheless are abandoned: the child only needs new files.
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
        """An object with a thread that pauses for a fork."""

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
    """The replacement of the mark if the kernel cannot wipe pages: it costs a system call."""

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
    """Registers it for forks, for its lifetime."""
    key = id(thread)
    _threads[key] = ref(thread, lambda _gone: _threads.pop(key, None))


def _living() -> list[Any]:
    return [thread for thread in [one() for one in list(_threads.values())] if thread is not None]


def notice() -> None:
    """Starts again, once, in a child of a server that forks in C without hooks, like uWSGI."""
    if mark[0]:
        return
    with _noticing:
        if not mark[0]:
            after_fork_in_child()


def before_fork() -> None:
    """Asks all threads to end, and waits for them briefly."""
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
    """Starts again in the child, also after a fork in C that runs the hooks of the child only."""
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
    """Resumes in the parent after a fork, at the next call of the host at the latest."""
    if _resume_later in gc.callbacks:
        gc.callbacks.remove(_resume_later)
    for thread in _living():
        thread.resume()


def _resume_later(_phase: str, _info: Any) -> None:
    """Resumes at the next garbage collection, after fork() has counted the threads."""
    resume()


is_returned = True
is_alone = False


def _wait(thread: Forked, started: float) -> None:
    """Waits on a real lock that is never released: the host's sleep may be that of a greenlet hub."""
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
