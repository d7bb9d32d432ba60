"""Installs a GeoIP database: received, its checksum compared, inflated, checked, renamed into place.

The rename replaces the file in use in one step, after the new one was opened and checked. A failure before
leaves the old one unchanged.
"""

import fcntl
import gzip
import hashlib
import os
import shutil
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import date
from pathlib import Path
from typing import Protocol

from telemetry_server import durable
from telemetry_server.enrich.places.databases import COPY_PREFIX, Database, UnusableDatabase
from telemetry_server.enrich.places.records import DatabaseKind

MAX_BYTES = 2 << 30
"""The largest database accepted, as received and inflated. The largest ones sold are around 1 GiB."""

CHUNK = 1 << 18
GZIP_MAGIC = b"\x1f\x8b"


class Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


def dbip_lite_url(kind: DatabaseKind, month: date) -> str:
    """The URL of DB-IP's free database of `month`: no account, CC BY 4.0, attribution required."""
    return f"https://download.db-ip.com/free/dbip-{kind}-lite-{month:%Y-%m}.mmdb.gz"


def install(
    source: Readable,
    directory: Path,
    kind: DatabaseKind | None = None,
    *,
    sha256: str | None = None,
    max_bytes: int = MAX_BYTES,
) -> Database:
    """Installs the database from `source`, plain or gzipped, in `directory`; returns it open.

    Without `kind`, its records decide it. `sha256` is that of the bytes as received, in hexadecimal. Raises
    UnusableDatabase, or the OSError of `source` or of the disk.
    """
    durable.make_directory(directory, 0o777)
    with _work_in(directory) as work:
        received = _receive(source, work / "received", sha256, max_bytes)
        candidate = _inflated(received, work / "inflated", max_bytes)
        database = Database.open(candidate, kind, memory=directory)
        # Also readable by the server when the operator installs as root.
        candidate.chmod(0o644)
        durable.put_in_place(candidate, directory / database.kind.filename)
    return database


@contextmanager
def _work_in(directory: Path) -> Iterator[Path]:
    """A directory for one installation. Removes what interrupted ones left, unless another one runs now."""
    lock = os.open(directory, os.O_RDONLY)
    try:
        with suppress(OSError):  # another one runs, or the file system has no locks
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _remove_leftovers(directory)
        with suppress(OSError):
            fcntl.flock(lock, fcntl.LOCK_SH)
        with tempfile.TemporaryDirectory(dir=directory, prefix=".install-") as work:
            yield Path(work)
    finally:
        os.close(lock)


def _remove_leftovers(directory: Path) -> None:
    for work in directory.glob(".install-*"):
        shutil.rmtree(work, ignore_errors=True)
    for copy in directory.glob(f"{COPY_PREFIX}*"):
        with suppress(OSError), copy.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # held by each process that uses the copy
            copy.unlink()


def _receive(source: Readable, path: Path, sha256: str | None, max_bytes: int) -> Path:
    digest = hashlib.sha256()
    with path.open("xb") as file:
        size = 0
        while chunk := source.read(CHUNK):
            size += len(chunk)
            if size > max_bytes:
                raise UnusableDatabase(f"The file is larger than {max_bytes} bytes: no GeoIP database is.")
            digest.update(chunk)
            file.write(chunk)
    if sha256 and sha256.lower() != digest.hexdigest():
        raise UnusableDatabase(
            f"The SHA-256 of what came is {digest.hexdigest()}, not {sha256.lower()}. "
            "It was damaged or changed on the way, or the checksum is that of another file."
        )
    return path


def _inflated(path: Path, into: Path, max_bytes: int) -> Path:
    """`path` itself unless its first bytes are those of gzip."""
    with path.open("rb") as received:
        if received.read(len(GZIP_MAGIC)) != GZIP_MAGIC:
            return path
    try:
        with gzip.open(path) as source:
            return _receive(source, into, None, max_bytes)
    except (EOFError, gzip.BadGzipFile, zlib.error) as damage:
        raise UnusableDatabase(f"The gzip file is cut short or damaged ({damage}). Get it again.") from damage
