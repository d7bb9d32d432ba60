"""What may be collected in one process for one state directory: one answer for all its clients.

Consent withdrawn anywhere wins: the lowest level of all open clients holds, and one that was opened with
enabled=False has telemetry off for all of them. The customer's switch is kept in the outbox, and beside it in
a file that is read here without waiting for anyone.
"""

from __future__ import annotations

import os
import time

from ._private_files import SAFELY
from ._settings import LEVELS
from ._switch import SWITCH_BYTES, switch_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable, Dict, Optional

    from ._settings import Level, Limits, Settings

OFF, LOCKED = b'"off": true', b'"locked": true'
LOOK_SECONDS = 1.0  # from one look at the switch to the next


class Consent:
    """`settings` are those of the newest client, within what all others that are open allow."""

    def __init__(self, settings: Settings) -> None:
        self._newest = self.settings = settings
        self._limits: Dict[Limits, int] = {}  # how many open clients have each
        self.off: Optional[bool] = None  # by the outbox; None: not known yet
        self.allowed: Optional[Level] = None  # by the outbox
        self.is_locked = False  # by the customer's command: the host can't undo it
        self.is_pending = False  # something was said here that the outbox may not know yet
        self.is_counting = False
        self._switch = b""
        self._look_at = 0.0
        self._find_out()

    # ── the clients ─────────────────────────────────────────────────────────────────────────

    def open(self, settings: Settings) -> None:
        """One more client. One that does not know what it is for limits none of the others."""
        if self._limits and settings.is_incomplete:
            return
        self._newest = settings
        self.limit(settings, 1)

    def limit(self, settings: Settings, clients: int) -> None:
        """One client more (1) or less (-1) has these limits."""
        if not settings.is_incomplete:
            count = self._limits.pop(settings.limits, 0) + clients
            if count > 0:
                self._limits[settings.limits] = count
        self._update()

    def change(self, settings: Settings, change: Callable[[Settings], None]) -> None:
        """An open client's settings change, and its limits with them."""
        self.limit(settings, -1)
        change(settings)
        self.limit(settings, 1)

    def _update(self) -> None:
        if self._limits:  # else the last client was closed, and what held then holds
            self.settings = self._newest.within(self._limits)
        self._find_out()

    def _find_out(self) -> None:
        self.is_counting = self.settings.why_off is None and not self.off and self.level == "usage"

    # ── the customer ────────────────────────────────────────────────────────────────────────

    def decide(self, *, off: Optional[bool] = None, level: Optional[Level] = None) -> None:
        """Said in this process: it holds here at once, and everywhere once it stands in the outbox."""
        self.is_pending = True
        self._learn(self.off if off is None else off, self.allowed if level is None else level)

    def learn(self, *, off: bool, locked: bool, level: Optional[Level]) -> bool:
        """What the outbox says; whether it was off until now and is no longer."""
        was_off, self.is_pending, self.is_locked = self.off, False, locked
        self._learn(off, level)
        return bool(was_off) and not off

    def _learn(self, off: Optional[bool], level: Optional[Level]) -> None:
        self.off, self.allowed = off, level
        self._find_out()

    @property
    def level(self) -> Level:
        """The lowest of what clients, environment and outbox allow, as far as this process knows."""
        levels = (self.settings.level, self.allowed or self.settings.level)
        return LEVELS[min(map(LEVELS.index, levels))]

    # ── the switch ──────────────────────────────────────────────────────────────────────────

    def look(self) -> bytes:
        """The switch as it is written, read at most once in LOOK_SECONDS; empty where there is none."""
        if time.monotonic() >= self._look_at:
            self._look_at = time.monotonic() + LOOK_SECONDS
            self._switch = _read(switch_file(self.settings.state_dir))
        return self._switch

    def is_off_now(self) -> bool:
        """Whether the customer or the host has switched it off, in this process or elsewhere."""
        switch = self.look()
        return bool(self.off) if self.is_pending or not switch else OFF in switch

    def is_locked_now(self) -> bool:
        """Whether the customer's command has switched it off."""
        return self.is_off_now() and (self.is_locked or LOCKED in self._switch)

    def level_now(self) -> Level:
        """`level`, with what was decided elsewhere a moment ago."""
        switch = self.look()
        written = [level for level in LEVELS if f'"level": "{level}"'.encode() in switch]
        if self.is_pending or not written:
            return self.level
        return LEVELS[min(LEVELS.index(self.settings.level), LEVELS.index(written[0]))]


def _read(path: Optional[str]) -> bytes:
    """Empty where there is none."""
    try:
        descriptor = os.open(path or "", os.O_RDONLY | SAFELY)
        try:
            return os.read(descriptor, SWITCH_BYTES)
        finally:
            os.close(descriptor)
    except (OSError, ValueError):
        return b""
