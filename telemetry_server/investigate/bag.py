"""A BagIt folder (RFC 8493) with SHA-256, written as a stream: its memory does not grow with its files.

    bagit.txt  bag-info.txt  manifest-sha256.txt  tagmanifest-sha256.txt
    data/…

The order of writing is that of trust: payload, manifest, tag manifest. What signs the digest of the tag
manifest comes last, so a bag without it was not finished. Names are ASCII and chosen by the caller, never
taken from data. Blocks.
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import IO

from telemetry_server import durable
from telemetry_server.errors import OperatorError

DECLARATION = "BagIt-Version: 1.0\nTag-File-Character-Encoding: UTF-8\n"
MANIFEST = "manifest-sha256.txt"
TAG_MANIFEST = "tagmanifest-sha256.txt"


class NotEmpty(OperatorError):
    """The folder has files in it: evidence is written to a new or empty one."""


class BagFile:
    """A file of a bag that is written; its digest and its size grow with it."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._digest = sha256()
        self.size = 0

    def write(self, data: bytes) -> None:
        """Appends the data."""
        self._file.write(data)
        self._digest.update(data)
        self.size += len(data)

    @property
    def hexdigest(self) -> str:
        """The SHA-256 of what was written so far."""
        return self._digest.hexdigest()


class Bag:
    """A bag in a folder. Raises NotEmpty or OSError."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._payload: dict[str, str] = {}
        self._octets = 0
        durable.make_directory(directory, 0o700)
        if any(directory.iterdir()):
            raise NotEmpty(f"{directory} has files in it: evidence is written to a new or empty folder.")

    @contextmanager
    def file(self, name: str) -> Iterator[BagFile]:
        """A file of the payload, to be written to; `name` begins with data/."""
        path = self.directory / name
        durable.make_directory(path.parent, 0o700)
        with _new(path) as opened:
            written = BagFile(opened)
            yield written
            _settle(opened)
        self._payload[name] = written.hexdigest
        self._octets += written.size

    def add(self, name: str, content: str | bytes) -> None:
        """A file of the payload with this content."""
        with self.file(name) as file:
            file.write(content.encode() if isinstance(content, str) else content)

    def finish(self, info: Mapping[str, str]) -> bytes:
        """Writes the tag files; returns the tag manifest, the digest of which stands for the whole bag.

        `info`: fields of bag-info.txt, each on one line; Payload-Oxum is added.
        """
        lines = [*info.items(), ("Payload-Oxum", f"{self._octets}.{len(self._payload)}")]
        tags = {
            "bagit.txt": DECLARATION,
            "bag-info.txt": "".join(f"{name}: {' '.join(text.split())}\n" for name, text in lines),
            MANIFEST: _manifest(self._payload.items()),
        }
        for name, text in tags.items():
            self.tag(name, text.encode())
        manifest = _manifest(
            (name, sha256(text.encode()).hexdigest()) for name, text in tags.items()
        ).encode()
        self.tag(TAG_MANIFEST, manifest)
        return manifest

    def tag(self, name: str, content: bytes) -> None:
        """A file beside the payload."""
        durable.write(self.directory / name, content, mode=0o600, replace=False)


def _manifest(digests: Iterable[tuple[str, str]]) -> str:
    return "".join(f"{digest}  {name}\n" for name, digest in sorted(digests))


@contextmanager
def _new(path: Path) -> Iterator[IO[bytes]]:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        yield file


def _settle(file: IO[bytes]) -> None:
    file.flush()
    os.fsync(file.fileno())
