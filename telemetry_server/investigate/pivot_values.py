"""Reading for pivots: the copies that share a value, and how many they are."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from ipaddress import ip_address, ip_network
from typing import Any, NamedTuple
from uuid import UUID

from telemetry_server.errors import BadRequest, NotFound
from telemetry_server.investigate.pivot import (
    PivotCopy,
    PivotGraph,
    PivotKind,
    PivotNode,
    PivotValue,
    Sharing,
    add_copies,
    add_values,
    fold,
    of_copy,
)
from telemetry_server.investigate.who import Clues, Guess, guesses
from telemetry_server.store.database import Connection
from telemetry_server.store.queries import fill, load

SQL = load(__name__)

_COPIES_OF_A_VALUE = 60
_KEY_DIGITS = 64


class NoSuchValue(NotFound):
    """No copy has this value."""


class _Column(NamedTuple):
    """How installations that have one of the values $1 (text[]) are found, and which value each has."""

    has: str
    value: str


_OF_LICENSE = _Column("f.license_id = ANY ($1::text[]::uuid[])", "f.license_id::text")
_COLUMNS: Mapping[PivotKind, _Column] = {
    PivotKind.INSTALLATION: _Column(
        "f.installation_id = ANY ($1::text[]::uuid[])", "f.installation_id::text"
    ),
    PivotKind.LICENSE: _OF_LICENSE,
    PivotKind.KEY: _Column(
        "f.license_key_hash = ANY ($1::text[]::bytea[])", "encode(f.license_key_hash, 'hex')"
    ),
    PivotKind.ADDRESS: _Column("i.client_address = ANY ($1::text[]::inet[])", "abbrev(i.client_address)"),
    PivotKind.OPERATOR: _Column("f.asn = ANY ($1::text[])", "f.asn"),
}


def pivot_value(kind: PivotKind, text: str) -> PivotValue:
    """The value as it is stored. Raises BadRequest for what is none of its kind."""
    text = text.strip().lower()
    try:
        match kind:
            case PivotKind.ADDRESS:  # or a network, where addresses are shortened
                text = str(ip_network(text)) if "/" in text else str(ip_address(text))
            case PivotKind.OPERATOR:
                text = str(int(text.removeprefix("as")))
            case PivotKind.KEY:
                text = f"{int(text, 16):064x}" if len(text) == _KEY_DIGITS else str(UUID(text))
            case _:
                text = str(UUID(text))
    except ValueError:
        wanted = {
            PivotKind.ADDRESS: "an address, like 203.0.113.7",
            PivotKind.OPERATOR: "the number of an autonomous system, like AS64500",
            PivotKind.KEY: "the hash of a key, 64 hexadecimal digits",
        }.get(kind, "an id (UUID)")
        raise BadRequest(f"A value of the kind {kind} is {wanted}.") from None
    return PivotValue(kind, text)


async def links_of(
    connection: Connection, first: PivotValue, *, rings: int = 2, least: int = 2
) -> PivotGraph:
    """The values around `first` that at least `least` copies share; a hub is followed only if it is first.

    Raises NoSuchValue.
    """
    graph = PivotGraph()
    found = (await _sharing(connection, [first])).get(first)
    if found is None or not found.copies:
        raise NoSuchValue
    graph.add(PivotNode(first, first.id, sharing=found))
    waiting = [first]
    for _ in range(rings):
        waiting = await _grow(connection, graph, waiting, least)
    fold(graph)
    return graph


async def guess_organisations(connection: Connection, installation_id: UUID) -> list[Guess]:
    """Who may run an installation, the most certain first."""
    row = await connection.fetchrow(SQL["network_of"], installation_id)
    if row is None:
        return []
    clues = dict(row)
    owner = await connection.fetchrow(SQL["owner_of"], clues.pop("license_id"))
    return guesses(Clues(**clues, **(owner or {})))


async def _grow(
    connection: Connection, graph: PivotGraph, waiting: list[PivotValue], least: int
) -> list[PivotValue]:
    """Adds the copies of these values and what those share. Returns the values to follow next."""
    reached: dict[str, PivotCopy] = {}
    for value in waiting:
        copies = await _copies(connection, value)
        node = graph.nodes[value]
        add_copies(graph, value, copies, node.sharing or Sharing(len(copies), 0))
        node.label = next((copy.values[value] for copy in copies if value in copy.values), node.label)
        if value.kind is PivotKind.INSTALLATION and copies:
            node.label, node.verdict = copies[0].installation_id[:13], copies[0].verdict
        reached |= {copy.installation_id: copy for copy in copies if of_copy(copy) in graph.nodes}
    before = set(graph.nodes)
    sharing = await _sharing(connection, {value for copy in reached.values() for value in copy.values})
    for copy in reached.values():
        add_values(graph, copy, sharing, least)
    return [value for value, node in graph.nodes.items() if value not in before and not node.hub]


async def _copies(connection: Connection, value: PivotValue) -> list[PivotCopy]:
    column, ids = await _found_by(connection, value.kind, [value.id])
    rows = await connection.fetch(fill(SQL["copies_with"], has=column.has), ids, _COPIES_OF_A_VALUE)
    licenses = await _licenses(connection, {row["license_id"] for row in rows})
    return [_copy(row, licenses.get(row["license_id"])) for row in rows]


async def _sharing(connection: Connection, values: Iterable[PivotValue]) -> dict[PivotValue, Sharing]:
    by_kind: dict[PivotKind, list[str]] = defaultdict(list)
    for value in sorted(values):
        by_kind[value.kind].append(value.id)
    customers = by_kind.pop(PivotKind.CUSTOMER, [])
    found = {PivotValue(PivotKind.CUSTOMER, each): await _of_customer(connection, each) for each in customers}
    for kind, ids in by_kind.items():
        for row in await _counted(connection, kind, ids):
            known = await _licenses(connection, row["licenses"] or ())
            owners = {each["customer_id"] for each in known.values()} - {None}
            of_hosting = row["of_hosting"] and kind is PivotKind.OPERATOR
            found[PivotValue(kind, row["value"])] = Sharing(row["copies"], len(owners), of_hosting)
    return found


async def _of_customer(connection: Connection, customer: str) -> Sharing:
    rows = await _counted(connection, PivotKind.CUSTOMER, [customer])
    return Sharing(sum(row["copies"] for row in rows), 1)


async def _counted(connection: Connection, kind: PivotKind, ids: Sequence[str]) -> list[Any]:
    column, ids = await _found_by(connection, kind, ids)
    return list(await connection.fetch(fill(SQL["how_many_share"], has=column.has, value=column.value), ids))


async def _found_by(
    connection: Connection, kind: PivotKind, ids: Sequence[str]
) -> tuple[_Column, Sequence[str]]:
    """Customers are in no table of copies: their licenses are."""
    if kind is PivotKind.CUSTOMER:
        rows = [
            row for each in ids for row in await connection.fetch(SQL["licenses_of_customer"], UUID(each))
        ]
        return _OF_LICENSE, [str(row["license_id"]) for row in rows]
    return _COLUMNS[kind], [f"\\x{each}" for each in ids] if kind is PivotKind.KEY else ids


async def _licenses(connection: Connection, ids: Iterable[UUID | None]) -> dict[UUID, Any]:
    wanted = [each for each in ids if each is not None]
    return (
        {row["license_id"]: row for row in await connection.fetch(SQL["licenses"], wanted)} if wanted else {}
    )


def _copy(row: Mapping[str, Any], known: Mapping[str, Any] | None) -> PivotCopy:
    """A key that the registry knows is its license."""
    named = [
        (PivotKind.ADDRESS, row["address"], row["address"]),
        (PivotKind.OPERATOR, None if row["asn"] == "unknown" else row["asn"], row["organisation"]),
    ]
    if known is not None:
        named.insert(0, (PivotKind.CUSTOMER, known["customer_id"], known["customer"]))
        named.insert(1, (PivotKind.LICENSE, str(known["license_id"]), f"…{known['key_hint']}"))
    else:
        named.insert(0, (PivotKind.KEY, row["key"], f"…{row['hint']}" if row["hint"] else "without a hint"))
    return PivotCopy(
        row["installation_id"],
        row["product"],
        row["verdict"],
        {PivotValue(kind, each): label or each for kind, each, label in named if each},
    )
