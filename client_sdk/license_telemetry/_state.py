"""The part of the outbox beside the queue: values by name, the harvest, and the sender.

Every method runs inside a transaction that `_outbox` opened.
"""

from __future__ import annotations

import json
import os
import sqlite3
from typing import Any, Callable, Dict, Iterable, List, Optional, Set, Tuple

from . import _process
from ._counters import LARGEST_COUNT
from ._identity import Identity, from_answer
from ._private_files import pwrite
from ._settings import DAY
from ._switch import SWITCH_BYTES, SWITCH_VALUES

HARVEST_KEPT_SECONDS = 400 * DAY
LEASE_SECONDS = 60.0
LOSSES = ("evicted", "refused", "unsaved")

Json = Dict[str, Any]


class State:
    """One transaction's view of the state.

    `beside` is the descriptor of the file that also holds SWITCH_VALUES: an outbox that replaces a damaged
    one continues with them.
    """

    def __init__(self, connection: sqlite3.Connection, beside: Optional[int]) -> None:
        self._db = connection
        self._beside = beside
        self.committed: Optional[Callable[[], None]] = None  # called once it is, before others get their turn

    def get(self, name: str, default: Any = None) -> Any:
        """A value by name; `default` also if it is damaged."""
        row = self._db.execute("SELECT value FROM state WHERE name = ?", (name,)).fetchone()
        try:
            return default if row is None else json.loads(row[0])
        except (ValueError, TypeError):
            return default

    def put(self, name: str, value: Any) -> None:
        self._db.execute(
            "INSERT OR REPLACE INTO state (name, value) VALUES (?, ?)", (name, json.dumps(value))
        )
        if name in SWITCH_VALUES:
            self._write_beside()

    def add(self, name: str, count: int) -> None:
        if count:
            self.put(name, min(self.get(name, 0) + count, LARGEST_COUNT))

    def lose(self, kind: str, count: int) -> None:
        """Counts a loss, one of LOSSES, for the next ping and in total."""
        self.add(kind, count)
        self.add("total_" + kind, count)

    def identity(self) -> Optional[Identity]:
        try:
            return from_answer(self.get("identity"))
        except ValueError:
            return None

    def compare_beside(self, *, fresh: bool) -> None:
        """Compares the switch with the file beside it, once per process, and for a `fresh` outbox."""
        if self._beside is None:
            return
        os.lseek(self._beside, 0, os.SEEK_SET)
        found = read_json(os.read(self._beside, SWITCH_BYTES).decode("ascii", "replace"))
        if fresh and found.get("outbox_id"):
            for name in SWITCH_VALUES:
                self.put(name, found.get(name))
            self.put("heir", True)
            self.add("total_spoiled", 1)
            self.lose("unsaved", 1)
        elif found != self._values_beside():
            self._write_beside()

    def _values_beside(self) -> Json:
        self.outbox_id()
        return {name: self.get(name) for name in SWITCH_VALUES}

    def _write_beside(self) -> None:
        if self._beside is None:
            return
        try:
            pwrite(self._beside, json.dumps(self._values_beside()).encode().ljust(SWITCH_BYTES), 0)
        except OSError:
            pass  # the disk is full: a later process writes it

    # ── what was harvested ──────────────────────────────────────────────────────────────────

    def outbox_id(self) -> int:
        """A random number that identifies this outbox in the counter files."""
        known = self.get("outbox_id")
        if not isinstance(known, int) or not 0 < known < 2**63:
            known = int.from_bytes(os.urandom(8), "big") >> 1 | 1
            self.put("outbox_id", known)
        return known

    def taken(self, file: str) -> Optional[Dict[str, int]]:
        """The harvested part of each number of a counter file; None if unknown."""
        row = self._db.execute("SELECT taken FROM harvest WHERE file = ?", (file,)).fetchone()
        numbers = read_json(row[0]) if row else {}
        return {name: count for name, count in numbers.items() if isinstance(count, int)} or None

    def note_taken(self, file: str, numbers: Dict[str, int], now: float) -> None:
        self._db.execute(
            "INSERT OR REPLACE INTO harvest (file, taken, at) VALUES (?, ?, ?)",
            (file, json.dumps(numbers, separators=(",", ":")), now),
        )

    def forget_files(self, there: Set[str], now: float) -> None:
        """Deletes the entries of files that are long gone."""
        old = self.rows(f"SELECT file FROM harvest WHERE at < {now - HARVEST_KEPT_SECONDS!r}")  # noqa: S608  a float
        self._each("DELETE FROM harvest WHERE file = ?", (row for row in old if row[0] not in there))

    # ── who sends ───────────────────────────────────────────────────────────────────────────

    def lease(self, owner: str, now: float) -> bool:
        """Becomes or stays the only sender; returns whether it is.

        A lease that expired, ends impossibly late, or whose process has ended is taken over.
        """
        held = self.get("lease")
        if isinstance(held, dict) and held.get("owner") != owner:
            process: Any = tuple(held.get("process") or (0, 0, 0, 0))
            if now < held.get("until", 0.0) <= now + LEASE_SECONDS and not _process.is_gone(process):
                return False
        self.put("lease", {"owner": owner, "until": now + LEASE_SECONDS, "process": _process.myself()})
        return True

    def release(self, owner: str) -> None:
        held = self.get("lease")
        if isinstance(held, dict) and held.get("owner") == owner:
            self.put("lease", None)

    def rows(self, query: str) -> List[Tuple[Any, ...]]:
        return self._db.execute(query).fetchall()

    def _number(self, query: str) -> int:
        found: int = self._db.execute(query).fetchone()[0]
        return found

    def _each(self, statement: str, rows: Iterable[Tuple[Any, ...]]) -> None:
        self._db.executemany(statement, rows)


def read_json(content: str) -> Json:
    """A stored ping; empty if it is damaged."""
    try:
        ping = json.loads(content)
    except (ValueError, TypeError, RecursionError):
        return {}
    return ping if isinstance(ping, dict) else {}
