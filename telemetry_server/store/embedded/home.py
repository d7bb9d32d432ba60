"""The files in DATA, their owners, and who may connect to PostgreSQL."""

import errno
import os
import re
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from telemetry_server import durable
from telemetry_server.store.embedded.account import Account, name_of, owner
from telemetry_server.store.embedded.errors import (
    EmbeddedAccountUnusable,
    EmbeddedPathUnusable,
    EmbeddedTooNew,
    EmbeddedUpgradeNeeded,
)
from telemetry_server.store.embedded.processes import FileLock, Say, closed_to
from telemetry_server.store.embedded.system_user import account_for_root

PORT = 5432
"""Only a part of the socket's name: no network port is opened."""

LOG_BYTES = 10 * 2**20
SOCKET_PATH_BYTES = 103
"""The limit of macOS; that of Linux is 107."""

_WHO_GETS_IN = """\
local all telemetry,postgres peer map=telemetry
local telemetry all scram-sha-256
"""
"""Operator and root connect as our roles; roles of "db reader" by their passwords."""

ADVICE_BY_ERRNO = {
    errno.ENOSPC: "The disk is full: free some space.",
    errno.EDQUOT: "The user's share of the disk is used up: free some space.",
    errno.EROFS: "It is read-only, often after a disk error: look at the system's log (dmesg).",
    errno.EIO: "The disk fails: look at the system's log (dmesg).",
}
"""What to do when a disk cannot be written."""

_IN_THE_WAY = {errno.EEXIST, errno.EISDIR, errno.ELOOP, errno.ENOENT, errno.ENOTDIR}
"""Directories, files and links that lead nowhere, each in the place of another kind."""

UNQUOTABLE = re.compile(r'[,"$`\\\x00-\x1f]')


class Home:
    """The directory DATA, which only `make` creates. Raises EmbeddedPathUnusable for an unsuitable path."""

    def __init__(self, data: Path) -> None:
        self.data = data.expanduser().resolve()
        self.postgres = self.data / "postgres"
        self.run = self.data / "run"
        self.log = self.data / "postgres.log"
        self.hba = self.data / "pg_hba.conf"
        self.ident = self.data / "pg_ident.conf"
        self.locks = self.data / "locks"
        self.backups = self.data / "backups"
        self._check_path()

    def _check_path(self) -> None:
        too_long = len(os.fsencode(self.socket())) - SOCKET_PATH_BYTES
        if too_long > 0:
            raise EmbeddedPathUnusable(
                f"The path {self.data} is {too_long} bytes too long for a socket in it. Choose a shorter one "
                "with --data."
            )
        if UNQUOTABLE.search(str(self.data)):
            raise EmbeddedPathUnusable(
                f"The path {str(self.data)!r} has a comma, quote, dollar, backslash or control character, "
                "which PostgreSQL's programs cannot take. Choose another one with --data."
            )

    def socket(self, port: int = PORT) -> Path:
        return self.run / f".s.PGSQL.{port}"

    def dsn(self, user: str, database: str, port: int = PORT) -> str:
        """A connection URI for asyncpg and psql; only the operator's user and root may connect with it."""
        return f"postgresql://{user}@/{database}?host={quote(str(self.run))}&port={port}"

    # ── the major version ──

    def major(self) -> int | None:
        """The major version that wrote the data; None without data.

        Raises EmbeddedPathUnusable if it cannot be data of PostgreSQL.
        """
        if not self.postgres.exists():
            return None
        try:
            return int((self.postgres / "PG_VERSION").read_text())
        except (FileNotFoundError, NotADirectoryError, ValueError):
            raise EmbeddedPathUnusable(
                f"{self.postgres} is no data of PostgreSQL, or damaged: its PG_VERSION is missing or wrong. "
                "Move it away and restore the last backup (docs/operating.md)."
            ) from None

    def demand(self, major: int) -> None:
        """Raises EmbeddedTooNew or EmbeddedUpgradeNeeded if the data is of another major version."""
        written = self.major() or major
        if written > major:
            raise EmbeddedTooNew(
                f"{self.postgres} was written by PostgreSQL {written}, which {major} cannot read. Set the "
                f"major version to {written}, or go back to the version of this server that wrote it."
            )
        if written < major:
            raise EmbeddedUpgradeNeeded(
                f"{self.postgres} was written by PostgreSQL {written}, and this server uses {major}. Stop "
                f"the server and run: telemetry-server db upgrade --data {shlex.quote(str(self.data))}"
            )

    def beside(self, major: int) -> Path:
        """The path where an upgrade builds the data of the next major version."""
        return self.data / f"postgres.new-{major}"

    def aside(self, major: int) -> Path:
        """The path where an upgrade leaves the data that it replaced."""
        return self.data / f"postgres.old-{major}"

    def unfinished(self) -> list[Path]:
        """The incomplete new data of killed upgrades."""
        return sorted(self.data.glob("postgres.new-[0-9][0-9]"))

    def finish_upgrade(self) -> None:
        """Does the second rename of an upgrade killed after its first: the new data is verified by then."""
        if self.postgres.exists():
            return
        new, old = self.unfinished(), sorted(self.data.glob("postgres.old-*"))
        if new and old:
            durable.rename(new[-1], self.postgres)
        elif old:
            raise EmbeddedPathUnusable(
                f"{self.postgres} is missing, and {old[-1]} is there. To go back to the data from before the "
                f"upgrade: mv {shlex.quote(str(old[-1]))} {shlex.quote(str(self.postgres))}"
            )

    # ── files and their owners ──

    async def account(self, database_user: str, say: Say) -> Account:
        """The account that runs PostgreSQL: that of this process; for root, `database_user`."""
        if os.geteuid() != 0:
            return Account.of(os.geteuid())
        if owner(self.data) != 0:
            name = name_of(owner(self.data))
            raise EmbeddedPathUnusable(
                f"{self.data} belongs to {name!r}, and what root leaves there could lock them out: "
                f"run this as that user (sudo -u {name} …; of a service of systemd, see docs/operating.md)."
            )
        account = await account_for_root(database_user, say)
        if account.uid == 0:
            raise EmbeddedAccountUnusable("PostgreSQL refuses to run as root: set another database_user.")
        return account

    async def check_reach(self, account: Account) -> None:
        """Raises EmbeddedPathUnusable if PostgreSQL's user cannot reach DATA. Changes nothing."""
        if self.data.exists() and not self.data.is_dir():
            raise EmbeddedPathUnusable(f"{self.data} is not a directory; name another one with --data.")
        if not account.is_other:
            return
        there = next(path for path in (self.data, *self.data.parents) if path.exists())
        closed = await closed_to(account, there)
        if closed:
            raise EmbeddedPathUnusable(
                f"As root, PostgreSQL runs as the user {account.name!r}, who cannot enter {closed}. Choose "
                "another directory with --data (such as /var/lib/license-telemetry), or run as an ordinary "
                f"user, or open it yourself: chmod o+x {shlex.quote(str(closed))}"
            )

    @contextmanager
    def writable(self) -> Iterator[None]:
        """Turns an OSError into EmbeddedPathUnusable that says what to do."""
        try:
            yield
        except OSError as error:
            refused = f"{error.filename or self.data}: {error.strerror}."
            if error.errno in ADVICE_BY_ERRNO:
                raise EmbeddedPathUnusable(f"{refused} {ADVICE_BY_ERRNO[error.errno]}") from error
            if error.errno in _IN_THE_WAY and os.path.lexists(error.filename):
                raise EmbeddedPathUnusable(
                    f"{refused} Something else is where this server puts its own. Move it away; a new one is "
                    "made at the start."
                ) from error
            raise EmbeddedPathUnusable(
                f"{refused} You are user {os.geteuid()}, {self.data} belongs to "
                f"user {owner(self.data)}: run as its owner, or choose another directory with --data."
            ) from error

    def make(self, account: Account) -> None:
        with self.writable():
            if self.data.is_dir():
                return
            durable.make_directory(self.data)
            self.data.chmod(0o711 if account.is_other else 0o700)

    def lock(self, name: str) -> FileLock:
        """The lock `users`, which the users of DATA share, or `start`, for one start at a time."""
        with self.writable():
            self.locks.mkdir(mode=0o700, exist_ok=True)
            return FileLock(self.locks / name)

    def prepare_start(self, account: Account) -> None:
        """Writes all files except the data again: those of an upgrade or a restored backup are not used.

        Hands all files that PostgreSQL writes to the account. Call it while no PostgreSQL uses the data.
        """
        with self.writable():
            self.run.mkdir(mode=0o700, exist_ok=True)
            if self.log.exists() and self.log.stat().st_size > LOG_BYTES:
                durable.rename(self.log, self.log.with_name("postgres.log.1"))
            self.log.touch(0o600)
            self.log.open("ab").close()
            self._write_access()
        if account.is_other:
            for path in (self.run, *self.data.glob("postgres*")):
                self._hand_over(path, account)

    def _hand_over(self, path: Path, account: Account) -> None:
        """Hands over files of another user, a backup restored by root, and the rest of a killed start."""
        before = owner(path)
        copied_programs = path.name.startswith("postgresql-")  # they stay root's
        if copied_programs or before == account.uid:
            return
        try:
            hand_over_tree(path, account)
        except OSError as error:
            raise EmbeddedPathUnusable(
                f"{path} cannot be handed over from user {before} to {account.name!r}, who runs PostgreSQL "
                f"({error.strerror}). To leave it, set TELEMETRY_DATABASE_USER to the name of user {before}."
            ) from error

    def _write_access(self) -> None:
        """Writes the access files outside PGDATA, so that PostgreSQL's user cannot change them."""
        operators = {Account.of(user).name for user in (os.geteuid(), 0)}
        lines = [f'telemetry "{name}" {role}\n' for name in operators for role in ("telemetry", "postgres")]
        for path, text in ((self.hba, _WHO_GETS_IN), (self.ident, "".join(lines))):
            if not path.exists() or path.read_text() != text:  # they cannot be written to a full disk
                durable.write(path, text.encode(), mode=0o644)


def make_directory(path: Path, account: Account) -> None:
    path.mkdir(mode=0o700, exist_ok=True)
    hand_over(path, account)


def hand_over(path: Path, account: Account) -> None:
    if account.is_other:
        os.chown(path, account.uid, account.gid, follow_symlinks=False)


def hand_over_tree(path: Path, account: Account) -> None:
    """Changes the owner of a tree, its root last, so that an interrupted call is repeated.

    Uses descriptors and follows no links, as the previous owner may add links meanwhile.
    """
    for _, directories, files, descriptor in os.fwalk(path):
        for name in (*directories, *files):
            os.chown(name, account.uid, account.gid, dir_fd=descriptor, follow_symlinks=False)
    hand_over(path, account)
