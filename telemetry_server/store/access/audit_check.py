"""Whether the audit log is intact: every entry against its leaf, and the tree against its checkpoints.

Names the first bad entry. Where the database was rewritten as a whole, each entry fits its leaf: then only a
checkpoint from outside shows it, and the first bad entry is after the last checkpoint that fits.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple
from uuid import UUID

from telemetry_server.merkle_tree import GrowingTree, Node
from telemetry_server.signed_note import Checkpoint, NoteVerifier, WrongNote
from telemetry_server.store.access.audit import commitment_of, content_of, hash_of_leaf
from telemetry_server.store.access.audit_log import STORED_LEVEL
from telemetry_server.store.database import Connection
from telemetry_server.store.queries import load

SQL = load(__name__)

_AT_ONCE = 5_000


class BadEntry(NamedTuple):
    """The first bad entry: its leaf, or that it is one from `leaf` to `last`.

    `leaf` is None for an entry that is not in the tree.
    """

    leaf: int | None
    last: int | None
    entry_id: UUID | None
    problem: str


@dataclass(slots=True)
class Verification:
    """The result: the numbers of leaves, erased entries, waiting entries and compared checkpoints."""

    entries: int = 0
    erased: int = 0
    waiting: int = 0
    checkpoints: int = 0
    root: bytes = b""
    first_bad: BadEntry | None = None

    @property
    def intact(self) -> bool:
        return self.first_bad is None


@dataclass(slots=True)
class _Known:
    """What the tree is compared with: stored hashes, and the roots that checkpoints give for a size."""

    nodes: dict[Node, bytes]
    stored: dict[int, bytes]
    outside: dict[int, set[bytes]]
    fitting_size: int = 0
    fitting_outside: int = 0


async def verify(
    connection: Connection, verifier: NoteVerifier, outside: Iterable[Checkpoint] = ()
) -> Verification:
    """Checks the whole log in one snapshot; `outside` are checkpoints from files, with valid signatures."""
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        await connection.execute("SET LOCAL cursor_tuple_fraction = 1")  # all rows are read
        result = Verification(waiting=await connection.fetchval(SQL["waiting"]))
        known = _Known(await _stored_nodes(connection), {}, defaultdict(set))
        for checkpoint in outside:
            known.outside[checkpoint.size].add(checkpoint.root)
        result.first_bad = await _read_checkpoints(connection, verifier, known)
        tree = GrowingTree()
        bad = await _read_leaves(connection, tree, known, result) or _at_the_end(tree, known)
        result.first_bad = bad or result.first_bad or await _outside_the_tree(connection)
        result.entries, result.root = tree.size, tree.root
        result.checkpoints = len(known.stored) + sum(map(len, known.outside.values()))
    return result


async def _stored_nodes(connection: Connection) -> dict[Node, bytes]:
    rows = await connection.fetch(SQL["all_nodes"])
    return {Node(row["level"], row["position"]): row["hash"] for row in rows}


async def _read_checkpoints(connection: Connection, verifier: NoteVerifier, known: _Known) -> BadEntry | None:
    for row in await connection.fetch(SQL["all_checkpoints"]):
        try:
            checkpoint = verifier.open(row["note"])
        except WrongNote as problem:
            text = f"the stored checkpoint of {row['size']} entries is not valid. {problem}"
            return BadEntry(None, None, None, text)
        known.stored[checkpoint.size] = checkpoint.root
    return None


async def _read_leaves(
    connection: Connection, tree: GrowingTree, known: _Known, result: Verification
) -> BadEntry | None:
    cursor = await connection.cursor(SQL["leaves_with_entries"])
    while rows := await cursor.fetch(_AT_ONCE):
        for row in rows:
            if bad := _take(row, tree, known, result) or _compare(tree, known):
                return bad
    return None


def _take(row: Any, tree: GrowingTree, known: _Known, result: Verification) -> BadEntry | None:
    """Checks an entry against its leaf, and the hashes above it that are complete now."""
    leaf = tree.size
    if row["leaf"] != leaf:
        return BadEntry(leaf, None, None, "its leaf is missing")
    if row["erased"]:
        result.erased += 1
    elif problem := _problem_of(leaf, row):
        return BadEntry(leaf, None, row["leaf_of"], problem)
    for node, hashed in tree.append(hash_of_leaf(row["leaf_of"], row["commitment"])):
        if node.level >= STORED_LEVEL and known.nodes.pop(node, None) != hashed:
            first = node.position << node.level
            return BadEntry(first, leaf, None, "one of these leaves does not fit the stored hash above them")
    return None


def _problem_of(leaf: int, row: Any) -> str | None:
    if row["salt"] is None:
        return "its entry was deleted, and no erasure is recorded"
    if commitment_of(row["salt"], content_of(leaf, row)) != row["commitment"]:
        return "its entry does not fit its leaf"
    return None


def _compare(tree: GrowingTree, known: _Known) -> BadEntry | None:
    """Compares the tree with the checkpoints of its present size."""
    size = tree.size
    if size in known.outside:
        if known.outside[size] != {tree.root}:
            return BadEntry(known.fitting_outside, size - 1, None, _misfit(size, "from outside the database"))
        known.fitting_size = known.fitting_outside = size
    if size in known.stored:
        if known.stored[size] != tree.root:
            return BadEntry(known.fitting_size, size - 1, None, _misfit(size, "in the database"))
        known.fitting_size = size
    return None


def _misfit(size: int, where: str) -> str:
    return f"one of these entries is not the one under the checkpoint of {size} entries {where}"


def _at_the_end(tree: GrowingTree, known: _Known) -> BadEntry | None:
    """The first entry that was cut off, by the checkpoints; else hashes of leaves that do not exist."""
    longer = [size for size in (*known.outside, *known.stored) if size > tree.size]
    if longer:
        last = max(longer)
        return BadEntry(tree.size, last - 1, None, f"cut off: a checkpoint has {last} entries")
    if known.nodes:
        node = min(known.nodes, key=lambda each: each.position << each.level)
        return BadEntry(
            tree.size, None, None, f"cut off: there is a stored hash {tuple(node)} of later leaves"
        )
    return None


async def _outside_the_tree(connection: Connection) -> BadEntry | None:
    entry_id = await connection.fetchval(SQL["outside_the_tree"])
    if entry_id is None:
        return None
    return BadEntry(None, None, entry_id, "it has no leaf and does not wait for one: it was inserted by hand")
