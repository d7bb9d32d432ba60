"""Files and directories private to one user; those made by root belong to the owner of the parent."""

from __future__ import annotations

import os
import stat
import sys

SAFELY = sum(
    getattr(os, flag, 0) for flag in ("O_CLOEXEC", "O_NOFOLLOW", "O_NONBLOCK", "O_BINARY")
)  # a FIFO must not block us


def own_directory(path: str, *, shared: bool) -> None:
    """Makes it and missing parents, private to this user. Raises OSError if it belongs to another user.

    The parent of a `shared` one is ours, too.
    """
    for place in (os.path.dirname(path), path) if shared else (path,):
        make_private(place)
    if not is_ours(path, shared=shared):
        raise PermissionError(1, "it belongs to somebody else, or others may enter it")


def is_ours(path: str, *, shared: bool) -> bool:
    """Whether it is a directory, not a link, private to this user; also the parent, if `shared`.

    Root may use the directories of the owner of the state directory.
    """
    try:
        for place in (os.path.dirname(path), path) if shared else (path,):
            found = os.lstat(place)
            owners = {euid()} if shared or euid() else {0, os.stat(os.path.dirname(place)).st_uid}
            private = sys.platform == "win32" or not found.st_mode & 0o077
            if not stat.S_ISDIR(found.st_mode) or found.st_uid not in owners or not private:
                return False
    except OSError:
        return False
    return True


def make_private(path: str) -> None:
    """Makes it and missing parents with mode 0700, independent of the umask. Raises OSError."""
    if os.path.isdir(path):
        return
    above = os.path.dirname(path)
    if above and above != path:
        make_private(above)
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        return
    give_to_owner_above(path)


def give_to_owner_above(path: str) -> None:
    """Gives a file made by root to the owner of its directory, whose service could not use it otherwise."""
    if euid() != 0:
        return
    owner = os.stat(os.path.dirname(path))
    if owner.st_uid != 0 and hasattr(os, "lchown"):
        os.lchown(path, owner.st_uid, owner.st_gid)


def euid() -> int:
    return os.geteuid() if hasattr(os, "geteuid") else 0


def pwrite(descriptor: int, data: bytes, at: int) -> None:
    if hasattr(os, "pwrite"):
        os.pwrite(descriptor, data, at)
        return
    os.lseek(descriptor, at, os.SEEK_SET)  # on Windows
    os.write(descriptor, data)
