"""The counts and statements of one process: a small file in shared memory that outlives the process.

A count is one 8-byte store into a mapping: no thread, no write, no system call. It survives `kill -9`,
`os._exit` and any signal that ends the process; any other process of the host harvests it (`_harvest`). All
numbers only grow; the outbox holds how much of each was harvested.

The file is in memory-backed storage, where a page that was written once can always be stored to. Zeros are
written before it is mapped, because a store into a hole of a full file system would end the host with
SIGBUS. For the same reason it is never truncated, and never mapped on a disk: a page that the kernel dropped
and cannot read back raises SIGBUS, too. Without such storage each store is written to a file in the state
directory; without that, counts are in memory. `_snapshot` has the layout.
"""

from __future__ import annotations

import os
import stat
import sys

from . import _process, _process_fork
from ._locks import try_lock
from ._memory import OURS, Memory
from ._primitives import RLock
from ._private_files import SAFELY, euid, give_to_owner_above, own_directory, pwrite
from ._sha256 import digest
from ._snapshot import (
    FORGONE_WORD,
    IGNORED,
    LOST,
    MAGIC,
    NAME_BYTES,
    NAMES_AT,
    ORIGINAL,
    OUTBOX,
    PAGE,
    PROCESS,
    REGAINED_WORD,
    SAID,
    SIZE,
    SLOTS,
    SUFFIX,
    TAKEN_WORD,
    TAKEN_WORDS,
    TEXT_BYTES,
    TOPICS,
    USED,
    VALUES_WORD,
    WITHDRAWN,
    Snapshot,
    names,
    snapshot,
    taken_block,
    text_at,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, List, Optional, Tuple

LARGEST_COUNT = 2**53 - 1
STATE_DIR = "state_dir"  # the file in shared memory that says which state directory it belongs to
MISSING = "missing"  # the file that was made when that was found missing
MOST_ADOPTIONS = 8  # dead files that a new process tries to adopt
UNNAMED = SUFFIX + ".new"  # the name of a file until it is locked
SPARE = 16  # times SIZE must be free: the memory is the host's

SHARED_MEMORY, STATE_DIRECTORY, MEMORY = "shared memory", "state directory", "memory"


class Counters:
    """One process's counters and statements. Any thread and any signal handler may use it.

    `storage` is one of SHARED_MEMORY, STATE_DIRECTORY and MEMORY; `path` the file, None in memory; `trouble`
    says why it is not shared memory. `fresh` is False once there is news that the background thread has not
    seen.
    """

    def __init__(self, buffer: Any, path: Optional[str], storage: str, memory: Optional[Memory]) -> None:
        self.path = path
        self.storage = storage
        self.trouble: Optional[str] = None
        self.fresh = True
        self.times_at_birth: Tuple[int, ...] = ()
        self._id = os.path.basename(path)[: -len(SUFFIX)] if path else f"memory-{os.urandom(8).hex()}"
        self._memory = memory
        self._old: List[Memory] = []
        self._lock = RLock()
        self._busy = False
        self._deferred: List[Tuple[str, int]] = []
        self._point_at(buffer)
        self._slots = {name: VALUES_WORD + slot for slot, name in enumerate(names(bytes(self._bytes)))}

    @property
    def id(self) -> str:
        return self._id

    def _point_at(self, buffer: Any) -> None:
        self._bytes = memoryview(buffer)
        self._words = self._bytes.cast("Q")

    # ── counting ────────────────────────────────────────────────────────────────────────────

    def add(self, name: str, count: int) -> bool:
        """Adds to the count of a valid name; returns whether it is the first news for the background thread.

        A signal handler that interrupts an addition leaves its own addition to the interrupted one: between
        load and store of a word it would be overwritten.
        """
        nested = self._lock._is_owned()  # noqa: SLF001  else an interrupt may have left the flag behind
        with self._lock:
            if nested and self._busy:
                self._deferred.append((name, count))
                return False
            try:
                self._busy = True
                word = self._slots.get(name) or self._new_slot(name)
                self._words[word] += count
                if self.storage == STATE_DIRECTORY:
                    self._write_through(word * 8, 8)
            except (ValueError, OverflowError):  # beyond 64 bits
                self._words[LOST] += 1
            finally:
                self._busy = False
        first, self.fresh = self.fresh, False
        if self._deferred:
            self._add_deferred()
        return first

    def forgo(self, *, for_good: bool, everywhere: bool = True) -> None:
        """Excludes the counts so far from the harvest, after a change of consent.

        Without `for_good`, only if telemetry was off until now according to the outbox. Without
        `everywhere`, counts already in the outbox stay.
        """
        with self._lock:
            at, length = (FORGONE_WORD if for_good else REGAINED_WORD) * 8, SLOTS * 8
            self._bytes[at : at + length] = bytes(self._bytes[VALUES_WORD * 8 : VALUES_WORD * 8 + length])
            self._write_through(at, length)
            self._words[WITHDRAWN] += int(for_good and everywhere)
            self._write_through(WITHDRAWN * 8, 8)

    def knows(self, name: object) -> bool:
        """Whether the name was counted here before; then it is valid."""
        return name in self._slots

    def _add_deferred(self) -> None:
        while self._deferred:
            try:
                self.add(*self._deferred.pop())
            except IndexError:  # another thread was first
                return

    def _new_slot(self, name: str) -> int:
        """The word of a new name; LOST if all slots are used."""
        used = self._words[USED]
        if used >= SLOTS:
            return LOST
        at = NAMES_AT + used * NAME_BYTES
        self._bytes[at : at + NAME_BYTES] = name.encode("ascii").ljust(NAME_BYTES, b"\0")
        self._write_through(at, NAME_BYTES)
        self._words[USED] = used + 1  # the name is whole before it counts
        self._write_through(USED * 8, 8)
        self._slots[name] = VALUES_WORD + used
        return VALUES_WORD + int(used)

    def ignore(self) -> None:
        """Counts an ignored call."""
        with self._lock:
            self._words[IGNORED] += 1
            self._write_through(IGNORED * 8, 8)
            self.fresh = False

    def say(self, topic: str, text: str) -> None:
        """Replaces the statement on one of TOPICS; at most TEXT_BYTES - 2 bytes of UTF-8 are kept."""
        number = TOPICS.index(topic)
        encoded = text.encode("utf-8", "replace")
        if len(encoded) > TEXT_BYTES - 2:
            encoded = encoded[: TEXT_BYTES - 2].decode("utf-8", "ignore").encode()  # no half of a character
        with self._lock:
            said = self._words[SAID + number] + 1
            at = text_at(number, said)
            block = len(encoded).to_bytes(2, "little") + encoded
            self._bytes[at : at + len(block)] = block
            self._write_through(at, len(block))
            self._words[SAID + number] = said  # the text is whole before it counts
            self._write_through((SAID + number) * 8, 8)
            self.fresh = False

    def times_said(self) -> Tuple[int, ...]:
        """The number of statements on each of TOPICS."""
        return tuple(self._words[SAID : SAID + len(TOPICS)])

    def said(self, topic: str) -> Optional[str]:
        """The statement of this file on a topic."""
        return self.snapshot().said.get(topic)

    def snapshot(self) -> Snapshot:
        return snapshot(self.content(), self.id)

    # ── the background thread's side ────────────────────────────────────────────────────────

    def content(self) -> bytes:
        """The whole content; of a file that is not mapped, with the harvest noted by other processes."""
        if self.storage == STATE_DIRECTORY and self.path is not None:
            try:
                with open(self.path, "rb") as file:
                    file.seek(TAKEN_WORD * 8)
                    self._bytes[TAKEN_WORD * 8 :] = file.read()
            except (OSError, ValueError):
                pass
        return bytes(self._bytes)

    def belong_to(self, outbox: int, taken: Optional[Dict[str, int]]) -> None:
        """Notes the outbox, a number of 64 bits, that harvested these numbers; None: none since."""
        if taken is not None:
            self._bytes[TAKEN_WORD * 8 :] = taken_block(taken)
            self._write_through(TAKEN_WORD * 8, TAKEN_WORDS * 8)
        self._words[OUTBOX] = outbox
        self._write_through(OUTBOX * 8, 8)

    def is_in_place(self) -> bool:
        """Whether the file is still in its place: some systems remove such files at log-out."""
        return self.path is None or os.path.exists(self.path)

    def put_back(self) -> None:
        """Continues in a new file with the same content and name. Raises OSError."""
        assert self.path is not None
        own_directory(os.path.dirname(self.path), shared=self.storage == SHARED_MEMORY)
        memory = _create(self.path, mapped=self.storage == SHARED_MEMORY)
        with self._lock:
            memoryview(memory.buffer)[:] = self._bytes
            if self._memory is not None:
                self._old.append(self._memory)
            self._memory = memory
            self._point_at(memory.buffer)
            self._write_through(0, SIZE)

    def let_go(self) -> None:
        """Releases the parent's file in a forked child, which would keep its lock. Last call."""
        self._words.release()
        self._bytes.release()
        for memory in [*self._old, *([self._memory] if self._memory else [])]:
            if not memory.let_go():
                _process_fork.left_behind.append(memory)  # freed, it would close a file of the host's

    def _write_through(self, at: int, length: int) -> None:
        """Writes to a file that is not mapped. A host that closes all descriptors may have reused ours."""
        if self.storage != STATE_DIRECTORY or self._memory is None:
            return
        try:
            if self._memory.state() == OURS:
                pwrite(self._memory.descriptor, bytes(self._bytes[at : at + length]), at)
                return
            self.trouble = "the file of the counters was closed by the host"
        except OSError as error:
            self.trouble = f"the counters can't be written: {error.strerror}"
        self.storage = MEMORY


# ── where the files lie ─────────────────────────────────────────────────────────────────────


def shared_directories(state_dir: str) -> List[str]:
    """The directories in memory-backed storage for the files of `state_dir`, the preferred one first.

    /dev/shm comes first, because a job of cron and a service see the same one; XDG_RUNTIME_DIR is only there
    for a user's session. They are private to the user, and named after the state directory.
    """
    if not hasattr(os, "geteuid"):
        return []
    own = f"license-telemetry-{euid()}"
    name = digest(os.fsencode(state_dir))[:16]
    homes = ["/dev/shm", os.environ.get("XDG_RUNTIME_DIR") or ""]  # noqa: S108  a directory of ours, checked
    return [os.path.join(home, own, name) for home in homes if os.path.isabs(home)]


def kept_directory(state_dir: str) -> str:
    """The directory on disk for copies of the files, or for the files themselves."""
    return os.path.join(state_dir, "counters")


def open_counters(state_dir: Optional[str]) -> Counters:
    """This process's counters for `state_dir`. Never raises: memory is always available."""
    troubles = []
    for directory in shared_directories(state_dir) if state_dir else []:
        try:
            counters = _open_in(directory, mapped=True)
            _say_whose_it_is(directory, str(state_dir))
            return counters
        except (OSError, ValueError) as error:
            troubles.append(f"{directory}: {getattr(error, 'strerror', None) or error}")
    if state_dir:
        try:
            return _open_in(kept_directory(state_dir), mapped=False, troubles=troubles)
        except (OSError, ValueError) as error:
            troubles.append(f"{state_dir}: {getattr(error, 'strerror', None) or error}")
    counters = counters_in_memory()
    counters.trouble = "; ".join(troubles) or None
    return counters


def counters_in_memory() -> Counters:
    """Counters that end with the process."""
    counters = Counters(bytearray(SIZE), None, MEMORY, None)
    _sign(counters)
    return counters


def _say_whose_it_is(directory: str, state_dir: str) -> None:
    """Notes the state directory, for the case that it disappears (`_leftovers`)."""
    path, mark = os.path.join(directory, STATE_DIR), os.path.join(directory, MISSING)
    try:
        if not os.path.exists(path):
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | SAFELY, 0o600)
            try:
                os.write(descriptor, os.fsencode(state_dir))
            finally:
                os.close(descriptor)
        if os.path.lexists(mark):
            os.unlink(mark)
    except OSError:
        pass  # then it is never removed


def _open_in(directory: str, *, mapped: bool, troubles: Any = ()) -> Counters:
    own_directory(directory, shared=mapped)
    storage = SHARED_MEMORY if mapped else STATE_DIRECTORY
    found = _adopt(directory, mapped=mapped)
    if found is None:
        room = os.statvfs(directory) if hasattr(os, "statvfs") else None
        if room is not None and room.f_bavail * room.f_frsize < SPARE * SIZE:
            raise ValueError("there is hardly any room")
        path = os.path.join(directory, os.urandom(8).hex() + SUFFIX)
        found = path, _create(path, mapped=mapped)
    path, memory = found
    give_to_owner_above(path)
    counters = Counters(memory.buffer, path, storage, memory)
    counters.trouble = "; ".join(troubles) or None
    _sign(counters)
    return counters


def _sign(counters: Counters) -> None:
    counters._words[0] = MAGIC  # noqa: SLF001
    counters._words[ORIGINAL] = int(counters.storage == STATE_DIRECTORY)  # noqa: SLF001
    for number, value in enumerate(_process.myself()):
        counters._words[PROCESS + number] = value  # noqa: SLF001
    counters._write_through(0, PAGE)  # noqa: SLF001
    counters.times_at_birth = counters.times_said()


def _adopt(directory: str, *, mapped: bool) -> Optional[Tuple[str, Memory]]:
    """Adopts the file of a process that has ended, so that short-lived programs need only one file."""
    tried = 0
    for name in os.listdir(directory):
        if not name.endswith(SUFFIX) or tried >= MOST_ADOPTIONS:
            continue
        tried += 1
        path = os.path.join(directory, name)
        try:
            found = _take_over(path, mapped=mapped)
        except (OSError, ValueError):
            continue
        if found is not None:
            return path, found
    return None


def _take_over(path: str, *, mapped: bool) -> Optional[Memory]:
    descriptor = os.open(path, os.O_RDWR | SAFELY)
    keep = False
    try:
        if not _is_ours(os.fstat(descriptor)) or not try_lock(descriptor):
            return None
        found = snapshot(os.read(descriptor, SIZE + 1), "")
        if not _process.is_gone(found.process) or len(found.numbers) > SLOTS // 2:
            return None
        if os.stat(path).st_ino != os.fstat(descriptor).st_ino:
            return None
        keep = not mapped
        return Memory(descriptor, SIZE, mapped=mapped)
    finally:
        if not keep:
            os.close(descriptor)


def _create(path: str, *, mapped: bool) -> Memory:
    """Creates a locked file of zeros. Raises OSError.

    It gets its name last: before it is locked, no other process may try to adopt or remove it. On Windows,
    where open files can't be renamed, none does.
    """
    nameless = path if sys.platform == "win32" else path[: -len(SUFFIX)] + UNNAMED
    descriptor = os.open(nameless, os.O_RDWR | os.O_CREAT | os.O_EXCL | SAFELY, 0o600)
    name = nameless
    try:
        if not try_lock(descriptor):
            raise OSError("the file system has no locks")
        if os.write(descriptor, bytes(SIZE)) != SIZE:
            raise OSError("there is no room")
        if nameless != path:
            os.rename(nameless, path)
            name = path
        memory = Memory(descriptor, SIZE, mapped=mapped)
    except BaseException:
        os.close(descriptor)  # first: on Windows an open file can't be removed
        os.unlink(name)
        raise
    if mapped:
        os.close(descriptor)  # the mapping has its own
    return memory


def _is_ours(found: os.stat_result) -> bool:
    return stat.S_ISREG(found.st_mode) and found.st_size == SIZE and found.st_uid == euid()
