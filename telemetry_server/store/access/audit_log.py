"""The Merkle tree over the audit log: leaves for new entries, roots, and proofs of single entries."""

import base64
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import orjson

from telemetry_server.errors import OperatorError
from telemetry_server.merkle_tree import (
    GrowingTree,
    Node,
    complete_nodes,
    consistency_nodes,
    fold,
    inclusion_path,
    path_nodes,
)
from telemetry_server.store.access.audit import commitment_of, content_of, hash_of_leaf
from telemetry_server.store.database import Connection
from telemetry_server.store.job_log import lock_number
from telemetry_server.store.queries import load

SQL = load(__name__)

STORED_LEVEL = 8
"""Hashes are stored from this level on: one row for 256 leaves."""
_AT_ONCE = 5_000
_LOCK = lock_number("number audit entries")


class AuditLogDamaged(OperatorError):
    """The audit log is damaged: run "telemetry-server audit verify"."""

    code = "audit_damaged"


class NoSuchEntry(OperatorError):
    """The audit log has no such entry: it does not exist, or was erased."""

    code = "no_such_entry"


@dataclass(frozen=True, slots=True)
class Proof:
    """That an entry is in the tree of `size` leaves: its salt, its content, and the hashes up to the root."""

    entry_id: str
    leaf: int
    salt: bytes
    content: bytes
    commitment: bytes
    size: int
    path: list[bytes]

    def with_checkpoint(self, note: str) -> str:
        """The proof as c2sp.org/tlog-proof; its extra data are the id, the salt and the content as JSON."""
        extra = orjson.dumps(
            {"entry_id": self.entry_id, "salt": self.salt.hex(), "content": self.content.decode()}
        )
        path = "".join(f"{base64.b64encode(each).decode()}\n" for each in self.path)
        head = f"c2sp.org/tlog-proof@v1\nextra {base64.b64encode(extra).decode()}\nindex {self.leaf}\n"
        return f"{head}{path}\n{note}"


async def number_entries(connection: Connection) -> int:
    """Gives each waiting entry its leaf; returns their number. Does nothing while another process does it."""
    numbered = 0
    while await connection.fetchval(SQL["any_waiting"]):
        async with connection.transaction():
            if not await connection.fetchval(SQL["try_lock"], _LOCK):
                break
            some = await _number_some(connection)
        numbered += some
        if not some:
            break
    return numbered


async def _number_some(connection: Connection) -> int:
    rows = await connection.fetch(SQL["waiting"], _AT_ONCE)
    first = await size_of(connection)
    edge = complete_nodes(0, first)
    known = await node_hashes(connection, edge)
    tree = GrowingTree(first, [known[node] for node in edge])
    leaves, nodes = [], []
    for leaf, row in enumerate(rows, first):
        commitment = commitment_of(row["salt"], content_of(leaf, row))
        leaves.append((leaf, row["entry_id"], commitment))
        completed = tree.append(hash_of_leaf(row["entry_id"], commitment))
        nodes += [(*node, hashed) for node, hashed in completed if node.level >= STORED_LEVEL]
    await connection.execute(SQL["add_leaves"], *_columns(leaves, 3))
    await connection.execute(SQL["add_nodes"], *_columns(nodes, 3))
    await connection.execute(SQL["no_longer_waiting"], [row["entry_id"] for row in rows])
    return len(rows)


async def size_of(connection: Connection) -> int:
    """The number of leaves."""
    return int(await connection.fetchval(SQL["size"]))


async def root_of(connection: Connection, size: int) -> bytes:
    """The root of the tree of the first `size` leaves, from stored hashes. Raises AuditLogDamaged."""
    nodes = complete_nodes(0, size)
    hashes = await node_hashes(connection, nodes)
    return fold(hashes[node] for node in nodes)


async def prove(connection: Connection, entry: Any, size: int) -> Proof:
    """The proof of an entry, by its id or leaf, in the tree of `size` leaves.

    Raises NoSuchEntry or AuditLogDamaged.
    """
    by_leaf = isinstance(entry, int)
    row = await connection.fetchrow(SQL["leaf_with_entry"], *((entry, None) if by_leaf else (None, entry)))
    if row is None:
        raise NoSuchEntry
    leaf, content = row["leaf"], content_of(row["leaf"], row)
    if commitment_of(row["salt"], content) != row["commitment"]:
        raise AuditLogDamaged
    nodes = [node for beside in path_nodes(leaf, size) for node in beside]
    path = inclusion_path(leaf, size, await node_hashes(connection, nodes))
    return Proof(str(row["entry_id"]), leaf, row["salt"], content, row["commitment"], size, path)


async def prove_consistency(connection: Connection, old: int, size: int) -> list[bytes]:
    """The proof that the tree of `size` leaves begins with that of `old`. Raises AuditLogDamaged."""
    proof = consistency_nodes(old, size) if old else []
    hashes = await node_hashes(connection, [node for beside in proof for node in beside])
    return [fold(hashes[node] for node in beside) for beside in proof]


async def node_hashes(connection: Connection, nodes: Iterable[Node]) -> dict[Node, bytes]:
    """The hashes of complete subtrees, small ones calculated from their leaves. Raises AuditLogDamaged."""
    wanted = set(nodes)
    stored = [node for node in wanted if node.level >= STORED_LEVEL]
    rows = await connection.fetch(SQL["nodes"], *_columns(stored, 2))
    found = {Node(row["level"], row["position"]): row["hash"] for row in rows}
    small = wanted.difference(stored)
    leaves: dict[int, bytes] = {}
    for block in {node.position << node.level >> STORED_LEVEL for node in small}:
        rows = await connection.fetch(SQL["leaves"], block << STORED_LEVEL, (block + 1) << STORED_LEVEL)
        leaves |= {row["leaf"]: hash_of_leaf(row["entry_id"], row["commitment"]) for row in rows}
    try:
        found |= {node: _root_of_leaves(node, leaves) for node in small}
    except KeyError:
        raise AuditLogDamaged from None
    if found.keys() != wanted:
        raise AuditLogDamaged
    return found


def _root_of_leaves(node: Node, leaves: dict[int, bytes]) -> bytes:
    tree = GrowingTree()
    for leaf in range(node.position << node.level, (node.position + 1) << node.level):
        tree.append(leaves[leaf])
    return tree.root


def _columns(rows: Iterable[tuple[Any, ...]], count: int) -> list[list[Any]]:
    return [list(column) for column in zip(*rows, strict=True)] or [[] for _ in range(count)]
