"""Whether an address belongs to a hosting provider, according to the operator's lists.

There are two: a database (`hosting.mmdb`, such as GeoIP2 Anonymous IP), and a custom list, `hosting.txt`,
with a network or an AS number on each line:

    # hosting providers
    192.0.2.0/24
    2001:db8::/32
    AS64500

A list with a wrong line is refused as a whole: without that line, its entry would count as no hosting.
"""

import re
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from ipaddress import ip_network
from pathlib import Path
from typing import Self, TypeAlias

from telemetry_server.check.networks import Network
from telemetry_server.enrich.places.databases import Address, Database, Fingerprint, UnusableDatabase
from telemetry_server.enrich.places.records import MAX_ASN
from telemetry_server.text import decoded

FILENAME = "hosting.txt"
LARGEST_BYTES = 64 << 20

_PROBLEMS_SHOWN, _LONGEST_SHOWN = 5, 200
_AS_NUMBER = re.compile(r"(?:AS)?([0-9]{1,10})", re.ASCII | re.IGNORECASE)

_Runs: TypeAlias = tuple[list[int], list[int]]
"""The first addresses of runs, sorted, and the last address of each."""


@dataclass(frozen=True, slots=True, eq=False)
class HostingList:
    """The content of the file. `built_on` is the day of its last change."""

    fingerprint: Fingerprint
    built_on: date
    networks: int
    operators: frozenset[int]
    runs: dict[int, _Runs]

    source = FILENAME

    @classmethod
    def read(cls, path: Path) -> Self:
        """Reads the file. Raises UnusableDatabase with the numbers of the wrong lines, and OSError."""
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
        """Whether one of its networks contains the address."""
        starts, ends = self.runs[address.version]
        number = int(address)
        position = bisect_right(starts, number) - 1
        return position >= 0 and number <= ends[position]


@dataclass(frozen=True, slots=True)
class Hosting:
    """The lists in use, asked together."""

    database: Database | None
    listed: HostingList | None

    def of(self, address: Address, asn: int | None) -> tuple[bool | None, str | None]:
        """Whether the address is one of a hosting provider's, and the source: "hosting.txt 2026-11".

        None if no list is in use, or if one of them does not know and no other says yes.
        """
        answers: list[tuple[str, bool | None]] = []
        if self.listed is not None:
            unknown = asn is None and self.listed.operators
            listed = self.listed.lists(address) or asn in self.listed.operators
            answers.append((_dated(self.listed), True if listed else None if unknown else False))
        if self.database is not None:
            known, prefix_length = self.database.find(address)
            answers.append((_dated(self.database), known.get("hosting", False) if prefix_length else None))
        if agreeing := [source for source, answer in answers if answer]:
            return True, " + ".join(agreeing)
        if not answers or any(answer is None for _, answer in answers):
            return None, None
        return False, " + ".join(source for source, _ in answers)


def _dated(source: Database | HostingList) -> str:
    """The source and its month: with the day, each new list would be a new state of every installation."""
    return f"{source.source} {source.built_on:%Y-%m}" if source.built_on else source.source


def _entries(text: str) -> tuple[list[Network], set[int]]:
    """The networks and the AS numbers in the text. Raises UnusableDatabase."""
    networks: list[Network] = []
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
            problems.append(f"line {number}: {str(problem)[:_LONGEST_SHOWN]}")
    if problems:
        more = len(problems) - _PROBLEMS_SHOWN
        shown = "; ".join(problems[:_PROBLEMS_SHOWN]) + (f"; and {more} more" if more > 0 else "")
        forms = "a network (192.0.2.0/24, 2001:db8::/32), an AS number (AS64500) or a # comment"
        raise UnusableDatabase(f"{shown}. A line is {forms}.")
    if not networks and not operators:
        raise UnusableDatabase("The file lists nothing. Remove it, or list a network or an AS number.")
    return networks, operators


def _operator(entry: str) -> int | None:
    """The AS number; None for another entry. Raises ValueError for an impossible number."""
    parts = _AS_NUMBER.fullmatch(entry)
    if parts is None:
        return None
    if not 0 < int(parts[1]) <= MAX_ASN:
        raise ValueError(f"{entry} is no AS number")
    return int(parts[1])


def _runs(networks: Iterable[Network]) -> _Runs:
    """The networks of one version as separate runs of addresses."""
    starts: list[int] = []
    ends: list[int] = []
    for first, last in sorted((int(n.network_address), int(n.broadcast_address)) for n in networks):
        if ends and first <= ends[-1] + 1:
            ends[-1] = max(ends[-1], last)
        else:
            starts.append(first)
            ends.append(last)
    return starts, ends
