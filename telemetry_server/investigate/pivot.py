"""Everything that shares a value: the values around a first one, as a graph and as lists. Pure.

The graph grows in rings: the first value, the copies that have it, their other values, the copies that share
those. A value that many customers share, or that a hosting provider owns, says little about each of them: it
is a hub, which is drawn and named, and not followed.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import pairwise
from typing import NamedTuple

MOST_NODES = 500
SHARED_BY_MANY = 100
"""A value that more customers than these share is a hub."""
FOLDED_FROM = 9
"""From this number on, copies beside each other with nothing else to follow are drawn as one node."""
_RING, _ROOM = 120, 16
_MARGIN, _LEAST_SIDE = 50, 200


class PivotKind(StrEnum):
    """What copies can share."""

    INSTALLATION = "installation"
    LICENSE = "license"
    KEY = "key"
    CUSTOMER = "customer"
    ADDRESS = "address"
    OPERATOR = "operator"


class PivotValue(NamedTuple):
    """A value: `id` is a UUID, the hash of a key in hexadecimal, an address, or the number of an operator."""

    kind: PivotKind
    id: str


@dataclass(frozen=True, slots=True)
class PivotCopy:
    """An installation with the values that it has, and their names."""

    installation_id: str
    product: str
    verdict: str
    values: Mapping[PivotValue, str]


@dataclass(frozen=True, slots=True)
class Sharing:
    """How many share a value. `of_hosting`: its addresses belong to a hosting provider."""

    copies: int
    customers: int
    of_hosting: bool = False

    @property
    def hub(self) -> str | None:
        """Why the value is a hub."""
        if self.customers > SHARED_BY_MANY:
            return f"shared by {self.customers:,} customers"
        return "a hosting provider" if self.of_hosting else None


@dataclass(slots=True)
class PivotNode:
    """A node. `folded`: the number of copies that it stands for; `more`: those that are not drawn."""

    value: PivotValue
    label: str
    verdict: str | None = None
    sharing: Sharing | None = None
    folded: int = 0
    more: int = 0
    x: float = 0
    y: float = 0

    @property
    def hub(self) -> str | None:
        return self.sharing.hub if self.sharing else None


@dataclass(slots=True)
class PivotGraph:
    """Nodes by value and the pairs of them that belong together; the first node is the one in the middle."""

    nodes: dict[PivotValue, PivotNode] = field(default_factory=dict)
    edges: set[tuple[PivotValue, PivotValue]] = field(default_factory=set)

    def add(self, node: PivotNode, beside: PivotValue | None = None) -> bool:
        """Whether there is room for the node, or it is there."""
        if node.value not in self.nodes:
            if len(self.nodes) >= MOST_NODES:
                return False
            self.nodes[node.value] = node
        if beside is not None and beside != node.value and (node.value, beside) not in self.edges:
            self.edges.add((beside, node.value))
        return True

    def neighbours(self) -> dict[PivotValue, list[PivotValue]]:
        found: dict[PivotValue, list[PivotValue]] = defaultdict(list)
        for one, other in sorted(self.edges):
            found[one].append(other)
            found[other].append(one)
        return found


def of_copy(copy: PivotCopy) -> PivotValue:
    return PivotValue(PivotKind.INSTALLATION, copy.installation_id)


def add_copies(graph: PivotGraph, around: PivotValue, copies: Iterable[PivotCopy], sharing: Sharing) -> None:
    """Adds the copies that share a value; what has no room is counted at the value."""
    drawn = sum(
        graph.add(PivotNode(of_copy(copy), copy.installation_id[:13], copy.verdict), around)
        for copy in copies
    )
    if around.kind is not PivotKind.INSTALLATION:
        graph.nodes[around].more = max(0, sharing.copies - drawn)


def add_values(graph: PivotGraph, copy: PivotCopy, sharing: Mapping[PivotValue, Sharing], least: int) -> None:
    """Adds the values of a copy that at least `least` copies share."""
    for value, label in copy.values.items():
        found = sharing.get(value, Sharing(1, 0))
        if found.copies >= least or value in graph.nodes:
            graph.add(PivotNode(value, label, sharing=found), of_copy(copy))


def fold(graph: PivotGraph) -> None:
    """Makes one node of many copies that have one neighbour only, the same."""
    neighbours, leaves = graph.neighbours(), defaultdict(list)
    first = next(iter(graph.nodes), None)
    for value, beside in neighbours.items():
        if value.kind is PivotKind.INSTALLATION and len(beside) == 1 and value != first:
            leaves[beside[0]].append(value)
    for around, values in leaves.items():
        if len(values) < FOLDED_FROM:
            continue
        kept = graph.nodes[values[0]]
        kept.folded, kept.label = len(values), f"{len(values)} copies"
        for value in values[1:]:
            del graph.nodes[value]
            graph.edges -= {(around, value), (value, around)}


def lay_out(graph: PivotGraph) -> None:
    """Gives each node its place around the first one: the same graph looks the same always.

    Each ring is as wide as its nodes need, and a node gets a part of the circle by the leaves behind it.
    """
    rings, children = _tree(graph)
    leaves: dict[PivotValue, int] = {}
    for ring in reversed(rings):
        for value in ring:
            leaves[value] = sum(leaves[child] for child in children[value]) or 1
    radius, spans = 0.0, dict.fromkeys(list(graph.nodes)[:1], (0.0, 2 * math.pi))
    for parents, ring in pairwise(rings):
        radius = max(radius + _RING, len(ring) * _ROOM / (2 * math.pi))
        for parent in parents:
            begin, end = spans[parent]
            whole = end - begin
            for value in children[parent]:
                end = begin + whole * leaves[value] / leaves[parent]
                spans[value] = begin, end
                angle, begin = (begin + end) / 2, end
                node = graph.nodes[value]
                node.x, node.y = round(radius * math.cos(angle), 1), round(radius * math.sin(angle), 1)


def _tree(graph: PivotGraph) -> tuple[list[list[PivotValue]], Mapping[PivotValue, list[PivotValue]]]:
    """The nodes by their distance from the first one, and those that each leads to."""
    neighbours, children = graph.neighbours(), defaultdict(list)
    rings = [list(graph.nodes)[:1]]
    seen = set(rings[0])
    while rings[-1]:
        rings.append([])
        for parent in rings[-2]:
            children[parent] = [value for value in neighbours[parent] if value not in seen]
            seen.update(children[parent])
            rings[-1] += children[parent]
    return rings[:-1], children


def frame_of(graph: PivotGraph) -> tuple[float, float, float, float]:
    """Left, top, width and height around all nodes and their names."""
    across, down = [node.x for node in graph.nodes.values()], [node.y for node in graph.nodes.values()]
    left, top = min([*across, -_LEAST_SIDE]) - _MARGIN, min([*down, -_LEAST_SIDE / 2]) - _MARGIN
    right, bottom = max([*across, _LEAST_SIDE]) + _MARGIN, max([*down, _LEAST_SIDE / 2]) + _MARGIN
    return round(left, 1), round(top, 1), round(right - left, 1), round(bottom - top, 1)
