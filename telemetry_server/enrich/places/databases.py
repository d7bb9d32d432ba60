"""One GeoIP database file (MaxMind DB format): opened, checked, queried.

A server maps a *private copy* of the file, not the file itself: `cp` and `gunzip -f` truncate the file that
they replace for a moment, and a look-up in a truncated mapping ends the whole process with SIGBUS. The copy
has no name, so the system frees it after its last reader, even after a SIGKILL; its mapping is closed with
the Database, when nothing refers to that any more.
"""

import fcntl
import re
import stat
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime
from hashlib import sha256
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Any, NamedTuple, Self

import maxminddb

from telemetry_server.enrich.places.contents import DAMAGE, kinds_in, remember, remembered
from telemetry_server.enrich.places.records import DatabaseKind, Facts, facts, text
from telemetry_server.errors import OperatorError

try:
    import maxminddb.extension
except ImportError:
    MODE = maxminddb.MODE_MMAP
    SLOW = (
        "The C extension of the package maxminddb is missing: look-ups work, but take about 17 times as "
        "long. Install a C compiler and run: pip install --force-reinstall maxminddb"
    )
else:
    MODE, SLOW = maxminddb.MODE_MMAP_EXT, ""

Address = IPv4Address | IPv6Address

NOTHING: tuple[Facts, int] = ({}, 0)

COPY_PREFIX = ".geoip-"
_MATTERS = {
    DatabaseKind.CITY: "a city",
    DatabaseKind.COUNTRY: "a country",
    DatabaseKind.ASN: "a network operator (ASN)",
    DatabaseKind.HOSTING: "a hosting provider",
}


class UnusableDatabase(OperatorError):
    """The file is no GeoIP database that this server can use."""

    code = "geoip"


class Attribution(NamedTuple):
    """The notice, with a link, that the license of a database requires on pages that show its results."""

    text: str
    url: str


_ATTRIBUTIONS = {
    "DB-IP": Attribution("IP Geolocation by DB-IP", "https://db-ip.com"),
    "GeoLite2": Attribution(
        "This product includes GeoLite2 data created by MaxMind", "https://www.maxmind.com"
    ),
}


class Fingerprint(NamedTuple):
    """Identifies the content of a path: equal while the same file is there unchanged."""

    inode: int
    size: int
    modified_ns: int

    @classmethod
    def of(cls, path: Path) -> Self:
        """Raises OSError, and UnusableDatabase for what is not a file."""
        seen = path.stat()
        if not stat.S_ISREG(seen.st_mode):
            raise UnusableDatabase("This is not a file. Put a .mmdb file there.")
        return cls(seen.st_ino, seen.st_size, seen.st_mtime_ns)


@dataclass(slots=True, eq=False)
class Database:
    """An open database, used for `kind`; its records have facts of all `kinds`.

    `source` is its display name, `built_on` the build date of its data.
    """

    kind: DatabaseKind
    kinds: frozenset[DatabaseKind]
    source: str
    built_on: date | None
    fingerprint: Fingerprint
    ip_version: int
    reader: maxminddb.Reader
    problem: str | None = None

    @classmethod
    def open(cls, path: Path, kind: DatabaseKind | None = None, *, memory: Path | None = None) -> Self:
        """Opens the file at `path` after a check of every record; without `kind`, its records decide it.

        `memory` is the directory that remembers valid files, by default that of the file. Raises
        UnusableDatabase if the file is truncated, damaged, something else, or of another kind, and OSError if
        it cannot be read or copied.
        """
        with _private_copy(path) as copy:
            try:
                memory = memory or path.parent
                kinds = remembered(memory, copy.sha256)
                if kinds is None:
                    kinds = kinds_in(copy.path)
                    remember(memory, copy.sha256, kinds)
                reader = maxminddb.open_database(copy.path, MODE)
                about = reader.metadata()
            except DAMAGE as damage:
                raise UnusableDatabase(
                    "The file is cut short, damaged or no MaxMind database. "
                    "Get it again; a .tar.gz has to be unpacked first."
                ) from damage
        source = _source(about.database_type)
        kind = _kind_of(kinds, source, kind)
        built_on = _day(about.build_epoch)
        return cls(kind, kinds, source, built_on, copy.original, about.ip_version, reader)

    @property
    def also(self) -> tuple[DatabaseKind, ...]:
        """The other kinds for which it can be installed too, with `--kind`."""
        implied = {self.kind, DatabaseKind.COUNTRY} if self.kind is DatabaseKind.CITY else {self.kind}
        return tuple(kind for kind in DatabaseKind if kind in self.kinds - implied)

    @property
    def attribution(self) -> Attribution | None:
        """The notice to show beside results of this database, if its maker is known."""
        return next((owed for maker, owed in _ATTRIBUTIONS.items() if self.source.startswith(maker)), None)

    def find(self, address: Address) -> tuple[Facts, int]:
        """The facts about `address`, and the prefix length of the network to which they apply.

        Never raises: damage found here leaves the facts empty and is reported in `problem`. The length is 0
        if the database cannot know the address.
        """
        if address.version > self.ip_version:
            return NOTHING
        try:
            record, prefix_length = self.reader.get_with_prefix_len(address)
        except DAMAGE as damage:
            self.problem = f"{self.kind}.mmdb is damaged ({damage}). Install it again."
            return NOTHING
        return (facts(self.kind, record) if isinstance(record, dict) else {}), prefix_length


class _Copy(NamedTuple):
    """A copy that no other process changes: its path, the SHA-256 of its bytes, and the file copied."""

    path: str
    sha256: str
    original: Fingerprint


@contextmanager
def _private_copy(path: Path) -> Iterator[_Copy]:
    """A copy of `path`, whose name is removed at the end. Raises UnusableDatabase and OSError."""
    before = Fingerprint.of(path)
    digest = sha256()
    with path.open("rb") as original, _nameless(path.parent) as copy:
        with suppress(OSError):  # an installation removes only copies without a lock
            fcntl.flock(copy, fcntl.LOCK_EX | fcntl.LOCK_NB)
        while chunk := original.read(1 << 20):
            digest.update(chunk)
            copy.write(chunk)
        copy.flush()
        if Fingerprint.of(path) != before:
            raise UnusableDatabase("The file was being written while it was read. Try again.")
        yield _Copy(copy.name, digest.hexdigest(), before)


def _nameless(beside: Path) -> "tempfile._TemporaryFileWrapper[bytes]":
    """A temporary file beside the data, or in the system's directory if that is not writable."""
    try:
        return tempfile.NamedTemporaryFile(dir=beside, prefix=COPY_PREFIX)
    except OSError:
        return tempfile.NamedTemporaryFile(prefix="geoip-")


def _kind_of(kinds: frozenset[DatabaseKind], source: str, wanted: DatabaseKind | None) -> DatabaseKind:
    """The kind to use the file for: `wanted`, or the one it stands for. Raises UnusableDatabase."""
    if not kinds or (wanted and wanted not in kinds):
        none = _MATTERS[wanted] if wanted else _listed(_MATTERS.values(), "or")
        raise UnusableDatabase(
            f"The file holds {source!r}, and no record of it names {none}. Get another file."
        )
    if wanted:
        return wanted
    # Every database of cities names countries.
    possible = kinds - {DatabaseKind.COUNTRY} if DatabaseKind.CITY in kinds else kinds
    named = possible.intersection(re.findall("[a-z]+", source.lower()))
    if len(possible) > 1 and len(named) != 1:
        raise UnusableDatabase(
            f"The file holds {source!r}, and it names {_listed(map(_MATTERS.get, sorted(kinds)), 'and')}. "
            f"Say what it is for: --kind {_listed(sorted(possible), 'or')}; once for each, if for several."
        )
    [kind] = named if len(possible) > 1 else possible
    return DatabaseKind(kind)


def _listed(words: Iterable[object], last: str) -> str:
    *first, final = map(str, words)
    return f"{', '.join(first)} {last} {final}" if first else final


def _source(database_type: Any) -> str:
    """The display name: "DB-IP Lite country" for DBIP-Country-Lite; other types keep their name."""
    name = (text(database_type) or "unnamed database").split(" (compat=")[0]
    maker, *rest = name.split("-")
    if maker != "DBIP" or not rest:
        return name
    matter = rest[0] if rest[0].isupper() else rest[0].lower()
    return " ".join(["DB-IP", *rest[1:], matter])


def _day(build_epoch: Any) -> date | None:
    try:
        return datetime.fromtimestamp(build_epoch, UTC).date() if build_epoch > 0 else None
    except (TypeError, ValueError, OverflowError, OSError):
        return None
