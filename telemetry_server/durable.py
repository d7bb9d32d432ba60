"""Atomic writes and renames of files that survive a power cut.

A file system may keep a new name in memory for half a minute after the bytes of the file are on the disk.
So each function syncs the bytes, renames the file and syncs the directory, in this order, before it returns.
Raises OSError if that fails.
"""

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PRIVATE = 0o600


def write(path: Path, data: bytes, *, mode: int = PRIVATE, replace: bool = True) -> None:
    """Writes a file with `data` to `path`. Replaces an existing one; as root, keeps the owner of that.

    Without `replace`, raises FileExistsError if something is there.
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
    """An empty file beside `path`, readable by its owner only, renamed to `path` if the block succeeds.

    A file left by a killed process is replaced. Raises BlockingIOError if another process replaces it
    meanwhile: then it contains only what that process has written so far.
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
    """Syncs `fresh`, a file or a directory with all its contents, and renames it."""
    _sync(fresh)
    for folder, folders, names in os.walk(fresh):
        for name in (*folders, *names):
            _sync(Path(folder, name))
    rename(fresh, path)


def rename(path: Path, to: Path) -> None:
    """Renames what is already synced; replaces an existing file."""
    path.replace(to)
    _sync(to.parent)


def link(path: Path, to: Path) -> None:
    """Moves a file that is already synced. Raises FileExistsError if something is there."""
    to.hardlink_to(path)
    _sync(to.parent)  # before the old name goes: of two names, one is on the disk at any time
    path.unlink()
    _sync(path.parent)


def remove(path: Path) -> None:
    """Removes a file."""
    path.unlink()
    _sync(path.parent)


def make_directory(path: Path, mode: int = 0o700) -> None:
    """Creates the directory `path` and missing parents, the latter with the default mode."""
    if path.is_dir():
        return
    make_directory(path.parent, 0o777)
    try:
        path.mkdir(mode)
    except FileExistsError:
        if not path.is_dir():  # not by another process that was first
            raise
    _sync(path.parent)


def _is(path: Path, descriptor: int) -> bool:
    with suppress(FileNotFoundError):
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    return False


def _sync(path: Path) -> None:
    if path.is_symlink():  # part of its directory
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
