"""One GeoIP database file (MaxMind DB format): opened, checked, asked.

A server maps a *private copy* of the file, not the file itself. Whoever replaces a database with
`cp` or `gunzip -f` cuts the mapped file short for a moment, and a look-up at that moment would end
the whole process with SIGBUS. The copy has no name, so the system takes it back when the last
reader is gone, even after a SIGKILL; its mapping is closed with the Database, when nothing refers
to that any more.
"""

import shutil
import stat
import struct
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Any, NamedTuple, Self

import maxminddb

from telemetry_server.enrich.records import Facts, Kind, facts, is_of, text
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
# Besides its own error (a RuntimeError), a reader raises what the damaged bytes happen to lead it to.
DAMAGE = (ArithmeticError, LookupError, RuntimeError, TypeError, ValueError, struct.error)

SAMPLED_NETWORKS = 1_000
SAMPLED_ADDRESSES = 500

_V4 = 4
_MATTERS = {
    Kind.COUNTRY: "a country",
    Kind.CITY: "a city",
    Kind.ASN: "a network operator (ASN)",
    Kind.HOSTING: "a hosting provider",
}


class UnusableDatabase(OperatorError):
    """The file is no GeoIP database that this server can use."""

    code = "geoip"


class Attribution(NamedTuple):
    """What the license of a database wants shown, with a link, on pages that show its results."""

    text: str
    url: str


_ATTRIBUTIONS = {
    "DB-IP": Attribution("IP Geolocation by DB-IP", "https://db-ip.com"),
    "GeoLite2": Attribution(
        "This product includes GeoLite2 data created by MaxMind", "https://www.maxmind.com"
    ),
}


class Fingerprint(NamedTuple):
    """Tells whether a path still holds the same file."""

    inode: int
    size: int
    modified_ns: int

    @classmethod
    def of(cls, path: Path) -> Self:
        seen = path.stat()
        if not stat.S_ISREG(seen.st_mode):
            raise UnusableDatabase("This is not a file. Put a .mmdb file there.")
        return cls(seen.st_ino, seen.st_size, seen.st_mtime_ns)


@dataclass(slots=True, eq=False)
class Database:
    """An open database. `source` is its name for people, `built_on` the day its data was put together."""

    kind: Kind
    source: str
    built_on: date | None
    fingerprint: Fingerprint
    ip_version: int
    reader: maxminddb.Reader
    problem: str | None = None

    @classmethod
    def open(cls, path: Path, kind: Kind | None = None) -> Self:
        """Open and check the file at `path`; without `kind`, it is told from the records.

        Raises UnusableDatabase if it is cut short, damaged, something else, or of another kind,
        and OSError if it can't be read or copied.
        """
        with _private_copy(path) as (copy, fingerprint):
            try:
                kind = _probe(copy, kind)
                reader = maxminddb.open_database(copy, MODE)
            except DAMAGE as damage:
                raise UnusableDatabase(
                    "The file is cut short, damaged or no MaxMind database. "
                    "Get it again; a .tar.gz has to be unpacked first."
                ) from damage
        about = reader.metadata()
        return cls(
            kind, _source(about.database_type), _day(about.build_epoch), fingerprint, about.ip_version, reader
        )

    @property
    def attribution(self) -> Attribution | None:
        """What has to be shown beside results of this database, where its maker is known."""
        return next((owed for maker, owed in _ATTRIBUTIONS.items() if self.source.startswith(maker)), None)

    def find(self, address: Address) -> tuple[Facts, int]:
        """The facts about `address` and the prefix length of the network they are said of.

        Never raises: damage found here leaves the facts empty and is told in `problem`. Of what the
        database can't know, it says nothing at all: the length is 0.
        """
        if address.version > self.ip_version:
            return NOTHING
        try:
            record, prefix_length = self.reader.get_with_prefix_len(address)
        except DAMAGE as damage:
            self.problem = f"{self.kind}.mmdb is damaged ({damage}). Install it again."
            return NOTHING
        return (facts(self.kind, record) if isinstance(record, dict) else {}), prefix_length


@contextmanager
def _private_copy(path: Path) -> Iterator[tuple[str, Fingerprint]]:
    """A copy of `path` that nobody else can change, gone by name at the end, and what was copied."""
    before = Fingerprint.of(path)
    with path.open("rb") as original, _nameless(path.parent) as copy:
        shutil.copyfileobj(original, copy, 1 << 20)
        copy.flush()
        if Fingerprint.of(path) != before:
            raise UnusableDatabase("The file was being written while it was read. Try again.")
        yield copy.name, before


def _nameless(beside: Path) -> "tempfile._TemporaryFileWrapper[bytes]":
    """A temporary file on the disk of the data, or where temporary files go if that can't be written."""
    try:
        return tempfile.NamedTemporaryFile(dir=beside, prefix=".geoip-")
    except OSError:
        return tempfile.NamedTemporaryFile(prefix="geoip-")


def _probe(copy: str, kind: Kind | None) -> Kind:
    """Ask the file a little all over, so that damage shows now; the kind that its records answer for.

    With the reader in pure Python, whose memory is safe: over some damage the C extension (3.2.0)
    ends the process, on a map key that is no string, or while iterating over a search tree that
    leads back into itself.
    """
    with maxminddb.open_database(copy, maxminddb.MODE_MMAP) as reader:
        starts: list[Address] = [IPv4Address(0)]
        if reader.metadata().ip_version != _V4:
            starts.append(IPv6Address("2000::"))
        records = [record for start in starts for record in _sample(reader, start) if _sound(record)]
        for possible in [kind] if kind else Kind:
            if any(isinstance(record, dict) and is_of(possible, record) for record in records):
                return possible
        holds = _source(reader.metadata().database_type)
    matter = _MATTERS[kind] if kind else "a country, a city, a network operator or a hosting provider"
    raise UnusableDatabase(f"The file holds {holds!r}, and no record of it names {matter}. Get another file.")


def _sample(reader: maxminddb.Reader, start: Address) -> Iterator[object]:
    """The first records from `start` on, and some at even distances over the addresses in use."""
    yield from _walk(reader, start)
    room = 2**32 if start.version == _V4 else 2**125
    for i in range(SAMPLED_ADDRESSES):
        yield reader.get(start + i * room // SAMPLED_ADDRESSES)


def _walk(reader: maxminddb.Reader, start: Address) -> Iterator[object]:
    """What is said of each network from `start` on; of the first of them, if there are many."""
    number, bits = int(start), start.max_prefixlen
    for _ in range(SAMPLED_NETWORKS):
        record, prefix_length = reader.get_with_prefix_len(type(start)(number))
        yield record
        size = 1 << (bits - min(max(prefix_length, 0), bits))
        number = (number // size + 1) * size
        if number >= 1 << bits:
            return


def _sound(value: object) -> bool:
    """Always true; raises InvalidDatabaseError over a map key that is no string."""
    if isinstance(value, dict):
        if not all(isinstance(key, str) for key in value):
            raise maxminddb.InvalidDatabaseError("a map key is no string")
        return all(map(_sound, value.values()))
    return not isinstance(value, list) or all(map(_sound, value))


def _source(database_type: Any) -> str:
    """DBIP-Country-Lite becomes "DB-IP Lite country"; other types keep their name."""
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
