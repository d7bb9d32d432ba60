"""The second copy of the customer's switch: beside the outbox, in its lock file.

An outbox that replaces a damaged one continues with it, and it can be read without the lock and SQLite.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Optional

LOCK = "outbox.lock"
SWITCH_VALUES = ("outbox_id", "off", "locked", "level")  # as JSON, with these of the outbox
SWITCH_BYTES = 256


def switch_file(state_dir: Optional[str]) -> Optional[str]:
    return os.path.join(state_dir, LOCK) if state_dir else None
