"""Where an address is, as far as the installed databases know: country, city, network operator, hosting.

All of it is approximate, so each place says which database told it, how old that is and how wide
a network it speaks of. Without a database every place is unknown, and everything else works.
"""

from collections.abc import Callable, Iterable, Mapping
from datetime import date
from functools import cached_property, lru_cache, partial
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from pathlib import Path
from socket import AF_INET, inet_pton
from typing import TypeAlias, TypeVar

import orjson
from msgspec import Struct
from msgspec.structs import asdict

from telemetry_server.check.networks import Network, unmapped
from telemetry_server.enrich.places import hosting
from telemetry_server.enrich.places.databases import (
    SLOW,
    Address,
    Attribution,
    Database,
    Fingerprint,
    UnusableDatabase,
)
from telemetry_server.enrich.places.hosting import Hosting, HostingList
from telemetry_server.enrich.places.records import DatabaseKind, Facts
from telemetry_server.errors import OutOfFiles

_File = TypeVar("_File", Database, HostingList)

REMEMBERED = 32_768
"""Addresses whose place is kept in memory: a few megabytes."""


class Place(Struct, frozen=True, dict=True):
    """What is known of an address's place; None is unknown.

    country         ISO 3166-1 alpha-2, upper case
    region, city    English names
    asn             number of the network's operator, without "AS"
    organisation    name of the network's operator
    source          the databases that told it, joined by " + "
    built_on        the day the oldest of them was put together
    prefix_length   of the widest network that all of this is said of
    hosting         whether the network's operator rents out servers
    hosting_source  the lists that told it, each with its month
    """

    country: str | None = None
    region: str | None = None
    city: str | None = None
    asn: int | None = None
    organisation: str | None = None
    source: str | None = None
    built_on: date | None = None
    prefix_length: int | None = None
    hosting: bool | None = None
    hosting_source: str | None = None

    @cached_property
    def document(self) -> str:
        """What is known, as a JSON object. Equal places of one database are one object: it is made once."""
        known = {name: value for name, value in asdict(self).items() if value is not None}
        return orjson.dumps(known).decode()


UNKNOWN = Place()

_BLIND = (
    "hosting.txt: It lists AS numbers, and without asn.mmdb no address has one: what is in none of its "
    "networks is unknown. Run: telemetry-server geoip install"
)
_FACTS = ("country", "region", "city", "asn", "organisation")
# Many addresses are in the same place; to find it again is faster than to make it, and takes no memory.
_shared = lru_cache(4_096)(Place)

# Networks as (network, mask) by version: these tests cost a tenth of `address in network`.
_Numbers: TypeAlias = Mapping[int, tuple[tuple[int, int], ...]]


def _numbers(of_4: tuple[str, ...], of_6: tuple[str, ...]) -> _Numbers:
    return {
        version: tuple((int(each.network_address), int(each.netmask)) for each in map(ip_network, networks))
        for version, networks in ((4, of_4), (6, of_6))
    }


# Never in a database.
_LOCAL = _numbers(
    (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.168.0.0/16",
    ),
    ("::/127", "fc00::/7", "fe80::/10"),
)
# Multicast and broadcast: no host sends from there.
_NO_HOST = _numbers(("224.0.0.0/4", "255.255.255.255/32"), ("ff00::/8",))


class Atlas:
    """Places, from whichever of country.mmdb, city.mmdb, asn.mmdb, hosting.mmdb and hosting.txt are in
    `directory`.

    The databases in use are one value that `refresh` replaces, together with the memory of earlier
    look-ups. So a look-up sees the old databases or the new ones, never a mixture, from any thread;
    the old ones close when the last look-up lets go of them.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._refused: dict[str, tuple[Fingerprint | None, str]] = {}
        self._use({}, None)
        self.refresh()

    def place(self, address: Address | str) -> Place:
        """The place of `address`. Never raises: what is no public address is nowhere."""
        try:
            return self._find(address)
        except ValueError:
            return UNKNOWN

    def refresh(self) -> bool:
        """Take new, changed and removed files into use; whether there were any.

        A file that can't be used is told in `problems`, and the database before it stays in use.
        Reads the changed files whole: in a server, call it in a thread.
        """
        found = {kind: database for kind in DatabaseKind if (database := self._database(kind))}
        listed = self._current(hosting.FILENAME, self._listed, HostingList.read)
        if changed := (found, listed) != (self._databases, self._listed):
            self._use(found, listed)
        return changed

    @property
    def databases(self) -> Mapping[DatabaseKind, Database]:
        """The databases in use."""
        return self._databases

    @property
    def hosting_list(self) -> HostingList | None:
        """The operator's list in use."""
        return self._listed

    @property
    def problems(self) -> tuple[str, ...]:
        """What an operator should know and mend, in sentences."""
        refused = [problem for _, problem in list(self._refused.values())]
        damaged = [database.problem for database in self._databases.values()]
        blind = self._listed and self._listed.operators and DatabaseKind.ASN not in self._databases
        return tuple(filter(None, (SLOW, *refused, *damaged, _BLIND if blind else "")))

    @property
    def attributions(self) -> tuple[Attribution, ...]:
        """What pages that show places have to show beside them, by the licenses of the databases."""
        owed = (database.attribution for database in self._databases.values())
        return tuple(dict.fromkeys(filter(None, owed)))

    def _use(self, databases: Mapping[DatabaseKind, Database], listed: HostingList | None) -> None:
        self._databases, self._listed = databases, listed
        asked = tuple(database for kind, database in databases.items() if kind is not DatabaseKind.HOSTING)
        lists = Hosting(databases.get(DatabaseKind.HOSTING), listed)
        self._find: Callable[[Address | str], Place] = lru_cache(REMEMBERED)(partial(_place, asked, lists))

    def _database(self, kind: DatabaseKind) -> Database | None:
        return self._current(kind.filename, self._databases.get(kind), lambda path: Database.open(path, kind))

    def _current(
        self, filename: str, in_use: _File | None, open_file: Callable[[Path], _File]
    ) -> _File | None:
        """What is to be used of that file from now on."""
        path, seen = self._directory / filename, None
        try:
            seen = Fingerprint.of(path)
            if filename in self._refused and self._refused[filename][0] == seen:
                return in_use
            if in_use is None or in_use.fingerprint != seen:
                in_use = open_file(path)
        except FileNotFoundError:
            in_use = None
        except UnusableDatabase as problem:
            self._refused[filename] = seen, f"{filename}: {problem}"
            return in_use
        except OSError as problem:
            # A missing permission or a full disk may pass without a change of the file: try each time.
            advice = (
                "Raise the limit of open files"
                if OutOfFiles.means(problem)
                else "Make it readable for the server"
            )
            self._refused[filename] = None, f"{filename}: {problem.strerror}. {advice}."
            return in_use
        self._refused.pop(filename, None)
        return in_use


def is_public(address: str) -> bool:
    """Whether it is an address that others may know something of. Raises ValueError if it is none."""
    return public_address(address) is not None


def public_address(address: str) -> Address | None:
    """The address, if others may know something of it, out of an IPv6 one that maps it.

    None for a local one. Raises ValueError for what is no address.
    """
    plain = _plain(address)
    return None if _is_local(plain) else plain


def holds_public(network: Network) -> bool:
    """Whether the public address of a host can be in it: not where all of it is local or multicast."""
    plain = unmapped(network)
    number, mask = int(plain.network_address), int(plain.netmask)
    nowhere = (*_LOCAL[plain.version], *_NO_HOST[plain.version])
    return not any(mask & wide == wide and number & wide == first for first, wide in nowhere)


def _place(databases: Iterable[Database], lists: Hosting, address: Address | str) -> Place:
    """Raises ValueError if `address` isn't one."""
    address = _plain(address)
    return UNKNOWN if _is_local(address) else _ask(databases, lists, address)


def _plain(address: Address | str) -> Address:
    """The address itself, out of text or from inside an IPv6 one. Raises ValueError."""
    if isinstance(address, str):
        address = _parsed(address)
    if isinstance(address, IPv6Address):
        address = address.ipv4_mapped or address
    return address


def _parsed(address: str) -> Address:
    """As ip_address, whose own parser takes four times as long over most addresses. Raises ValueError."""
    try:
        return IPv4Address(inet_pton(AF_INET, address))
    except (OSError, UnicodeEncodeError):
        return ip_address(address)


def _is_local(address: Address) -> bool:
    number = int(address)
    for network, mask in _LOCAL[address.version]:  # noqa: SIM110 - half the time of any()
        if number & mask == network:
            return True
    return False


def _ask(databases: Iterable[Database], lists: Hosting, address: Address) -> Place:
    known: Facts = {}
    sources, built_on, prefix_length = "", None, 0
    for database in databases:
        if database.kind is DatabaseKind.COUNTRY and "country" in known:
            continue  # one source for all of geography: no city of one country in another
        facts, length = database.find(address)
        if facts:
            known |= facts
            sources = f"{sources} + {database.source}" if sources else database.source
            built_on = _older(built_on, database.built_on)
            prefix_length = max(prefix_length, length)
    rented, said_by = lists.of(address, known.get("asn"))
    if not sources and rented is None:
        return UNKNOWN
    told = sources or None, built_on, prefix_length or None
    return _shared(*map(known.get, _FACTS), *told, rented, said_by)


def _older(one: date | None, other: date | None) -> date | None:
    return min(one, other) if one and other else one or other
