"""Locks and threads of the operating system, even if gevent or eventlet replaced the interpreter's.

Their locks wait on the hub of the thread that made them, and their threads are greenlets: our background
work would run, and wait, between the host's requests.
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
    except Exception:  # their release keeps no original: theirs is better than none
        pass
    return getattr(_thread, name)


allocate_lock = _original("allocate_lock")
start_new_thread = _original("start_new_thread")
get_native_id = _original("get_native_id")
RLock = _original("RLock")


def has_ended(native_id: int) -> bool:
    """Whether that thread has ended for the kernel, too, which is a little after its last line."""
    return not native_id or not os.path.exists(f"/proc/self/task/{native_id}")


def is_patched() -> bool:
    """Whether the host runs on greenlets: then its code must not be called on our threads."""
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
