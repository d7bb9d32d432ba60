"""The problems, once for each kind, for status(), the host's log, and debugging.

Nothing is printed unless the host has a handler for the logger `license_telemetry`, or sets `debug`.
"""

from __future__ import annotations

import sys
import time

from ._primitives import allocate_lock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Dict, List, Optional

MOST_KINDS = 50
IGNORED = "ignored "
LOGGER = "license_telemetry"


class Problems:
    """The problems of one process. Thread-safe."""

    def __init__(self) -> None:
        self.debug = False
        self._found: Dict[str, str] = {}
        self._times: Dict[str, int] = {}
        self._unlogged: List[str] = []
        self._lock = allocate_lock()

    def note(self, kind: str, text: str) -> None:
        """Notes a problem; `text` says what is wrong and what to do, without a full stop."""
        times = self._times.get(kind, 0)
        is_ignored = kind.startswith(IGNORED)  # any text may be; the other kinds are few
        if is_ignored and not times and len(self._times) >= MOST_KINDS:
            return
        self._times[kind] = times + 1
        if self._found.get(kind) == text:
            return
        self._found[kind] = text
        if not times and (len(self._unlogged) < MOST_KINDS or not is_ignored):
            self._unlogged.append(text)
        self.trace(text)

    def settle(self, kind: str) -> None:
        """Removes a problem; if it comes back, it is logged again."""
        if self._found.pop(kind, None) is not None:
            self._times.pop(kind, None)

    def trouble(self) -> Optional[str]:
        """The present problems in one line."""
        return (
            "; ".join(text for kind, text in list(self._found.items()) if not kind.startswith(IGNORED))
            or None
        )

    def ignored(self) -> List[str]:
        """The ignored calls of this process, with reasons."""
        return [text for kind, text in list(self._found.items()) if kind.startswith(IGNORED)]

    def trace(self, text: str) -> None:
        """Writes a line to standard error, with `debug`."""
        if self.debug:
            try:
                sys.stderr.write(f"license_telemetry {time.strftime('%H:%M:%S')} {text}\n")
            except Exception:
                pass

    def log(self) -> None:
        """Passes new problems to the host's log, if it uses logging.

        logging is not imported here: a host without it has no handler, and a fork during the import breaks
        its lock.
        """
        logging = sys.modules.get("logging")
        if logging is None or not hasattr(logging, "NullHandler"):
            return
        while self._unlogged and self._lock.acquire(False):
            try:
                text = self._unlogged.pop(0)
                logger = logging.getLogger(LOGGER)
                if not any(isinstance(handler, logging.NullHandler) for handler in logger.handlers):
                    logger.addHandler(logging.NullHandler())
                logger.warning("%s.", text)
            except Exception:
                pass  # a handler of the host's that fails
            finally:
                self._lock.release()
