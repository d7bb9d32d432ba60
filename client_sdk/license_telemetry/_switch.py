"""Where the customer's switch is kept a second time: beside the outbox, in the file that is its lock.

An outbox that is made anew where one was spoiled goes on with it, and whoever wants to know it needs neither
the lock nor SQLite.
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
