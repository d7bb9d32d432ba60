"""The Merkle tree of RFC 6962 over SHA-256: roots, and proofs that a leaf is in it. Pure.

A complete subtree has a level and a position: level 0 are the leaves, and the subtree (level, position)
covers the leaves from position * 2^level on. It never changes once it is complete.
"""

from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from typing import NamedTuple

EMPTY_ROOT = sha256().digest()


class Node(NamedTuple):
    """The place of a complete subtree."""

    level: int
    position: int


def leaf_hash(data: bytes) -> bytes:
    """The hash of a leaf, 32 bytes."""
    return sha256(b"\0" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of a node above two hashes, 32 bytes."""
    return sha256(b"\1" + left + right).digest()


def fold(hashes: Iterable[bytes]) -> bytes:
    """The root above subtrees that become smaller to the right, as `complete_nodes` gives them."""
    root = b""
    for each in reversed(list(hashes)):
        root = node_hash(each, root) if root else each
    return root or EMPTY_ROOT


class GrowingTree:
    """A tree that leaves are appended to. It holds the hashes of its right edge only.

    `edge`: the hashes of `complete_nodes(0, size)`.
    """

    def __init__(self, size: int = 0, edge: Sequence[bytes] = ()) -> None:
        self.size = size
        self._edge = list(edge)

    def append(self, leaf: bytes) -> list[tuple[Node, bytes]]:
        """Appends the hash of a leaf; returns the subtrees that are complete now, with their hashes."""
        completed, level, index = [], 0, self.size
        while index & 1:
            leaf = node_hash(self._edge.pop(), leaf)
            level, index = level + 1, index >> 1
            completed.append((Node(level, index), leaf))
        self._edge.append(leaf)
        self.size += 1
        return completed

    @property
    def root(self) -> bytes:
        """The root hash, 32 bytes."""
        return fold(self._edge)


def complete_nodes(first: int, end: int) -> list[Node]:
    """The fewest complete subtrees that cover the leaves from `first` to before `end`, from left to right."""
    nodes = []
    while first < end:
        level = (end - first).bit_length() - 1
        if first:
            level = min(level, (first & -first).bit_length() - 1)
        nodes.append(Node(level, first >> level))
        first += 1 << level
    return nodes


def path_nodes(leaf: int, size: int) -> list[list[Node]]:
    """The subtrees beside the way from a leaf up to the root of the tree of `size` leaves.

    Each element of the proof is the `fold` of one list.
    """
    first, end, path = 0, size, []
    while end - first > 1:
        middle = first + (1 << (end - first - 1).bit_length() - 1)
        if leaf < middle:
            path.append(complete_nodes(middle, end))
            end = middle
        else:
            path.append(complete_nodes(first, middle))
            first = middle
    return path[::-1]


def inclusion_path(leaf: int, size: int, hashes: Mapping[Node, bytes]) -> list[bytes]:
    """The proof that a leaf is in the tree of `size` leaves: the hashes beside its way to the root."""
    return [fold(hashes[node] for node in nodes) for nodes in path_nodes(leaf, size)]


def root_above(hashed: bytes, leaf: int, size: int, path: Sequence[bytes]) -> bytes | None:
    """The root that follows from the hash of a leaf and its proof (RFC 9162, 2.1.3.2).

    None if the proof has another length than one of that leaf in a tree of `size` leaves.
    """
    if not 0 <= leaf < size:
        return None
    index, last, root = leaf, size - 1, hashed
    for beside in path:
        if last == 0:
            return None
        if index & 1 or index == last:
            root = node_hash(beside, root)
            while index and not index & 1:
                index, last = index >> 1, last >> 1
        else:
            root = node_hash(root, beside)
        index, last = index >> 1, last >> 1
    return root if last == 0 else None


def consistency_nodes(old: int, size: int) -> list[list[Node]]:
    """The subtrees that prove that the tree of `size` leaves begins with that of `old` leaves.

    Each element of the proof (RFC 6962, 2.1.2) is the `fold` of one list. 0 < old <= size.
    """
    first, end, proof = 0, size, []
    while old < end:
        middle = first + (1 << (end - first - 1).bit_length() - 1)
        if old <= middle:
            proof.append(complete_nodes(middle, end))
            end = middle
        else:
            proof.append(complete_nodes(first, middle))
            first = middle
    if first:
        proof.append(complete_nodes(first, old))
    return proof[::-1]


def is_consistent(old: int, old_root: bytes, size: int, root: bytes, proof: Sequence[bytes]) -> bool:
    """Whether the proof shows that the tree of `size` leaves begins with that of `old` (RFC 9162, 2.1.4.2).

    Every tree begins with the empty one; a proof of that, or of a tree with itself, is empty.
    """
    if not 0 < old < size:
        return not proof and (old == 0 or (old == size and old_root == root))
    index, last = old - 1, size - 1
    while index & 1:
        index, last = index >> 1, last >> 1
    hashes = list(proof) if index else [old_root, *proof]
    if not hashes:
        return False
    old_found = found = hashes[0]
    for beside in hashes[1:]:
        if last == 0:
            return False
        if index & 1 or index == last:
            old_found, found = node_hash(beside, old_found), node_hash(beside, found)
            while index and not index & 1:
                index, last = index >> 1, last >> 1
        else:
            found = node_hash(found, beside)
        index, last = index >> 1, last >> 1
    return last == 0 and (old_found, found) == (old_root, root)
