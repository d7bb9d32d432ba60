"""Keeps a copy of the counters on disk, while nothing else is due.

The copy is for reboots and removed containers; the kernel writes it to the disk within half a minute. A hint
in shared memory holds the next due time and the known claim, so that a short-lived program need not open the
outbox to find that nothing is due.
"""

from __future__ import annotations

import os

from ._counters import SHARED_MEMORY, Counters, kept_directory
from ._private_files import SAFELY, give_to_owner_above, own_directory
from ._snapshot import PAGE, SIZE, SUFFIX

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Optional, Tuple

BLOCK = 256  # 32 counters
HINT = "due"


class Keeper:
    """Keeps the copy in `state_dir`; with None there is no copy."""

    def __init__(self, state_dir: Optional[str]) -> None:
        self._directory = kept_directory(state_dir) if state_dir else None
        self._written = b""

    def keep(self, counters: Counters) -> None:
        """Writes the changed blocks, those with the numbers last. Raises OSError."""
        if counters.storage != SHARED_MEMORY or self._directory is None:
            return
        path = os.path.join(self._directory, counters.id + SUFFIX)
        content = counters.content()
        try:
            descriptor = os.open(path, os.O_WRONLY | SAFELY)
        except FileNotFoundError:
            own_directory(self._directory, shared=False)
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | SAFELY, 0o600)
            give_to_owner_above(path)
        try:
            known = self._written if os.fstat(descriptor).st_size == SIZE else b""
            for at in range(SIZE - BLOCK, -BLOCK, -BLOCK):
                if content[at : at + BLOCK] != known[at : at + BLOCK]:
                    os.lseek(descriptor, at, os.SEEK_SET)
                    os.write(descriptor, content[at : at + BLOCK])
        except OSError:
            self._written = b""
            raise
        finally:
            os.close(descriptor)
        self._written = content

    def note(self, counters: Counters, due: float, claim: str) -> None:
        """Writes the hint: the next due time, in seconds since 1970, and the claim in the outbox."""
        path = _hint(counters)
        if path is None:
            return
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | SAFELY, 0o600)
            try:
                os.ftruncate(descriptor, 0)
                os.write(descriptor, claim.encode("utf-8", "replace"))
                os.utime(descriptor if os.utime in os.supports_fd else path, (due, due))
            finally:
                os.close(descriptor)
        except (OSError, ValueError, OverflowError):
            pass  # it only saves work

    def hint(self, counters: Counters) -> Tuple[float, str]:
        """The next due time and the claim in the outbox; (0.0, "") if unknown."""
        try:
            descriptor = os.open(_hint(counters) or "", os.O_RDONLY | SAFELY)
            try:
                return os.fstat(descriptor).st_mtime, os.read(descriptor, PAGE).decode("utf-8", "replace")
            finally:
                os.close(descriptor)
        except OSError:
            return 0.0, ""


def _hint(counters: Counters) -> Optional[str]:
    """The path of the hint, beside the counters: that directory is certainly ours."""
    if counters.storage != SHARED_MEMORY or counters.path is None:
        return None
    return os.path.join(os.path.dirname(counters.path), HINT)
