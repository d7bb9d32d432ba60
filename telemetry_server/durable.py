"""Files put in place for good: whole or not at all, and still there after a power cut.

A file system may keep a new name in memory for half a minute after the bytes of the file are on the disk.
So everything here syncs the bytes, gives them their name and syncs the directory, in this order, and returns
only then. Raises OSError where that fails.
"""

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PRIVATE = 0o600


def write(path: Path, data: bytes, *, mode: int = PRIVATE, replace: bool = True) -> None:
    """Puts a file with `data` at `path`. One that is there is replaced, and its owner kept where we are root.

    Without `replace`, raises FileExistsError where something is there.
    """
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            if replace and os.geteuid() == 0:
                _keep_owner(path, file.fileno())
            os.fchmod(file.fileno(), mode)  # after the owner, whose change may reset it
            file.flush()
            os.fsync(file.fileno())
        if replace:
            rename(fresh, path)
        else:
            link(fresh, path)
    finally:
        fresh.unlink(missing_ok=True)


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """An empty file beside `path`, readable by us alone, which takes its place if the block succeeds.

    One that a killed process left is replaced. Raises BlockingIOError where another process replaces it
    meanwhile: what lies there is then only as far as that one has come.
    """
    part = path.with_name(f"{path.name}.part")
    part.unlink(missing_ok=True)
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, PRIVATE)
    with os.fdopen(descriptor, "wb"):
        try:
            yield part
            if not _is(part, descriptor):
                raise BlockingIOError(errno.EAGAIN, "Another process writes this file, too", str(path))
            put_in_place(part, path)
        finally:
            if _is(part, descriptor):
                part.unlink()


def put_in_place(fresh: Path, path: Path) -> None:
    """Renames `fresh`, a file or a directory with all that is in it, which need not be on the disk yet."""
    _sync(fresh)
    for folder, folders, names in os.walk(fresh):
        for name in (*folders, *names):
            _sync(Path(folder, name))
    rename(fresh, path)


def rename(path: Path, to: Path) -> None:
    """Renames what is on the disk already; replaces a file that is there."""
    path.replace(to)
    _sync(to.parent)


def link(path: Path, to: Path) -> None:
    """Moves a file that is on the disk already. Raises FileExistsError where something is there."""
    to.hardlink_to(path)
    _sync(to.parent)  # before the old name goes: of two names, one is on the disk at any time
    path.unlink()
    _sync(path.parent)


def make_directory(path: Path, mode: int = 0o700) -> None:
    """Makes `path`, and the directories above it with the usual mode, where they are not there."""
    if path.is_dir():
        return
    make_directory(path.parent, 0o777)
    try:
        path.mkdir(mode)
    except FileExistsError:
        if not path.is_dir():  # else another process was first
            raise
    _sync(path.parent)


def _is(path: Path, descriptor: int) -> bool:
    with suppress(FileNotFoundError):
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    return False


def _sync(path: Path) -> None:
    if path.is_symlink():  # is in its directory, and has no bytes of its own
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # a file system that cannot sync directories
            raise
    finally:
        os.close(descriptor)


def _keep_owner(path: Path, descriptor: int) -> None:
    with suppress(FileNotFoundError):
        before = path.stat()
        os.fchown(descriptor, before.st_uid, before.st_gid)
