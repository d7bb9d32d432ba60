"""Whether an address belongs to somebody who rents out servers, as far as the operator's lists know.

There are two: a database (`hosting.mmdb`, such as GeoIP2 Anonymous IP), and a list of the operator's
own, `hosting.txt`, with a network or an AS number on each line:

    # who rents out servers
    192.0.2.0/24
    2001:db8::/32
    AS64500

A list with a line that can't be read is refused as a whole: without that line, what it lists would
pass for no hosting.
"""

import re
from bisect import bisect_right
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import partial
from ipaddress import IPv4Network, IPv6Network, ip_network
from itertools import islice
from pathlib import Path
from typing import Self, TypeAlias

from telemetry_server.enrich.places.databases import Address, Database, Fingerprint, UnusableDatabase
from telemetry_server.enrich.places.records import MAX_ASN
from telemetry_server.text import decoded

FILENAME = "hosting.txt"
LARGEST_BYTES = 64 << 20

_PROBLEMS_TOLD, _LONGEST_TOLD = 5, 200
_AS_NUMBER = re.compile(r"(?:AS)?([0-9]{1,10})", re.ASCII | re.IGNORECASE)

_Network: TypeAlias = IPv4Network | IPv6Network
_Runs: TypeAlias = tuple[list[int], list[int]]
"""Where runs of addresses begin, in order, and where each of them ends."""


@dataclass(frozen=True, slots=True, eq=False)
class HostingList:
    """What the file says. `built_on` is the day it was last written."""

    fingerprint: Fingerprint
    built_on: date
    networks: int
    operators: frozenset[int]
    runs: dict[int, _Runs]

    source = FILENAME

    @classmethod
    def read(cls, path: Path) -> Self:
        """Raises UnusableDatabase with the numbers of the wrong lines, and OSError."""
        before = Fingerprint.of(path)
        if before.size > LARGEST_BYTES:
            raise UnusableDatabase(f"The file is larger than {LARGEST_BYTES} bytes: no list is.")
        text = decoded(path.read_bytes(), errors="replace")
        if Fingerprint.of(path) != before:
            raise UnusableDatabase("The file was being written while it was read. Try again.")
        networks, operators = _entries(text)
        written_on = datetime.fromtimestamp(before.modified_ns / 1e9, UTC).date()
        runs = {version: _runs(n for n in networks if n.version == version) for version in (4, 6)}
        return cls(before, written_on, len(networks), frozenset(operators), runs)

    def lists(self, address: Address) -> bool:
        """Whether one of its networks holds the address."""
        starts, ends = self.runs[address.version]
        number = int(address)
        position = bisect_right(starts, number) - 1
        return position >= 0 and number <= ends[position]


class Hosting:
    """The lists in use, and what they say together."""

    def __init__(self, database: Database | None, listed: HostingList | None) -> None:
        self._asked: list[tuple[str, Callable[[Address, int | None], bool | None]]] = []
        if listed is not None:
            self._asked.append((_dated(listed), partial(_by_list, listed)))
        if database is not None:
            self._asked.append((_dated(database), partial(_by_database, database)))
        self._all = " + ".join(source for source, _ in self._asked)

    def of(self, address: Address, asn: int | None) -> tuple[bool | None, str | None]:
        """Whether the address is one of a hosting provider's, and who says so: "hosting.txt 2026-11".

        None where no list is in use, or where one of them can't tell and no other says yes. The month
        is that of the list; by the day, each new list would be a new state of every installation.
        """
        answers = [ask(address, asn) for _, ask in self._asked]
        if True in answers:
            agreeing = zip(self._asked, answers, strict=True)
            return True, " + ".join(source for (source, _), answer in agreeing if answer)
        if not answers or None in answers:
            return None, None
        return False, self._all


def _by_list(listed: HostingList, address: Address, asn: int | None) -> bool | None:
    if listed.lists(address) or asn in listed.operators:
        return True
    return None if asn is None and listed.operators else False


def _by_database(database: Database, address: Address, _: int | None) -> bool | None:
    known, prefix_length = database.find(address)
    return known.get("hosting", False) if prefix_length else None


def _dated(source: Database | HostingList) -> str:
    return f"{source.source} {source.built_on:%Y-%m}" if source.built_on else source.source


def _entries(text: str) -> tuple[list[_Network], set[int]]:
    networks: list[_Network] = []
    operators: set[int] = set()
    problems = []
    for number, line in enumerate(text.splitlines(), 1):
        entry = line.partition("#")[0].strip()
        try:
            if operator := _operator(entry):
                operators.add(operator)
            elif entry:
                networks.append(ip_network(entry))
        except ValueError as problem:
            problems.append(f"line {number}: {str(problem)[:_LONGEST_TOLD]}")
    if problems:
        raise UnusableDatabase(_told(problems))
    if not networks and not operators:
        raise UnusableDatabase("The file lists nothing. Remove it, or list a network or an AS number.")
    return networks, operators


def _operator(entry: str) -> int | None:
    """The AS number; None where it is none. Raises ValueError where it can be none."""
    parts = _AS_NUMBER.fullmatch(entry)
    if parts is None:
        return None
    if not 0 < int(parts[1]) <= MAX_ASN:
        raise ValueError(f"{entry} is no AS number")
    return int(parts[1])


def _told(problems: list[str]) -> str:
    more = len(problems) - _PROBLEMS_TOLD
    told = "; ".join(islice(problems, _PROBLEMS_TOLD)) + (f"; and {more} more" if more > 0 else "")
    return (
        f"{told}. A line is a network (192.0.2.0/24, 2001:db8::/32), an AS number (AS64500) or a # comment."
    )


def _runs(networks: Iterable[_Network]) -> _Runs:
    """The networks of one version as runs of addresses, apart."""
    starts: list[int] = []
    ends: list[int] = []
    for first, last in sorted((int(n.network_address), int(n.broadcast_address)) for n in networks):
        if ends and first <= ends[-1] + 1:
            ends[-1] = max(ends[-1], last)
        else:
            starts.append(first)
            ends.append(last)
    return starts, ends
