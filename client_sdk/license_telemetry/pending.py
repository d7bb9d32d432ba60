"""What the host handed over and no disk has yet: bounded, in memory, lost with a kill -9."""

from __future__ import annotations

import threading

from .settings import is_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, List, Tuple

    Request = Tuple[str, float, Dict[str, Any]]

MOST_NAMES = 1024
MOST_REQUESTS = 500
LARGEST_COUNT = 2**53 - 1


class Batch:
    """What was handed over since the last one was taken.

    `counts` by feature; `requests` as (reason, seconds since 1970, arguments of license()); `lost` how
    many counts and pings there was no room for; `ignored` how many calls had arguments of no use.
    """

    __slots__ = ("counts", "ignored", "lost", "requests")

    def __init__(self) -> None:
        self.counts: Dict[str, int] = {}
        self.requests: List[Request] = []
        self.lost = 0
        self.ignored = 0

    def __bool__(self) -> bool:
        return bool(self.counts or self.requests or self.lost or self.ignored)

    def count(self, name: str, count: int) -> None:
        if name in self.counts or len(self.counts) < MOST_NAMES:
            self.counts[name] = min(self.counts.get(name, 0) + count, LARGEST_COUNT)
        else:
            self.lost += count

    def ask(self, request: Request) -> None:
        """Keep `request`. When full the oldest that says nothing of the license makes room."""
        self.requests.append(request)
        if len(self.requests) > MOST_REQUESTS:
            asked = [r[0] for r in self.requests]
            del self.requests[asked.index("manual") if "manual" in asked else 0]
            self.lost += 1


class Pending:
    """The batch being gathered. Any thread and any signal handler may use it.

    The lock is held for one dictionary update; it is reentrant, because a signal handler may count
    while the thread it interrupted is counting.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._batch = Batch()

    def count(self, name: str, count: int) -> bool:
        """Add to a feature's count; whether this is the first since the last batch was taken."""
        with self._lock:
            counts = self._batch.counts
            if name in counts and type(count) is int and 0 < count <= LARGEST_COUNT:
                counts[name] += count
                return False
            empty = not counts
            if _is_use(name, count):
                self._batch.count(name, int(count))
            else:
                self._batch.ignored += 1
            return empty and bool(counts)

    def ask(self, request: Request) -> None:
        with self._lock:
            self._batch.ask(request)

    def ignore(self) -> None:
        with self._lock:
            self._batch.ignored += 1

    def take(self) -> Batch:
        """Everything gathered so far; from here on it is the caller's to keep or give back."""
        with self._lock:
            batch, self._batch = self._batch, Batch()
            return batch

    def give_back(self, older: Batch) -> None:
        """Put a batch that could not be written before what was gathered since."""
        with self._lock:
            newer, self._batch = self._batch, older
            for name, count in newer.counts.items():
                older.count(name, count)
            for request in newer.requests:
                older.ask(request)
            older.lost += newer.lost
            older.ignored += newer.ignored

    def peek(self) -> Batch:
        """A copy, for the preview."""
        with self._lock:
            copy = Batch()
            copy.counts, copy.requests = dict(self._batch.counts), list(self._batch.requests)
            copy.lost, copy.ignored = self._batch.lost, self._batch.ignored
            return copy


def _is_use(name: object, count: object) -> bool:
    return is_name(name) and isinstance(count, int) and 0 < count <= LARGEST_COUNT
