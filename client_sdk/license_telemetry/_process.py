"""The identity of processes, and whether one still lives, as numbers that fit a counter file.

Uses only /proc, and elsewhere signal 0; imported with the package, so it imports only cheap modules.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NamedTuple

    class Process(NamedTuple):
        pid: int
        started: int
        namespace: int
        boot: int


_START_TIME = 19  # of the fields in /proc/<pid>/stat that follow the command's name


def myself() -> Process:
    """This process: pid, start (ticks since boot), pid namespace and boot. 0: unknown."""
    pid = os.getpid()
    return pid, _started(pid), _namespace(), _boot()  # type: ignore[return-value]  # a NamedTuple costs an import


def is_near(process: Process) -> bool:
    """Whether `process` was started in this pid namespace and boot, i.e. in this container."""
    return process[2:] == (_namespace(), _boot())


def is_gone(process: Process) -> bool:
    """Whether `process` has certainly ended; False if that can't be known from here."""
    pid, started, namespace, boot = process
    if not pid:
        return False
    if boot and _boot() and boot != _boot():
        return True
    if namespace != _namespace():
        return False
    if started and _started(os.getpid()):
        return _started(pid) != started
    try:
        if sys.platform != "win32":  # there it would end the process; the lock of its file tells
            os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False


def _started(pid: int) -> int:
    """The start in ticks since boot; 0 without such a process or /proc. A zombie has ended."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
        return 0 if fields[0] in (b"Z", b"X") else int(fields[_START_TIME])
    except (OSError, ValueError, IndexError):
        return 0


def _namespace() -> int:
    try:
        return os.stat("/proc/self/ns/pid").st_ino
    except OSError:
        return 0


def _boot() -> int:
    """The first 60 bits of the kernel's boot id."""
    try:
        with open("/proc/sys/kernel/random/boot_id", "rb") as file:
            return int(file.read(18).replace(b"-", b"")[:15], 16)
    except (OSError, ValueError):
        return 0
