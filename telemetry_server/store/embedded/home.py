"""What lies in DATA, whose it is, and who may connect to it."""

import errno
import os
import re
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from telemetry_server import durable
from telemetry_server.store.embedded.account import Account, owner
from telemetry_server.store.embedded.errors import (
    EmbeddedAccountUnusable,
    EmbeddedPathUnusable,
    EmbeddedTooNew,
    EmbeddedUpgradeNeeded,
)
from telemetry_server.store.embedded.processes import FileLock, Say, closed_to
from telemetry_server.store.embedded.system_user import account_for_root

PORT = 5432
"""Part of the socket's name only: nothing listens on a network."""

LOG_BYTES = 10 * 2**20
SOCKET_PATH_BYTES = 103
"""What macOS takes; Linux would take 107."""

_WHO_GETS_IN = """\
local all telemetry,postgres peer map=telemetry
local telemetry all scram-sha-256
"""
"""The operator and root as ours; roles that "db reader" made with their passwords."""

TAKES_NOTHING = {
    errno.ENOSPC: "The disk is full: make room.",
    errno.EDQUOT: "The user's share of the disk is used up: make room.",
    errno.EROFS: "It is read-only, often after a disk error: look at the system's log (dmesg).",
    errno.EIO: "The disk fails: look at the system's log (dmesg).",
}
"""What to do when a disk refuses to be written, by errno."""

UNQUOTABLE = re.compile(r'[,"$`\\\x00-\x1f]')


class Home:
    """The directory DATA, created by nothing but `make`; refuses a path PostgreSQL cannot take."""

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
                f"The path {self.data} is {too_long} bytes too long: nobody could open the socket in it. "
                "Choose a shorter one with --data."
            )
        if UNQUOTABLE.search(str(self.data)):
            raise EmbeddedPathUnusable(
                f"The path {str(self.data)!r} has a comma, quote, dollar, backslash or control character, "
                "which PostgreSQL's programs cannot take. Choose another one with --data."
            )

    def socket(self, port: int = PORT) -> Path:
        return self.run / f".s.PGSQL.{port}"

    def dsn(self, user: str, database: str, port: int = PORT) -> str:
        """A connection URI for asyncpg and psql; only the operator's user and root get in with it."""
        return f"postgresql://{user}@/{database}?host={quote(str(self.run))}&port={port}"

    # ── the major version ──

    def major(self) -> int | None:
        """The major version that wrote the data; None when there is none yet."""
        try:
            return int((self.postgres / "PG_VERSION").read_text())
        except FileNotFoundError:
            return None

    def demand(self, major: int) -> None:
        """Raise unless the data is of this major version, or there is none yet."""
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
        """Where an upgrade builds the data of the next major version."""
        return self.data / f"postgres.new-{major}"

    def aside(self, major: int) -> Path:
        """Where an upgrade leaves the data that it replaced."""
        return self.data / f"postgres.old-{major}"

    def unfinished(self) -> list[Path]:
        """What a killed upgrade has left of its new data."""
        return sorted(self.data.glob("postgres.new-[0-9][0-9]"))

    def finish_upgrade(self) -> None:
        """Do the second rename of an upgrade killed after its first: the new data is verified by then."""
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
        """Who runs PostgreSQL: we do; for root, `database_user` does."""
        if os.geteuid() != 0:
            return Account.of(os.geteuid())
        if owner(self.data) != 0:
            name = Account.of(owner(self.data)).name
            raise EmbeddedPathUnusable(
                f"{self.data} belongs to {name!r}, and what root leaves there could lock them out: "
                f"run this as that user (sudo -u {name} …)."
            )
        account = await account_for_root(database_user, say)
        if account.uid == 0:
            raise EmbeddedAccountUnusable("PostgreSQL refuses to run as root: set another database_user.")
        return account

    async def check_reach(self, account: Account) -> None:
        """As root, PostgreSQL's own user must be able to come here. Looked at, never changed."""
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
    def _writable(self) -> Iterator[None]:
        """Says of a refused file what to do: of a disk that takes nothing, or of a DATA that is another's."""
        try:
            yield
        except OSError as error:
            refused = f"{error.filename or self.data}: {error.strerror}."
            if error.errno in TAKES_NOTHING:
                raise EmbeddedPathUnusable(f"{refused} {TAKES_NOTHING[error.errno]}") from error
            raise EmbeddedPathUnusable(
                f"{refused} You are user {os.geteuid()}, {self.data} belongs to "
                f"user {owner(self.data)}: run as its owner, or choose another directory with --data."
            ) from error

    def make(self, account: Account) -> None:
        with self._writable():
            if self.data.is_dir():
                return
            durable.make_directory(self.data)
            self.data.chmod(0o711 if account.is_other else 0o700)

    def lock(self, name: str) -> FileLock:
        """The lock `users`, which whoever uses DATA shares, or `start`, for starting one at a time."""
        with self._writable():
            self.locks.mkdir(mode=0o700, exist_ok=True)
            return FileLock(self.locks / name)

    def prepare_start(self, account: Account) -> None:
        """Everything but the data itself, written anew: no upgrade or restored backup can bring its own.

        All that PostgreSQL writes becomes the account's. Call it while none has the data open.
        """
        with self._writable():
            self.run.mkdir(mode=0o700, exist_ok=True)
            if self.log.exists() and self.log.stat().st_size > LOG_BYTES:
                durable.rename(self.log, self.log.with_name("postgres.log.1"))
            self.log.touch(0o600)
            self._write_access()
        if account.is_other:
            for path in (self.run, *self.data.glob("postgres*")):
                self._hand_over(path, account)

    def _hand_over(self, path: Path, account: Account) -> None:
        """What another user ran, what root restored from a backup, and what a killed start left to root."""
        before = owner(path)
        copied_programs = path.name.startswith("postgresql-")  # which stay root's
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
        """Outside PGDATA, where PostgreSQL's own user cannot change it."""
        operators = {Account.of(user).name for user in (os.geteuid(), 0)}
        lines = [f'telemetry "{name}" {role}\n' for name in operators for role in ("telemetry", "postgres")]
        for path, text in ((self.hba, _WHO_GETS_IN), (self.ident, "".join(lines))):
            if not path.exists() or path.read_text() != text:  # a full disk takes not even these
                durable.write(path, text.encode(), mode=0o644)


def make_directory(path: Path, account: Account) -> None:
    path.mkdir(mode=0o700, exist_ok=True)
    hand_over(path, account)


def hand_over(path: Path, account: Account) -> None:
    if account.is_other:
        os.chown(path, account.uid, account.gid, follow_symlinks=False)


def hand_over_tree(path: Path, account: Account) -> None:
    """With all that is in it, and itself last: where this was cut short, it begins anew.

    Goes by descriptors and follows no link, for the user it belonged to may put some there meanwhile.
    """
    for _, directories, files, descriptor in os.fwalk(path):
        for name in (*directories, *files):
            os.chown(name, account.uid, account.gid, dir_fd=descriptor, follow_symlinks=False)
    hand_over(path, account)
