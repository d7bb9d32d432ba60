"""Whether a keyring and a database belong together: with another keyring no signature would be valid.

The database stores a check value of the keyring and of each master key by id. No master key is used before
its check value is stored. So a keyring that lacks one is from before a rotation, and no id has two secrets.
"""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from telemetry_server.errors import OperatorError, OutOfFiles, Unavailable
from telemetry_server.keyring import (
    Keyring,
    KeyringError,
    KeyringMissing,
    KeyringUnreadable,
    left_over,
    open_keyring,
    read_keyring,
    rotate,
    take_left_over,
)
from telemetry_server.logs import Severity, log
from telemetry_server.readiness import Check
from telemetry_server.store.database import Acquire, Connection, translated
from telemetry_server.store.queries import load

SQL = load(__name__)

_PATIENCE_SECONDS = 5


class KeyringDiffers(KeyringError):
    """The keyring file is not the one that this database was made with."""


class KeyringOutdated(KeyringError):
    """The keyring file is from before a rotation."""


@dataclass(frozen=True, slots=True)
class Remembered:
    """The stored check values, 32 bytes each: of the keyring, of its master keys by id; the ids it needs."""

    keyring: bytes | None
    masters: dict[str, bytes]
    needed: frozenset[str]

    @classmethod
    async def of(cls, connection: Connection) -> "Remembered":
        rows = await connection.fetch(SQL["remembered"])
        masters = {row["key"]: row["check_value"] for row in rows if row["key"] is not None}
        keyring = next((row["check_value"] for row in rows if row["key"] is None), None)
        return cls(keyring, masters, frozenset(row["key"] for row in rows if row["key"] and row["needed"]))

    def demand(self, keyring: Keyring) -> None:
        """Raises KeyringError unless the keyring belongs to the database; it may have newer master keys."""
        if self.keyring not in {None, keyring.check_value}:
            raise KeyringDiffers(
                f"{keyring.path} is not the keyring that this database was made with. Correct --data or "
                "TELEMETRY_KEYRING_FILE, or TELEMETRY_DATABASE_URL."
            )
        found = keyring.master_check_values
        changed = [key for key in found.keys() & self.masters.keys() if found[key] != self.masters[key]]
        if changed:
            raise KeyringDiffers(
                f"{keyring.path} has another master key {_listed(changed)} than this database knows by that "
                "id; the installations enrolled with it would be locked out. Restore the newest backup of it."
            )
        if lacking := self.needed - found.keys():
            raise KeyringOutdated(
                f"{keyring.path} is from before a rotation: it lacks the master key {_listed(lacking)}, "
                "which this database knows. Restore the newest backup, or copy the keyring of a server that "
                "has that key. If it is lost for good, go on without it; the installations enrolled with it "
                f"then enrol anew: telemetry-server keyring abandon {min(lacking)}"
            )

    def has_all_of(self, keyring: Keyring) -> bool:
        """Whether all check values of the keyring are stored."""
        return self.keyring is not None and keyring.masters.keys() <= self.masters.keys()


async def open_keyring_of(connection: Connection, path: Path) -> Keyring:
    """The keyring in `path`; creates it only if the database has none yet. Raises KeyringError."""
    remembered = await Remembered.of(connection)
    if remembered.keyring is None:
        keyring = await asyncio.to_thread(open_keyring, path)
    else:
        keyring = await asyncio.to_thread(_read_or_take_left_over, path, remembered)
    await remember(connection, keyring)
    return keyring


async def keyring_of(connection: Connection, path: Path) -> Keyring:
    """The existing keyring in `path`. Raises KeyringError unless it belongs to this database."""
    keyring = await asyncio.to_thread(read_keyring, path)
    await remember(connection, keyring)
    return keyring


async def remember(connection: Connection, keyring: Keyring) -> None:
    """Stores new check values of `keyring`. Raises KeyringError unless it belongs to this database."""
    remembered = await Remembered.of(connection)
    remembered.demand(keyring)
    if remembered.has_all_of(keyring):
        return
    await connection.execute(SQL["remember_check"], keyring.check_value)
    await connection.executemany(SQL["remember_master"], list(keyring.master_check_values.items()))
    (await Remembered.of(connection)).demand(keyring)  # another process may have stored another one first


async def rotate_keyring_of(connection: Connection, path: Path) -> str:
    """Adds a master key for new installations to the file and the database; returns its id.

    Raises KeyringError.
    """
    async with connection.transaction():
        await connection.fetch(SQL["one_at_a_time"])
        await keyring_of(connection, path)
        taken = (await Remembered.of(connection)).masters
        # The file first: a key that is only in the file is stored later, one that no file has is lost.
        key = await asyncio.to_thread(rotate, path, taken)
        await keyring_of(connection, path)
    return key


async def abandon_master(connection: Connection, key: str, path: Path) -> None:
    """Lets the keyring do without a master key that `path` lacks. Raises OperatorError."""
    if key in (await asyncio.to_thread(read_keyring, path)).masters:
        raise OperatorError(f"{path} has the master key {key}: it is not lost.")
    if await connection.fetchval(SQL["abandon_master"], key) is None:
        raise OperatorError(f"This database knows no master key {key} that could be abandoned.")


class KeyringWatch:
    """Keeps the keyring of a running server up to date with its file.

    While the file is missing, damaged or another one, the keys in memory stay in use, and `problem` says why.
    """

    def __init__(self, keyring: Keyring, acquire: Acquire) -> None:
        self._keyring = keyring
        self._acquire = acquire
        self._turn = asyncio.Lock()  # an older look must not overtake a newer one
        self._reading: asyncio.Future[Keyring] | None = None
        self.problem: KeyringError | None = None

    async def look(self) -> None:
        """Reads the keys that "keyring rotate" added. Raises Unavailable where it cannot."""
        async with self._turn:
            try:
                fresh = await self._read()
                async with translated(), self._acquire() as connection:
                    await remember(connection, fresh)
            except KeyringError as problem:
                self._note(problem)
            except OSError as error:
                if OutOfFiles.means(error):
                    raise OutOfFiles from error
                raise Unavailable(f"The server cannot open any file now ({error.strerror}).") from error
            else:
                self._keyring.take_up(fresh)
                self._note(None)

    async def _read(self) -> Keyring:
        """The keyring in the file. While a disk hangs, only one thread and one call wait for it."""
        path, patience = self._keyring.path, 0.0
        if self._reading is None:
            self._reading = asyncio.get_running_loop().run_in_executor(None, read_keyring, path)
            patience = _PATIENCE_SECONDS
        await asyncio.wait({self._reading}, timeout=patience)
        if not self._reading.done():
            raise KeyringUnreadable(f"The keyring {path} cannot be read: its disk does not answer.")
        reading, self._reading = self._reading, None
        return reading.result()

    def check(self) -> Check:
        """A check that anyone may read: which file it is, and details, are for "doctor" and the log."""
        if self.problem is None:
            return Check("keyring", ok=True, detail="the one of this database")
        return Check("keyring", ok=False, detail=type(self.problem).__doc__ or "")

    def _note(self, problem: KeyringError | None) -> None:
        before, self.problem = self.problem, problem
        if problem is None and before is not None:
            log("keyring usable again", path=self._keyring.path)
        elif problem is not None and str(problem) != str(before):
            log("keyring unusable; the keys in memory stay", Severity.ERROR, error=problem.detail)


def _read_or_take_left_over(path: Path, remembered: Remembered) -> Keyring:
    """The keyring in `path`; if it is missing, the one that a power cut has left under a temporary name."""
    try:
        return read_keyring(path)
    except KeyringMissing as missing:
        found = [each for each in left_over(path) if _belongs(each, remembered)]
        if len(found) != 1:
            problem = (
                f"There is no keyring at {path}, but this database was made with one. Restore it from a "
                "backup, or correct --data or TELEMETRY_KEYRING_FILE; a new one would lock every "
                "installation out."
            )
            if found:
                files = ", ".join(str(each.path) for each in found)
                problem += f" Each of these beside it fits; rename the newest: {files}."
            raise KeyringMissing(problem) from missing
    take_left_over(found[0], path)
    log("keyring taken from the file that a power cut left", Severity.WARNING, file=found[0].path, path=path)
    return read_keyring(path)


def _belongs(keyring: Keyring, remembered: Remembered) -> bool:
    try:
        remembered.demand(keyring)
    except KeyringError:
        return False
    return True


def _listed(keys: Iterable[str]) -> str:
    return ", ".join(sorted(keys))
