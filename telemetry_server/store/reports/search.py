"""One text searched in everything: ids, keys, customers, addresses, operators, hostnames, versions, values.

Who may not see customers or full addresses does not find by them either: what is not allowed is not asked.
"""

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeAlias
from uuid import UUID

from telemetry_server.check.filters.filter_fields import INSTALLATIONS
from telemetry_server.check.filters.parser import BadFilter, parse_filter
from telemetry_server.check.filters.terms import term
from telemetry_server.check.searching import Meaning, Reading, as_term, readings
from telemetry_server.store.database import Pool
from telemetry_server.store.fleet.installations import Row, matching
from telemetry_server.store.queries import load
from telemetry_server.store.reading import TooSlow, read_rows

SQL = load(__name__)

MOST = 8
"""Of each kind; more are counted by the filter, or narrowed down by a longer text."""
_MOST_ADDRESSES = 20


@dataclass(frozen=True, slots=True)
class Sees:
    """What the searcher may find; `products`: their slugs, None: of all."""

    installations: bool
    licenses: bool
    customers: bool
    addresses: bool
    products: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class Hit:
    """One finding: an installation, license or customer by its `id`, or installations by a `filter`.

    `count`: its installations, or the licenses of a customer; None: not counted, or that took too long.
    """

    kind: str
    label: str
    id: UUID | None = None
    filter: str | None = None
    count: int | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """What the text was taken for (None: too short), the one it names exactly, and suggestions."""

    taken_for: str | None
    exact: Hit | None
    suggestions: list[Hit]


_Search: TypeAlias = "Callable[[_Searching, Reading], Awaitable[list[Hit]]]"


async def search(pool: Pool, text: str, *, sees: Sees, now: datetime) -> Found:
    """What is found by the text. Of its meanings, the first with a finding is what it was taken for."""
    searching = _Searching(pool, sees, now)
    taken_for, exact, hits = None, None, list[Hit]()
    for reading in readings(text):
        found = await _SEARCHES[reading.meaning](searching, reading)
        taken_for = taken_for or (str(reading.meaning) if found else None)
        if reading.meaning in _EXACT and len(found) == 1 and found[0].id is not None:
            exact = exact or found[0]
        hits += [hit for hit in found if hit not in hits]
    return Found(taken_for or (str(Meaning.WORDS) if text.strip() else None), exact, hits)


_EXACT = {Meaning.ID, Meaning.EMAIL}


@dataclass(frozen=True, slots=True)
class _Searching:
    pool: Pool
    sees: Sees
    now: datetime

    async def by_filter(self, *texts: str, kind: str, label: str | None = None) -> list[Hit]:
        """The installations of each filter that has any; none without the right to see them."""
        found = []
        for text in texts if self.sees.installations else ():
            count = await self._count(text)
            if count != 0:
                found.append(Hit(kind, label or text, filter=text, count=count))
        return found

    async def _count(self, text: str) -> int | None:
        try:
            wanted = parse_filter(text)
        except BadFilter:
            return 0
        if self.sees.products is not None:
            wanted += term(INSTALLATIONS["product"], "=", *sorted(self.sees.products))
        try:
            return await matching(self.pool, wanted, now=self.now)
        except TooSlow:
            return None
        except BadFilter:  # an unknown product
            return 0

    async def rows(self, name: str, *arguments: Any) -> list[Row]:
        try:
            return await read_rows(self.pool, SQL[name], *arguments)
        except TooSlow:
            return []

    async def licenses(
        self, identity: UUID | None = None, hint: str | None = None, order: str | None = None
    ) -> list[Hit]:
        if not self.sees.licenses:
            return []
        products = None if self.sees.products is None else sorted(self.sees.products)
        rows = await self.rows("licenses_found", identity, hint, order, products, MOST)
        return [
            Hit("license", f"…{row['key_hint']} {row['product']} {row['status']}", row["license_id"])
            for row in rows
        ]

    async def customers(
        self,
        identity: UUID | None = None,
        email: str | None = None,
        domain: str | None = None,
        account: str | None = None,
        words: str = "",
    ) -> list[Hit]:
        if not self.sees.customers:
            return []
        rows = await self.rows("customers_found", identity, email, domain, account, words, MOST)
        return [Hit("customer", row["label"], row["customer_id"], count=row["licenses"]) for row in rows]


async def _by_filter(searching: _Searching, reading: Reading) -> list[Hit]:
    wanted = parse_filter(reading.text)
    if not searching.sees.addresses and wanted.fields & {"address", "network"}:
        return []
    return await searching.by_filter(reading.text, kind="installations")


async def _by_id(searching: _Searching, reading: Reading) -> list[Hit]:
    identity = UUID(reading.text)
    rows = await searching.rows("installation_of_id", identity) if searching.sees.installations else []
    products = searching.sees.products
    hits = [
        Hit("installation", reading.text, identity)
        for row in rows
        if products is None or row["product"] in products
    ]
    hits += await searching.licenses(identity) + await searching.customers(identity)
    return hits


async def _by_beginning(searching: _Searching, reading: Reading) -> list[Hit]:
    return await searching.by_filter(as_term("id", reading.text), kind="installations")


async def _by_email(searching: _Searching, reading: Reading) -> list[Hit]:
    return await searching.customers(email=reading.text, domain=reading.text.removeprefix("@"))


async def _by_address(searching: _Searching, reading: Reading) -> list[Hit]:
    if not searching.sees.addresses:
        return []
    field = "address" if reading.meaning is Meaning.ADDRESS else "network"
    return await searching.by_filter(as_term(field, reading.text), kind=field)


async def _by_operator_number(searching: _Searching, reading: Reading) -> list[Hit]:
    return await searching.by_filter(as_term("asn", reading.text), kind="operator", label=f"AS{reading.text}")


async def _by_version(searching: _Searching, reading: Reading) -> list[Hit]:
    versions = [reading.text] if reading.text.endswith("*") else [reading.text, f"{reading.text}.*"]
    found = await searching.by_filter(*(as_term("version", one) for one in versions), kind="version")
    return found[:1] if len(found) == 2 and found[0].count == found[1].count else found  # noqa: PLR2004


async def _by_hint(searching: _Searching, reading: Reading) -> list[Hit]:
    return await searching.licenses(hint=reading.text)


async def _by_value(searching: _Searching, reading: Reading) -> list[Hit]:
    return await searching.by_filter(*reading.terms, kind="installations")


async def _by_hostname(searching: _Searching, reading: Reading) -> list[Hit]:
    hits = await searching.customers(domain=reading.text)
    if searching.sees.addresses:
        rows = await searching.rows("hostnames_found", reading.text, _MOST_ADDRESSES)
        if rows:
            addresses = f"address={','.join(row['address'] for row in rows)}"
            hits += await searching.by_filter(addresses, kind="hostname", label=reading.text)
    return hits


async def _by_words(searching: _Searching, reading: Reading) -> list[Hit]:
    lower = reading.text.lower()
    words = " & ".join(f"{word}:*" for word in re.findall(r"\w+", lower))
    hits = await searching.customers(account=reading.text, words=words)
    hits += await searching.licenses(order=reading.text)
    for row in await searching.rows("operators_found", lower, MOST):
        label = f"{row['organisation']} (AS{row['asn']})"
        hits += await searching.by_filter(as_term("asn", row["asn"]), kind="operator", label=label)
    fields = ("version", "edition", "os", "cloud", "source_detail")
    for field in fields if " " not in lower else ("source_detail",):
        hits += await searching.by_filter(as_term(field, reading.text), kind=field)
    return hits


_SEARCHES: Mapping[Meaning, _Search] = {
    Meaning.FILTER: _by_filter,
    Meaning.ID: _by_id,
    Meaning.BEGINNING_OF_ID: _by_beginning,
    Meaning.EMAIL: _by_email,
    Meaning.ADDRESS: _by_address,
    Meaning.NETWORK: _by_address,
    Meaning.OPERATOR_NUMBER: _by_operator_number,
    Meaning.VERSION: _by_version,
    Meaning.KEY_HINT: _by_hint,
    Meaning.VALUE: _by_value,
    Meaning.HOSTNAME: _by_hostname,
    Meaning.WORDS: _by_words,
}
