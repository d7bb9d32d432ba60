"""What the background thread does while nothing is due: keeps a copy of the counters on disk.

The copy is for a reboot and for containers that are removed; the kernel writes it to the disk within half a
minute. A hint in shared memory says when something is due and which claim is known, so that a program that
runs for a moment need not open the outbox to find that nothing is.
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
    """Keeps the copy in `state_dir`; None: there is nowhere to keep it."""

    def __init__(self, state_dir: Optional[str]) -> None:
        self._directory = kept_directory(state_dir) if state_dir else None
        self._written = b""

    def keep(self, counters: Counters) -> None:
        """Write the blocks that have changed, those with the numbers last. Raises OSError."""
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
        """Leave the hint: when something is due, seconds since 1970, and the claim the outbox knows."""
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
            pass  # it saves work, no more

    def hint(self, counters: Counters) -> Tuple[float, str]:
        """When something is due, and the claim the outbox knows; (0.0, "") where that is not known."""
        try:
            descriptor = os.open(_hint(counters) or "", os.O_RDONLY | SAFELY)
            try:
                return os.fstat(descriptor).st_mtime, os.read(descriptor, PAGE).decode("utf-8", "replace")
            finally:
                os.close(descriptor)
        except OSError:
            return 0.0, ""


def _hint(counters: Counters) -> Optional[str]:
    """Beside the counters: that directory is certainly ours."""
    if counters.storage != SHARED_MEMORY or counters.path is None:
        return None
    return os.path.join(os.path.dirname(counters.path), HINT)
