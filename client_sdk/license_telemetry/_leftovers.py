"""Removes directories in shared memory whose state directories were deleted.

The next process removes them, after a while: a volume may be unmounted for a time, and another container may
see a state directory that this one does not. So a directory is removed only if no process holds its lock,
its files are of this container, and its state directory has been missing for a week, with no process using
it in between.
"""

from __future__ import annotations

import os
import stat
import time

from . import _process
from ._counters import MISSING, STATE_DIR, UNNAMED
from ._locks import try_lock
from ._private_files import SAFELY, is_ours
from ._snapshot import SIZE, SUFFIX, snapshot

KEPT_SECONDS = 7 * 86_400.0
MOST_LOOKED_AT = 1000
UNNAMED_SECONDS = 3600.0


def clear_unnamed(directory: str) -> None:
    """Removes counter files without a final name, whose process was killed while it made them."""
    try:
        names = [name for name in os.listdir(directory) if name.endswith(UNNAMED)][:MOST_LOOKED_AT]
    except OSError:
        return
    for name in names:
        try:
            _remove_unnamed(os.path.join(directory, name))
        except OSError:
            continue


def _remove_unnamed(path: str) -> None:
    """Raises OSError."""
    descriptor = os.open(path, os.O_RDWR | SAFELY)
    try:
        old = time.time() - os.fstat(descriptor).st_mtime > UNNAMED_SECONDS
        if old and try_lock(descriptor):
            os.unlink(path)
    finally:
        os.close(descriptor)


def clear_leftovers(directory: str) -> None:
    """Checks all directories beside ours."""
    above = os.path.dirname(directory)
    try:
        names = os.listdir(above)[:MOST_LOOKED_AT]
    except OSError:
        return
    for name in names:
        place = os.path.join(above, name)
        if place != directory and is_ours(place, shared=True):
            try:
                _look_at(place)
            except (OSError, ValueError):
                continue  # it is in use, or not made by us


def _look_at(place: str) -> None:
    """Raises OSError and ValueError."""
    mark = os.path.join(place, MISSING)
    if not _is_missing(os.fsdecode(_read(os.path.join(place, STATE_DIR)))):
        if os.path.lexists(mark):
            os.unlink(mark)
        return
    descriptor = os.open(mark, os.O_WRONLY | os.O_CREAT | SAFELY, 0o600)
    try:
        age = time.time() - os.fstat(descriptor).st_mtime
    finally:
        os.close(descriptor)
    if age > KEPT_SECONDS:
        _remove(place)


def _is_missing(path: str) -> bool:
    """Whether the system says that it is missing; an unreadable directory is not."""
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return os.path.isabs(path)
    except OSError:
        return False
    return False


def _remove(place: str) -> None:
    """Removes the directory under the locks of its counter files; nothing if one is held."""
    names = os.listdir(place)
    if not all(stat.S_ISREG(os.lstat(os.path.join(place, name)).st_mode) for name in names):
        return
    locked = []
    try:
        for name in names:
            if name.endswith(SUFFIX):
                descriptor = os.open(os.path.join(place, name), os.O_RDWR | SAFELY)
                locked.append(descriptor)
                near = _process.is_near(snapshot(os.read(descriptor, SIZE + 1), "").process)
                if not near or not try_lock(descriptor):
                    return
        for name in names:
            os.unlink(os.path.join(place, name))
        os.rmdir(place)
    finally:
        for descriptor in locked:
            os.close(descriptor)


def _read(path: str) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | SAFELY)
    try:
        return os.read(descriptor, 1 << 16)
    finally:
        os.close(descriptor)
