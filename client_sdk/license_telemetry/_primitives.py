"""Locks and threads of the operating system, also where gevent or eventlet replaced the interpreter's.

A lock of theirs waits on the hub of the thread that made it, and a thread of theirs is a greenlet: our
background work would run, and wait, between the host's own requests.
"""

from __future__ import annotations

import _thread
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def _original(name: str) -> Any:
    """`_thread.<name>` as the interpreter made it."""
    try:
        monkey = sys.modules.get("gevent.monkey")
        if monkey is not None:
            return monkey.get_original("_thread", name)
        patcher = sys.modules.get("eventlet.patcher")
        if patcher is not None:
            return getattr(patcher.original("_thread"), name)
    except Exception:  # a release of theirs that keeps no original: theirs is better than none
        pass
    return getattr(_thread, name)


allocate_lock = _original("allocate_lock")
start_new_thread = _original("start_new_thread")
get_native_id = _original("get_native_id")
RLock = _original("RLock")


def has_ended(native_id: int) -> bool:
    """Whether that thread of this process is gone for the kernel, too: it outlives its last line a little."""
    return not native_id or not os.path.exists(f"/proc/self/task/{native_id}")


def is_patched() -> bool:
    """Whether the host runs on greenlets: code of the host must then not be called on a thread of ours."""
    for name, attribute in (
        ("gevent.monkey", "is_module_patched"),
        ("eventlet.patcher", "is_monkey_patched"),
    ):
        module = sys.modules.get(name)
        try:
            if module is not None and getattr(module, attribute)("socket"):
                return True
        except Exception:
            continue
    return False
