"""Files and directories for one user alone; what root makes belongs to the owner of the directory above."""

from __future__ import annotations

import os
import stat
import sys

SAFELY = sum(
    getattr(os, flag, 0) for flag in ("O_CLOEXEC", "O_NOFOLLOW", "O_NONBLOCK", "O_BINARY")
)  # a FIFO must not hang us


def own_directory(path: str, *, shared: bool) -> None:
    """Make it and what is missing above, for this user alone. Raises OSError where it is somebody else's.

    Above a `shared` one is another of ours.
    """
    for place in (os.path.dirname(path), path) if shared else (path,):
        make_private(place)
    if not is_ours(path, shared=shared):
        raise PermissionError(1, "it belongs to somebody else, or others may enter it")


def is_ours(path: str, *, shared: bool) -> bool:
    """Whether it is a directory, no link, that this user alone may enter; so the one above, if `shared`.

    Root may use what the owner of the state directory has.
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
    """Make it and those missing above with mode 0700, whatever the umask. Raises OSError."""
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
    """What root makes in another user's directory belongs to that user, or the service could not use it."""
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
