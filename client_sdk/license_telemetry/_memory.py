"""The memory of an open counter file: mapped, or read once and written through.

Before Python 3.13 a mapping keeps a duplicate of the descriptor, and closes that number at its end, even if
the host has closed it and uses it for another file. So the number is noted, and checked first.
"""

from __future__ import annotations

import os
import sys

from . import _process_fork

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

OURS, CLOSED, REUSED = range(3)
NONE = -1


class Memory:
    """The content, in `buffer`. The file stays open and locked until `let_go`.

    `descriptor` is the one to write to if the file is not mapped.
    """

    def __init__(self, descriptor: int, size: int, *, mapped: bool) -> None:
        found = os.fstat(descriptor)
        self._device, self._inode = found.st_dev, found.st_ino
        self._mapped = mapped
        self.descriptor = descriptor
        if mapped:
            self.buffer: Any = self._map(descriptor, size)
        else:
            os.lseek(descriptor, 0, os.SEEK_SET)
            self.buffer = bytearray(os.read(descriptor, size))

    def _map(self, descriptor: int, size: int) -> Any:
        import mmap  # noqa: PLC0415  only who counts pays for it

        if sys.version_info >= (3, 13):
            self.descriptor = NONE
            return mmap.mmap(descriptor, size, trackfd=False)  # novm
        while True:
            self.descriptor = os.dup(descriptor)
            os.close(self.descriptor)  # the mapping's own gets the lowest free number, too
            mapping = mmap.mmap(descriptor, size)
            if self.state() == OURS:
                return mapping
            _process_fork.left_behind.append(mapping)  # another thread was faster

    def state(self) -> int:
        """The identity of the file behind the descriptor."""
        try:
            found = os.fstat(self.descriptor)
        except OSError:
            return CLOSED
        return OURS if (found.st_dev, found.st_ino) == (self._device, self._inode) else REUSED

    def let_go(self) -> bool:
        """Closes file and mapping; returns False if that could close a file of the host.

        In a child that was just forked, no other thread opens or closes files.
        """
        state = self.state()
        if not self._mapped:
            if state == OURS:
                os.close(self.descriptor)
            return True
        if state == OURS or self.descriptor == NONE:
            self.buffer.close()
            return True
        if not _process_fork.is_alone:
            return False
        try:
            self._close_beside(state)
        except OSError:
            return False
        return True

    def _close_beside(self, state: int) -> None:
        """Closes a mapping whose number the host uses by now, and gives the host's file its number back."""
        if state == CLOSED:
            self.buffer.close()
            return
        inheritable, hosts = os.get_inheritable(self.descriptor), os.dup(self.descriptor)
        self.buffer.close()
        os.dup2(hosts, self.descriptor, inheritable)
        os.close(hosts)
