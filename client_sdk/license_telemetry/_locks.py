"""Locks on files: flock(2), and the equivalent on Windows. They end with the process at the latest.

On Windows others can't read a locked byte, so it is one far behind the content.
"""

from __future__ import annotations

import sys

if sys.platform == "win32":
    import msvcrt
    import os

    FAR_BEHIND = 1 << 30

    def try_lock(descriptor: int) -> bool:
        """Lock the open file for this process alone; False while another has it. Raises OSError."""
        try:
            _on_one_byte(descriptor, msvcrt.LK_NBLCK)
        except PermissionError:
            return False
        return True

    def unlock(descriptor: int) -> None:
        try:
            _on_one_byte(descriptor, msvcrt.LK_UNLCK)
        except PermissionError:
            pass  # it was not locked

    def _on_one_byte(descriptor: int, mode: int) -> None:
        at = os.lseek(descriptor, 0, os.SEEK_CUR)
        os.lseek(descriptor, FAR_BEHIND, os.SEEK_SET)
        try:
            msvcrt.locking(descriptor, mode, 1)
        finally:
            os.lseek(descriptor, at, os.SEEK_SET)

else:
    import fcntl

    def try_lock(descriptor: int) -> bool:
        """Lock the open file for this process alone; False while another has it.

        Raises OSError where the file system has no locks.
        """
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def unlock(descriptor: int) -> None:
        """Unlocks the file, also for descriptors of a forked child."""
        fcntl.flock(descriptor, fcntl.LOCK_UN)
