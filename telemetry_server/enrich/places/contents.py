"""Checks the content of a GeoIP database file: each of its records is decoded once.

A look-up must not be the first to find damage: the C extension of maxminddb (3.2.0) ends the whole process
on some of it, for example on a map key that is not a string. So every record is decoded here first, with the
memory-safe decoder in pure Python. For 100 MB that takes seconds to a minute, so the result is remembered
beside the file, by the SHA-256 of its bytes.
"""

import struct
import sys
from array import array
from collections.abc import Iterator
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address
from mmap import ACCESS_READ, mmap
from pathlib import Path

import maxminddb
import orjson
from maxminddb.decoder import Decoder
from maxminddb.reader import Metadata

from telemetry_server import durable
from telemetry_server.enrich.places.records import DatabaseKind, is_of

# Besides its own error (a RuntimeError), a reader may raise any of these over damaged bytes.
DAMAGE = (ArithmeticError, LookupError, RuntimeError, TypeError, ValueError, struct.error)

REMEMBERED_IN = ".checked.json"
CHECK = 1
"""The version of the check: a new one discards the results of others."""

_MOST_REMEMBERED = 20
_SEPARATOR = 16
"""Zero bytes between the search tree and the records."""
_NODES_AT_ONCE = 1 << 16
_SAMPLED_ADDRESSES = 500
_HIGH, _LOW = bytes(byte >> 4 for byte in range(256)), bytes(byte & 15 for byte in range(256))


def kinds_in(path: str) -> frozenset[DatabaseKind]:
    """The kinds of facts in the records of the file. Raises one of DAMAGE if anything in it is wrong."""
    with (
        maxminddb.open_database(path, maxminddb.MODE_MMAP) as reader,
        Path(path).open("rb") as file,
        mmap(file.fileno(), 0, access=ACCESS_READ) as whole,
    ):
        about = reader.metadata()
        _ask_all_over(reader, about.ip_version)
        _demand_texts_as_keys([about.description, about.languages])
        first = about.search_tree_size + _SEPARATOR
        decode = Decoder(whole, first).decode
        missing = set(DatabaseKind)
        for offset in _distinct(whole, about, len(whole) - first):
            record, _ = decode(first + offset)
            _demand_texts_as_keys(record)
            if isinstance(record, dict):
                missing -= {kind for kind in missing if is_of(kind, record)}
        return frozenset(set(DatabaseKind) - missing)


def _ask_all_over(reader: maxminddb.Reader, ip_version: int) -> None:
    """Looks up evenly spaced addresses. Raises InvalidDatabaseError where the search tree leads nowhere."""
    rooms: list[tuple[type[IPv4Address | IPv6Address], int, int]] = [(IPv4Address, 0, 2**32)]
    if ip_version != 4:  # noqa: PLR2004
        rooms.append((IPv6Address, 2**125, 2**125))
    for address, first, room in rooms:
        for i in range(_SAMPLED_ADDRESSES):
            reader.get(address(first + i * room // _SAMPLED_ADDRESSES))


def _distinct(whole: mmap, about: Metadata, size: int) -> set[int]:
    """The offsets, from the first record, of all records that the search tree leads to."""
    none, found = about.node_count, set[int]()
    for pointers in _pointers(whole, about):
        found.update(pointer for pointer in pointers if pointer > none)
    if found and (min(found) < none + _SEPARATOR or max(found) >= none + _SEPARATOR + size):
        raise maxminddb.InvalidDatabaseError("the search tree leads to where no record is")
    return {pointer - none - _SEPARATOR for pointer in found}


def _pointers(whole: mmap, about: Metadata) -> Iterator["array[int]"]:
    """All pointers of the search tree, two per node, unordered: of a few thousand nodes at a time."""
    width = about.node_byte_size
    for start in range(0, about.search_tree_size, _NODES_AT_ONCE * width):
        nodes = whole[start : min(start + _NODES_AT_ONCE * width, about.search_tree_size)]
        yield from map(_numbers, _as_32_bits(nodes, width))


def _as_32_bits(nodes: bytes, width: int) -> Iterator[bytes]:
    """The pointers in 4 bytes each. A node has two of 3 or 4 bytes, or of 3 and half the byte between."""
    if width == 8:  # noqa: PLR2004  bytes of two pointers
        yield nodes
        return
    count = len(nodes) // width
    for first, middle in ((0, _HIGH), (width - 3, _LOW)):
        wide = bytearray(4 * count)
        if width == 7:  # noqa: PLR2004  bytes of two pointers with 28 bits
            wide[0::4] = nodes[3::7].translate(middle)
        for byte in range(3):
            wide[byte + 1 :: 4] = nodes[first + byte :: width]
        yield bytes(wide)


def _numbers(big_endian: bytes) -> "array[int]":
    numbers = array("I", big_endian)
    if sys.byteorder == "little":
        numbers.byteswap()
    return numbers


def _demand_texts_as_keys(value: object) -> None:
    """Raises InvalidDatabaseError for a map key that is not a string."""
    if isinstance(value, dict):
        if not all(isinstance(key, str) for key in value):
            raise maxminddb.InvalidDatabaseError("a map key is not a string")
        for each in value.values():
            _demand_texts_as_keys(each)
    elif isinstance(value, list):
        for each in value:
            _demand_texts_as_keys(each)


# ── results of earlier checks ───────────────────────────────────────────────────────────────


def remembered(directory: Path, digest: str) -> frozenset[DatabaseKind] | None:
    """The kinds in a valid file with this SHA-256; None if it was not checked yet."""
    kinds = _all_remembered(directory).get(digest)
    try:
        return None if kinds is None else frozenset(map(DatabaseKind, kinds))
    except (TypeError, ValueError):
        return None


def remember(directory: Path, digest: str, kinds: frozenset[DatabaseKind]) -> None:
    """Keeps the result for the next start, which checks the file again if this cannot be written."""
    known = _all_remembered(directory) | {digest: sorted(kinds)}
    latest = dict(list(known.items())[-_MOST_REMEMBERED:])
    with suppress(OSError):
        # Readable also by the server when the operator installs as root, as the databases are.
        document = orjson.dumps({"check": CHECK, "sound": latest})
        durable.write(directory / REMEMBERED_IN, document, mode=0o644)


def _all_remembered(directory: Path) -> dict[str, list[str]]:
    try:
        document = orjson.loads((directory / REMEMBERED_IN).read_bytes())
    except (OSError, ValueError):
        return {}
    valid = isinstance(document, dict) and document.get("check") == CHECK
    known = document.get("sound") if valid else None
    return known if isinstance(known, dict) else {}
