"""What the host's threads say to the background thread."""

from __future__ import annotations

import threading

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Optional

# How hard to try to send; each step passes over one more reason to wait.
WHEN_DUE = 0  # the schedule, spread over the fleet
SOON = 1  # the client's own back-off
NOW = 2  # a pause the server asked for
AT_ALL_COSTS = 3  # only for a human at the command line


class Signal:
    """Wakes the background thread: how hard to send, and who waits for the outcome.

    `sent` is True when nothing is queued any more, None while another process is sending.
    """

    __slots__ = ("closing", "done", "push", "sent")

    def __init__(self, push: int, *, closing: bool = False) -> None:
        self.push = push
        self.closing = closing
        self.done = threading.Event()
        self.sent: Optional[bool] = None
