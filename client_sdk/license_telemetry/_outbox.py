"""The outbox on disk: one SQLite file, shared by all processes of the host.

A connection lives as long as its transaction: a host that closes all descriptors closes none of ours, and a
replaced state directory is noticed. The journal is a rollback journal (TRUNCATE) with synchronous=FULL, not a
WAL: commits survive a power cut, it needs no shared memory (homes may be on network file systems), and
between transactions the state is a single file. There are few writes, so WAL's speed is not needed.

Processes take turns with our own lock on a file beside it, and SQLite locks nothing (`nolock`): a child
forked in the middle of a transaction would believe in the locks of its parent for ever.

If no file can be made, the outbox is in memory, far smaller, and moves to disk once that is possible.
"""

from __future__ import annotations

import errno
import os
import sqlite3
import time
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Iterator, Optional

from . import _process_fork
from ._chance import chance
from ._ledger import Ledger, Limits
from ._locks import try_lock, unlock
from ._primitives import allocate_lock
from ._private_files import SAFELY, give_to_owner_above, make_private
from ._schema import SCHEMA, UPGRADES, VERSION
from ._switch import LOCK

FILE = "outbox.sqlite3"
PATIENCE = 5.0
LONGEST_POLL = 0.03
MOST_SET_ASIDE = 10
MEMORY_LIMITS = Limits(pings=40, characters=48 * 1024, counters=128)  # with its pages some 64 KiB of content
RETRY_DISK_SECONDS = 60.0
SURROUNDINGS = (  # errors of SQLite about the environment, not the file
    "access permission denied",
    "attempt to write a readonly database",
    "authorization denied",
    "database or disk is full",
    "database schema has changed",
    "disk I/O error",
    "interrupted",
    "large file support",
    "locked",
    "locking protocol",
    "out of memory",
    "query aborted",
    "unable to open database file",
)
PASSING = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EINTR, errno.EIO, errno.ESTALE)
BROKEN = (sqlite3.Error, UnicodeDecodeError)  # the second: a spoiled name in the message of the first


class Unavailable(Exception):
    """Nothing can be written or read now."""


class Spoiled(Unavailable):
    """The file was not a valid database; it was set aside, and the next transaction begins a new one."""


class Unwritable(Unavailable):
    """There is no outbox, and none can be made."""


class Outbox:
    """The outbox in `directory`; with None it is in memory."""

    def __init__(self, directory: Optional[str]) -> None:
        self._path = Path(directory) / FILE if directory else None
        self._inode, self._lock = 0, -1  # the second: the lock's descriptor while it is our turn
        self._memory: Optional[sqlite3.Connection] = None
        self._try_disk_at = 0.0
        self._ended = self._took = 0.0
        self._napping = allocate_lock()
        self._napping.acquire()
        self._checked = False
        self.why_memory: Optional[str] = None
        self._moved: Optional[sqlite3.Connection] = None

    @property
    def in_memory(self) -> bool:
        return self._memory is not None

    @contextmanager
    def transaction(self, patience: float = PATIENCE) -> Iterator[Ledger]:
        """A transaction: all changes of the ledger are committed at the end of the block, or none.

        Waits `patience` seconds for other processes. Raises Unavailable, its subclasses, and what the block
        raises.
        """
        self._let_others_in()
        with self._turn(patience) as on_disk:
            connection = self._begin(on_disk=on_disk)
            began = time.monotonic()
            yield from self._within(connection)
            self._ended, self._took = time.monotonic(), time.monotonic() - began

    def _sleep(self, seconds: float) -> None:
        """Sleeps on a real lock that is never released: the host's sleep may be that of a greenlet hub."""
        self._napping.acquire(True, seconds)

    @contextmanager
    def _turn(self, patience: float, *, making: bool = True) -> Iterator[bool]:
        """Holds the lock; False if no lock file can be made. Raises Unavailable."""
        try:
            descriptor = self._lock_file(making=making)
        except OSError as error:
            if making or not isinstance(error, FileNotFoundError):
                raise Unavailable(str(error)) from error
            yield False  # nothing was ever written here
            return
        except Unwritable as error:
            self.why_memory = str(error)
            yield False
            return
        _process_fork.descriptors.add(descriptor)
        self._lock = descriptor
        try:
            got = self._wait_for_turn(descriptor, time.monotonic() + patience)
            if got and not self._is_lock_in_place(descriptor):
                raise Unavailable("the lock file was replaced")
            yield got
        finally:
            _process_fork.descriptors.discard(descriptor)
            try:
                unlock(descriptor)  # also for a child that was forked meanwhile
            finally:
                os.close(descriptor)

    def _is_lock_in_place(self, descriptor: int) -> bool:
        """Whether the lock file is still in place: two files would be two locks."""
        assert self._path is not None
        try:
            return os.stat(self._path.with_name(LOCK)).st_ino == os.fstat(descriptor).st_ino
        except OSError:
            return False

    def _wait_for_turn(self, descriptor: int, deadline: float) -> bool:
        """True once the lock is ours; False if the file system has no locks. Raises Unavailable."""
        try:
            while not try_lock(descriptor):
                if time.monotonic() > deadline:
                    raise Unavailable("another process is writing")
                self._sleep(chance.uniform(0.002, LONGEST_POLL))  #  so that two who wait don't wait alike
        except OSError as error:
            self.why_memory = (
                f"the file system of {self._path and self._path.parent} has no locks ({error.strerror})"
            )
            return False
        return True

    def _lock_file(self, *, making: bool) -> int:
        """A descriptor of the lock file, which is made if missing. Raises Unavailable."""
        if self._path is None:
            raise Unwritable("there is no home directory")
        path = str(self._path.with_name(LOCK))
        if not making:
            return os.open(path, os.O_RDONLY | SAFELY)
        try:
            if not self._path.parent.is_dir():
                make_private(str(self._path.parent))
            try:
                return os.open(path, os.O_RDWR | SAFELY)
            except FileNotFoundError:
                descriptor = os.open(path, os.O_RDWR | os.O_CREAT | SAFELY, 0o600)
                give_to_owner_above(path)
                return descriptor
        except (OSError, ValueError) as error:
            raise self._refusal(error) from error

    def _let_others_in(self) -> None:
        """Pauses after a transaction for as long as it took, at most until each poller had its chance.

        On a slow disk, a process with one transaction after another would starve all others.
        """
        pause = self._ended + min(self._took, LONGEST_POLL) - time.monotonic()
        if pause > 0:
            self._sleep(pause)

    @contextmanager
    def look(self, patience: float = 0.5) -> Iterator[Ledger]:
        """A ledger for reading; an empty one if there is none. Creates and changes nothing."""
        connection = self._memory
        if connection is not None:
            yield Ledger(connection, Limits())
            return
        if self._path is None or not self._path.exists():
            with closing(_in_memory()) as empty:
                yield Ledger(empty, Limits())
            return
        with self._turn(patience, making=False):
            connection = self._open_to_look()
            try:
                yield Ledger(connection, Limits())
            except BROKEN as error:
                raise Unavailable(str(error)) from error
            finally:
                connection.close()

    def close(self) -> None:
        """Discards an outbox in memory."""
        memory, self._memory = self._memory, None
        if memory is not None:
            memory.close()

    # ── opening ─────────────────────────────────────────────────────────────────────────────

    def _begin(self, *, on_disk: bool) -> sqlite3.Connection:
        """A connection with an open transaction."""
        if not on_disk or (self._memory is not None and time.monotonic() < self._try_disk_at):
            return self._begin_in_memory()
        try:
            connection = self._begin_on_disk()
        except Unwritable as error:
            self.why_memory = str(error)
            self._try_disk_at = time.monotonic() + RETRY_DISK_SECONDS
            return self._begin_in_memory()
        self.why_memory = None
        if self._memory is not None:
            self._move_to_disk(connection)
        return connection

    def _begin_on_disk(self) -> sqlite3.Connection:
        self._inode = self._make_file()
        connection = self._open()
        try:
            connection.execute("PRAGMA page_size = 1024")  # of a new file: a small change writes little
            connection.execute("PRAGMA journal_mode = TRUNCATE")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("BEGIN EXCLUSIVE")
            self._prepare(connection)
        except BROKEN as error:
            fresh = _is_empty(connection)
            connection.close()
            raise self._trouble(error, fresh=fresh) from error
        return connection

    def _open(self) -> sqlite3.Connection:
        """A connection to an existing file. Raises Unwritable."""
        assert self._path is not None
        try:
            uri = self._path.as_uri() + "?mode=rw&nolock=1"
            connection = sqlite3.connect(uri, uri=True, timeout=0, isolation_level=None)
        except (*BROKEN, ValueError) as error:
            raise self._why_not_opened(error) from error
        connection.text_factory = _decode
        return connection

    def _why_not_opened(self, error: Exception) -> Unavailable:
        """The reason, as SQLite says only that it can't open the file."""
        try:
            os.close(os.open(str(self._path), os.O_RDWR | SAFELY))
        except OSError as second:
            return self._refusal(second)
        return Unwritable(str(error))

    def _refusal(self, error: Exception) -> Unavailable:
        """Unwritable if no outbox can be made and memory must serve; else Unavailable: retry later.

        Beside an existing outbox, memory would be a second installation.
        """
        if getattr(error, "errno", None) in PASSING or (
            self._path is not None and os.path.exists(self._path)
        ):
            return Unavailable(str(error))
        return Unwritable(str(error))

    def _make_file(self) -> int:
        """The inode of the file, which is made if missing, private to its owner. Raises Unwritable."""
        if self._path is None:
            raise Unwritable("there is no home directory")
        try:
            if not self._path.exists():
                self._path.touch(0o600)
                give_to_owner_above(str(self._path))
            return self._path.stat().st_ino
        except (OSError, ValueError) as error:
            raise self._refusal(error) from error

    def _prepare(self, connection: sqlite3.Connection) -> None:
        """Makes the tables and, once per process, checks the file."""
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version == 0:
            _run(connection, SCHEMA)
        elif not self._checked:
            (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
            if found != "ok":
                raise sqlite3.DatabaseError(found)
        if version in UPGRADES:
            _run(connection, UPGRADES[version])
        if version == 0 or not self._checked:
            Ledger(connection, Limits(), self._lock).compare_beside(fresh=version == 0)
        self._checked = True

    def _open_to_look(self) -> sqlite3.Connection:
        connection = self._open()
        try:
            connection.execute("BEGIN")
            if connection.execute("PRAGMA user_version").fetchone()[0] == VERSION:
                return connection
        except BROKEN as error:
            connection.close()
            raise Unavailable(str(error)) from error
        connection.close()
        return _in_memory()

    # ── ending ──────────────────────────────────────────────────────────────────────────────

    def _within(self, connection: sqlite3.Connection) -> Iterator[Ledger]:
        on_disk = connection is not self._memory
        trouble: Optional[Exception] = None
        ledger = Ledger(connection, Limits(), self._lock) if on_disk else Ledger(connection, MEMORY_LIMITS)
        try:
            yield ledger
            connection.execute("COMMIT")
            if self._moved is not None:
                self._moved.close()
                self._moved = None
            if ledger.committed is not None:
                ledger.committed()
        except BROKEN as error:
            trouble = error
        finally:
            if on_disk:
                connection.close()  # rolls back what wasn't committed
                self._memory, self._moved = self._moved or self._memory, None
            elif connection.in_transaction:
                connection.execute("ROLLBACK")
        if trouble is not None:
            raise self._trouble(trouble) if on_disk else Unavailable(str(trouble)) from trouble

    def _trouble(self, error: Exception, *, fresh: bool = False) -> Unavailable:
        """The error to raise for an error of SQLite; an invalid database is set aside."""
        if not _is_spoiled(error) and not self._forbids_writing():
            return Unwritable(str(error)) if fresh else Unavailable(str(error))
        try:
            self._set_aside()
        except OSError as second:
            return Unavailable(str(second))
        return Spoiled(str(error))

    def _forbids_writing(self) -> bool:
        """Whether the file itself does, by a format version that we never write: then it is damaged."""
        try:
            assert self._path is not None
            with self._path.open("rb") as file:
                versions = file.read(20)[18:]
        except OSError:
            return False
        return any(version not in (1, 2) for version in versions)

    def _set_aside(self) -> None:
        """Renames the damaged file, unless another process already did.

        The journal goes first: it must never be played back into the next file.
        """
        assert self._path is not None
        if self._path.stat().st_ino != self._inode:
            return
        aside = f"{FILE}.spoiled-{time.time_ns()}"
        journal = self._path.with_name(FILE + "-journal")
        if journal.exists():
            journal.replace(self._path.with_name(aside + "-journal"))
        self._path.replace(self._path.with_name(aside))
        self._checked = False
        for old in sorted(self._path.parent.glob(FILE + ".spoiled-*[0-9]"), reverse=True)[MOST_SET_ASIDE:]:
            for gone in self._path.parent.glob(old.name + "*"):
                gone.unlink()

    # ── without a disk ──────────────────────────────────────────────────────────────────────

    def _begin_in_memory(self) -> sqlite3.Connection:
        if self._memory is None:
            self._memory = _in_memory()
        self._memory.execute("BEGIN")
        return self._memory

    def _move_to_disk(self, connection: sqlite3.Connection) -> None:
        assert self._memory is not None
        ledger = Ledger(connection, Limits(), self._lock)
        ledger.absorb(Ledger(self._memory, MEMORY_LIMITS))
        ledger.compare_beside(fresh=False)
        self._moved, self._memory = self._memory, None  # closed once it is committed


def _in_memory() -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    _run(connection, SCHEMA)
    return connection


def _run(connection: sqlite3.Connection, script: str) -> None:
    """Runs statement by statement: executescript would end the transaction."""
    for statement in script.split(";"):
        if statement.strip():
            connection.execute(statement)


def _is_empty(connection: sqlite3.Connection) -> bool:
    """Whether the file is still empty, as far as it can be read."""
    try:
        return bool(connection.execute("PRAGMA user_version").fetchone()[0] == 0)
    except BROKEN:
        return False


def _is_spoiled(error: Exception) -> bool:
    """Whether the error means a damaged database, which waiting does not repair."""
    if isinstance(error, (sqlite3.ProgrammingError, sqlite3.InterfaceError)):
        return False
    return not any(words in str(error) for words in SURROUNDINGS)


def _decode(data: bytes) -> str:
    return data.decode("utf-8", "replace")
