"""The place of an address, from the installed databases: country, city, network operator, hosting.

Places are approximate, so each one names its databases, their age and the width of the network. Without a
database every place is unknown, and everything else works.
"""

from collections.abc import Callable, Iterable, Mapping
from datetime import date
from functools import cached_property, lru_cache, partial
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from pathlib import Path
from socket import AF_INET, inet_pton
from typing import TypeVar

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
    """The place of an address; None is unknown.

    country         ISO 3166-1 alpha-2, upper case
    region, city    English names
    asn             number of the network's operator, without "AS"
    organisation    name of the network's operator
    source          the databases, joined by " + "
    built_on        the build date of the oldest of them
    prefix_length   of the widest network to which all of this applies
    hosting         whether the network's operator rents out servers
    hosting_source  the lists that say so, each with its month
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
        """The known members as a JSON object; made once, as equal places of one database are one object."""
        known = {name: value for name, value in asdict(self).items() if value is not None}
        return orjson.dumps(known).decode()


UNKNOWN = Place()

_BLIND = (
    "hosting.txt: It lists AS numbers, and without asn.mmdb no address has one: an address outside its "
    "networks is unknown. Run: telemetry-server geoip install"
)
_FACTS = ("country", "region", "city", "asn", "organisation")
# Many addresses are in the same place: a shared Place is faster to find than to make, and saves memory.
_shared = lru_cache(4_096)(Place)


def _numbers(of_4: tuple[str, ...], of_6: tuple[str, ...]) -> Mapping[int, tuple[tuple[int, int], ...]]:
    """Networks as (network, mask) by version: their tests cost a tenth of `address in network`."""
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
    """Places from the files country.mmdb, city.mmdb, asn.mmdb, hosting.mmdb and hosting.txt in `directory`.

    `databases` and `hosting_list`, the operator's, are in use. `refresh` replaces them together with the
    cache of earlier look-ups, so a look-up from any thread uses the old ones or the new ones, never a
    mixture; the old ones are closed after the last look-up that uses them.
    """

    databases: Mapping[DatabaseKind, Database]
    hosting_list: HostingList | None

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._refused: dict[str, tuple[Fingerprint | None, str]] = {}
        self._use({}, None)
        self.refresh()

    def place(self, address: Address | str) -> Place:
        """The place of `address`; UNKNOWN for all but a public address. Never raises."""
        try:
            return self._find(address)
        except ValueError:
            return UNKNOWN

    def refresh(self) -> bool:
        """Starts to use new and changed files, and stops using removed ones; returns whether there were any.

        An unusable file is reported in `problems`, and the database before it stays in use. Changed files
        are read whole: in a server, call it in a thread.
        """
        found: dict[DatabaseKind, Database] = {}
        for kind in DatabaseKind:
            open_it = partial(Database.open, kind=kind)
            if database := self._current(kind.filename, self.databases.get(kind), open_it):
                found[kind] = database
        listed = self._current(hosting.FILENAME, self.hosting_list, HostingList.read)
        if changed := (found, listed) != (self.databases, self.hosting_list):
            self._use(found, listed)
        return changed

    @property
    def problems(self) -> tuple[str, ...]:
        """Problems that the operator should fix, in sentences."""
        refused = [problem for _, problem in list(self._refused.values())]
        damaged = [database.problem for database in self.databases.values()]
        blind = self.hosting_list and self.hosting_list.operators and DatabaseKind.ASN not in self.databases
        return tuple(filter(None, (SLOW, *refused, *damaged, _BLIND if blind else "")))

    @property
    def attributions(self) -> tuple[Attribution, ...]:
        """The notices that the licenses of the databases require on pages that show places."""
        owed = (database.attribution for database in self.databases.values())
        return tuple(dict.fromkeys(filter(None, owed)))

    def _use(self, databases: Mapping[DatabaseKind, Database], listed: HostingList | None) -> None:
        self.databases, self.hosting_list = databases, listed
        asked = tuple(database for kind, database in databases.items() if kind is not DatabaseKind.HOSTING)
        lists = Hosting(databases.get(DatabaseKind.HOSTING), listed)
        self._find: Callable[[Address | str], Place] = lru_cache(REMEMBERED)(partial(_place, asked, lists))

    def _current(
        self, filename: str, in_use: _File | None, open_file: Callable[[Path], _File]
    ) -> _File | None:
        """The opened file to use from now on, if any; `in_use` is the present one."""
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


def public_address(address: Address | str) -> Address | None:
    """The address itself, or the IPv4 address of an IPv4-mapped one; None if it is local.

    Raises ValueError for a text that is not an address.
    """
    if isinstance(address, str):
        try:
            address = IPv4Address(inet_pton(AF_INET, address))  # in a quarter of the time of ip_address
        except (OSError, UnicodeEncodeError):
            address = ip_address(address)
    if isinstance(address, IPv6Address):
        address = address.ipv4_mapped or address
    number = int(address)
    for network, mask in _LOCAL[address.version]:  # in half the time of any()
        if number & mask == network:
            return None
    return address


def holds_public(network: Network) -> bool:
    """Whether the network has public addresses of hosts: not if all of it is local or multicast."""
    plain = unmapped(network)
    number, mask = int(plain.network_address), int(plain.netmask)
    nowhere = (*_LOCAL[plain.version], *_NO_HOST[plain.version])
    return not any(mask & wide == wide and number & wide == first for first, wide in nowhere)


def _place(databases: Iterable[Database], lists: Hosting, text: Address | str) -> Place:
    """The place of an address. Raises ValueError for a text that is not an address."""
    address = public_address(text)
    if address is None:
        return UNKNOWN
    known: Facts = {}
    sources: list[str] = []
    built_on: list[date] = []
    prefix_length = 0
    for database in databases:
        if database.kind is DatabaseKind.COUNTRY and "country" in known:
            continue  # one source for all of geography: no city of one country in another
        facts, length = database.find(address)
        if facts:
            known |= facts
            sources.append(database.source)
            built_on += filter(None, [database.built_on])
            prefix_length = max(prefix_length, length)
    rented, said_by = lists.of(address, known.get("asn"))
    if not sources and rented is None:
        return UNKNOWN
    found = " + ".join(sources) or None, min(built_on, default=None), prefix_length or None
    return _shared(*map(known.get, _FACTS), *found, rented, said_by)
