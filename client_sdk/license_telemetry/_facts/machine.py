"""The files of one machine: this one, or a recorded one below some root."""

from __future__ import annotations

import errno
import os
import stat
from itertools import islice

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

SAFE_OPEN = os.O_RDONLY | sum(
    getattr(os, flag, 0) for flag in ("O_NONBLOCK", "O_NOCTTY", "O_CLOEXEC", "O_BINARY")
)
MOST_LINKS = 40
MOST_NAMES = 1024


class Machine:
    """Reads regular files below `root` and nothing else.

    Anything absent, forbidden, a FIFO, a device, a directory or a symlink loop reads as None. Symlinks
    are followed inside the root, as after chroot(2). `live` tells this machine from a recorded one.
    """

    __slots__ = ("_root", "live")

    def __init__(self, root: str | os.PathLike[str] = "/") -> None:
        self._root = os.fspath(root).rstrip("/\\")
        self.live = not self._root

    def read(self, path: str, limit: int = 65536) -> bytes | None:
        """The first `limit` bytes of the file."""
        try:
            where = self._where(path)
            if not stat.S_ISREG(os.stat(where).st_mode):  # before opening: opening a device can have effects
                return None
            descriptor = os.open(where, SAFE_OPEN)
        except (OSError, ValueError):
            return None
        try:
            # A FIFO may have taken the file's place since; it was opened without waiting, and is not read.
            regular = stat.S_ISREG(os.fstat(descriptor).st_mode)
            return b"".join(_chunks(descriptor, limit)) if regular else None
        except OSError:
            return None
        finally:
            os.close(descriptor)

    def text(self, path: str, limit: int = 65536) -> str | None:
        """The file as text, its undecodable bytes replaced."""
        content = self.read(path, limit)
        return None if content is None else content.decode("utf-8-sig", "replace")

    def line(self, path: str) -> str | None:
        """The first line, without surrounding white space; None when that is empty. NUL ends a line too."""
        text = (self.text(path, 4096) or "").replace("\0", "\n")
        return text.partition("\n")[0].strip() or None

    def exists(self, path: str) -> bool:
        try:
            return os.path.exists(self._where(path))
        except (OSError, ValueError):
            return False

    def names(self, path: str) -> list[str]:
        """The names in a directory, sorted; empty if there is none."""
        try:
            with os.scandir(self._where(path)) as entries:
                return sorted(entry.name for entry in islice(entries, MOST_NAMES))
        except (OSError, ValueError):
            return []

    def target(self, path: str) -> str | None:
        """The last name of what `path` leads to when all its symlinks are followed."""
        try:
            return self._resolve(path).rpartition("/")[2] or None
        except (OSError, ValueError):
            return None

    def _where(self, path: str) -> str:
        return path if self.live else self._resolve(path)

    def _resolve(self, path: str) -> str:
        pending = path.split("/")[::-1]
        found: list[str] = []
        links = 0
        while pending:
            part = pending.pop()
            if part == "..":
                del found[-1:]
            elif part not in ("", "."):
                link = _link("/".join([self._root, *found, part]))
                if link is None:
                    found.append(part)
                    continue
                links += 1
                if links > MOST_LINKS:
                    raise OSError(errno.ELOOP, path)
                if link.startswith("/"):
                    found.clear()
                pending.extend(link.split("/")[::-1])
        return "/".join([self._root, *found])


def _link(path: str) -> str | None:
    try:
        return os.readlink(path)
    except OSError:
        return None


def _chunks(descriptor: int, limit: int) -> Iterator[bytes]:
    # procfs hands out a page at a time, so one read is not the whole file.
    while limit > 0:
        chunk = os.read(descriptor, limit)
        if not chunk:
            return
        limit -= len(chunk)
        yield chunk
