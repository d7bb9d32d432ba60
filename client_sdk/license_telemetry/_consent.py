"""The consent in one process for one state directory, the same for all its clients.

Consent withdrawn anywhere wins: the lowest level of all open clients holds, and a client with enabled=False
switches telemetry off for all of them. The customer's switch is in the outbox, and also in a file beside it,
which is read here without a lock.
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
LOOK_SECONDS = 1.0  # between two reads of the switch


class Consent:
    """The consent; `settings` are those of the newest client, limited by all other open clients."""

    def __init__(self, settings: Settings) -> None:
        self._newest = self.settings = settings
        self._limits: Dict[Limits, int] = {}  # number of open clients with each
        self.off: Optional[bool] = None  # by the outbox; None: not known yet
        self.allowed: Optional[Level] = None  # by the outbox
        self.is_locked = False  # by the customer's command: the host can't undo it
        self.is_pending = False  # a decision made here may not be in the outbox yet
        self.is_counting = False
        self._switch = b""
        self._look_at = 0.0
        self._find_out()

    # ── the clients ─────────────────────────────────────────────────────────────────────────

    def open(self, settings: Settings) -> None:
        """Adds a client. One without product or endpoint does not limit the others."""
        if self._limits and settings.is_incomplete:
            return
        self._newest = settings
        self.limit(settings, 1)

    def limit(self, settings: Settings, clients: int) -> None:
        """Adds (1) or removes (-1) a client with these limits."""
        if not settings.is_incomplete:
            count = self._limits.pop(settings.limits, 0) + clients
            if count > 0:
                self._limits[settings.limits] = count
        self._update()

    def change(self, settings: Settings, change: Callable[[Settings], None]) -> None:
        """Changes the settings of an open client, and its limits."""
        self.limit(settings, -1)
        change(settings)
        self.limit(settings, 1)

    def _update(self) -> None:
        if self._limits:  # else the last client was closed, and its limits stay in force
            self.settings = self._newest.within(self._limits)
        self._find_out()

    def _find_out(self) -> None:
        self.is_counting = self.settings.why_off is None and not self.off and self.level == "usage"

    # ── the customer ────────────────────────────────────────────────────────────────────────

    def decide(self, *, off: Optional[bool] = None, level: Optional[Level] = None) -> None:
        """Decides in this process: effective here at once, and everywhere once it is in the outbox."""
        self.is_pending = True
        self._learn(self.off if off is None else off, self.allowed if level is None else level)

    def learn(self, *, off: bool, locked: bool, level: Optional[Level]) -> bool:
        """Takes over the outbox's state; returns whether telemetry was off until now and is on again."""
        was_off, self.is_pending, self.is_locked = self.off, False, locked
        self._learn(off, level)
        return bool(was_off) and not off

    def _learn(self, off: Optional[bool], level: Optional[Level]) -> None:
        self.off, self.allowed = off, level
        self._find_out()

    @property
    def level(self) -> Level:
        """The lowest level that clients, environment and outbox allow, as far as this process knows."""
        levels = (self.settings.level, self.allowed or self.settings.level)
        return LEVELS[min(map(LEVELS.index, levels))]

    # ── the switch ──────────────────────────────────────────────────────────────────────────

    def look(self) -> bytes:
        """The bytes of the switch, read at most once in LOOK_SECONDS; empty if there is none."""
        if time.monotonic() >= self._look_at:
            self._look_at = time.monotonic() + LOOK_SECONDS
            self._switch = _read(switch_file(self.settings.state_dir))
        return self._switch

    def is_off_now(self) -> bool:
        """Whether the customer or the host has switched telemetry off, in any process."""
        switch = self.look()
        return bool(self.off) if self.is_pending or not switch else OFF in switch

    def is_locked_now(self) -> bool:
        """Whether the customer's command has switched telemetry off."""
        return self.is_off_now() and (self.is_locked or LOCKED in self._switch)

    def level_now(self) -> Level:
        """The `level`, including recent decisions of other processes."""
        switch = self.look()
        written = [level for level in LEVELS if f'"level": "{level}"'.encode() in switch]
        if self.is_pending or not written:
            return self.level
        return LEVELS[min(LEVELS.index(self.settings.level), LEVELS.index(written[0]))]


def _read(path: Optional[str]) -> bytes:
    """The bytes of the switch; empty if there is none."""
    try:
        descriptor = os.open(path or "", os.O_RDONLY | SAFELY)
        try:
            return os.read(descriptor, SWITCH_BYTES)
        finally:
            os.close(descriptor)
    except (OSError, ValueError):
        return b""
