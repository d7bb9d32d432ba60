"""The limits of one process: connections, and bytes of requests that are not answered yet.

A connection beyond the limit closes the one that has waited longest for its client. Bytes beyond the
budget are refused with 503 before they are read; an announced body that does not arrive is closed in favour
of another. The first 8 KiB of each request are free, so that ordinary pings, pages and health checks are
answered while large bodies are refused.
"""

import ctypes
import resource
import time
from asyncio import Transport
from dataclasses import dataclass, field

OPEN_FILES = 65_536
RESERVED_FILES = 256  # database, log, GeoIP, keyring, and sockets accepted but not counted yet
MOST_CONNECTIONS = 16_384
UNCOUNTED_BYTES = 8 * 1024
REMEMBERED_SECONDS = 600
FLOOD_BYTES = 16 * 2**20
GRACE_SECONDS = 1.0
BODY_SECONDS = 10


def raise_open_files() -> None:
    """Raises the soft limit of open files towards the hard one; later child processes inherit it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, OPEN_FILES)
    if 0 <= soft < wanted:  # RLIM_INFINITY is negative
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def open_files() -> int:
    """Number of files and connections that this process may have open."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return OPEN_FILES if soft == resource.RLIM_INFINITY else soft


def connections_within(files: int) -> int:
    """Number of connections that a process with this limit of open files accepts."""
    return max(1, min(MOST_CONNECTIONS, files - min(RESERVED_FILES, files // 2)))


@dataclass(slots=True)
class Capacity:
    """The limits of this process and their present use.

    `waiting` holds the connections whose client has the next move, longest silent first; `announced` those
    with bytes reserved for a body, and since when, by the monotonic clock.
    """

    most_connections: int
    most_bytes: int
    connections: int = 0
    held_bytes: int = 0
    peak_bytes: int = 0  # since memory was last returned
    exceeded_at: float | None = None
    waiting: "dict[Place, None]" = field(default_factory=dict)
    announced: "dict[Place, float]" = field(default_factory=dict)

    @property
    def was_exceeded(self) -> bool:
        """Whether a limit closed or refused a connection or a request in the last ten minutes."""
        return self.exceeded_at is not None and time.monotonic() - self.exceeded_at < REMEMBERED_SECONDS

    def exceed(self) -> None:
        self.exceeded_at = time.monotonic()

    def make_room(self, count: int, asking: "Place") -> bool:
        """Whether there is room for `count` bytes, after closing announced bodies that arrive too slowly."""
        now = time.monotonic()
        for place, since in list(self.announced.items()):
            if self.held_bytes + count <= self.most_bytes or now - since < GRACE_SECONDS:
                break
            late = place.is_slower_than(max(1.0, BODY_SECONDS / (now - since)))
            if late and place in self.waiting and place is not asking:
                place.vacate()
        return self.held_bytes + count <= self.most_bytes

    def give_memory_back(self) -> None:
        """Returns free memory to the system after a flood; to be called every few seconds.

        The C library keeps free memory between pieces in use until it is asked.
        """
        if self.peak_bytes > FLOOD_BYTES and self.held_bytes < self.peak_bytes // 4:
            self.peak_bytes = self.held_bytes
            if trim := getattr(ctypes.CDLL(None), "malloc_trim", None):  # glibc has it, musl does not need it
                trim(0)

    def admit(self, transport: Transport) -> "Place | None":
        """A place for a new connection; None if every connection waits for this server."""
        if self.connections >= self.most_connections:
            self.exceed()
            silent = next(iter(self.waiting), None)
            if silent is None:
                return None
            silent.vacate()
        self.connections += 1
        place = Place(self, transport)
        place.waits()
        return place


class Place:
    """One connection's part of the capacity, for any protocol that reads it."""

    __slots__ = ("_came", "_capacity", "_held", "_transport")

    def __init__(self, capacity: Capacity, transport: Transport) -> None:
        self._capacity: Capacity | None = capacity
        self._transport = transport
        self._came = 0
        self._held = 0

    def hears(self, count: int) -> bool:
        """Counts bytes received. False if the budget has no room for them."""
        self._came += count
        if self._capacity is not None and self in self._capacity.waiting:
            self.waits()
        return self._hold(self._came)

    def expects(self, length: int) -> bool:
        """Reserves the bytes of a body before it is read. False if the budget has no room for them."""
        if not self._hold(length):
            return False
        if self._held and self._capacity is not None:
            self._capacity.announced.pop(self, None)  # keeps them in the order of their times
            self._capacity.announced[self] = time.monotonic()
        return True

    def is_slower_than(self, rest: float) -> bool:
        """Whether less than 1/`rest` of the reserved bytes arrived."""
        return self._came * rest < self._held

    def works(self) -> None:
        """The server has the next move: this connection is not closed for its silence."""
        if self._capacity is not None:
            self._capacity.waiting.pop(self, None)

    def waits(self) -> None:
        """The client has the next move, since now."""
        if self._capacity is not None:
            self._capacity.waiting.pop(self, None)
            self._capacity.waiting[self] = None

    def answered(self, still_here: int = 0) -> None:
        """Releases what the request held. At most `still_here` of the bytes belong to the next request."""
        self._came = min(self._came, still_here)
        if not self._came:
            self._release()

    def leave(self) -> None:
        """The connection is closed. May be called twice."""
        if self._capacity is None:
            return
        self._release()
        self._capacity.waiting.pop(self, None)
        self._capacity.connections -= 1
        self._capacity = None

    def vacate(self) -> None:
        """Closes the connection for another one."""
        self.leave()
        self._transport.abort()

    def _hold(self, count: int) -> bool:
        more = count - UNCOUNTED_BYTES - self._held
        if more <= 0 or self._capacity is None:
            return True
        if self._capacity.held_bytes + more > self._capacity.most_bytes:
            self._capacity.exceed()
            if not self._capacity.make_room(more, self):
                return False
        self._capacity.held_bytes += more
        self._capacity.peak_bytes = max(self._capacity.peak_bytes, self._capacity.held_bytes)
        self._held += more
        return True

    def _release(self) -> None:
        if self._held and self._capacity is not None:
            self._capacity.announced.pop(self, None)
            self._capacity.held_bytes -= self._held
            self._held = 0
