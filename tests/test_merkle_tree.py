"""The Merkle tree against the vectors of RFC 6962 implementations, and against the definition in the RFC."""

from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from telemetry_server.merkle_tree import (
    EMPTY_ROOT,
    GrowingTree,
    Node,
    complete_nodes,
    consistency_nodes,
    fold,
    inclusion_path,
    is_consistent,
    leaf_hash,
    path_nodes,
    root_above,
)

# The eight leaves and roots that Certificate Transparency's implementations share.
LEAVES = [
    bytes.fromhex(each)
    for each in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


def rfc_root(hashes):
    """MTH of RFC 6962, 2.1, word for word."""
    if not hashes:
        return sha256().digest()
    if len(hashes) == 1:
        return hashes[0]
    k = 1
    while k * 2 < len(hashes):
        k *= 2
    return sha256(b"\1" + rfc_root(hashes[:k]) + rfc_root(hashes[k:])).digest()


def rfc_path(m, hashes):
    """PATH of RFC 6962, 2.1.1, word for word."""
    if len(hashes) == 1:
        return []
    k = 1
    while k * 2 < len(hashes):
        k *= 2
    if m < k:
        return [*rfc_path(m, hashes[:k]), rfc_root(hashes[k:])]
    return [*rfc_path(m - k, hashes[k:]), rfc_root(hashes[:k])]


def rfc_subproof(m, hashes, whole):
    """SUBPROOF of RFC 6962, 2.1.2, word for word."""
    if m == len(hashes):
        return [] if whole else [rfc_root(hashes)]
    k = 1
    while k * 2 < len(hashes):
        k *= 2
    if m <= k:
        return [*rfc_subproof(m, hashes[:k], whole), rfc_root(hashes[k:])]
    return [*rfc_subproof(m - k, hashes[k:], False), rfc_root(hashes[:k])]


def grown(hashes):
    """The tree, and the hash of each complete subtree in it."""
    tree, nodes = GrowingTree(), {}
    for index, each in enumerate(hashes):
        nodes[Node(0, index)] = each
        nodes |= dict(tree.append(each))
    return tree, nodes


def test_the_roots_are_those_of_certificate_transparency():
    hashes = [leaf_hash(each) for each in LEAVES]
    assert [grown(hashes[:size])[0].root.hex() for size in range(1, 9)] == ROOTS
    assert GrowingTree().root == EMPTY_ROOT == rfc_root([])


@given(st.integers(1, 200))
def test_roots_are_those_of_the_definition_and_follow_from_stored_subtrees(size):
    hashes = [leaf_hash(bytes([each])) for each in range(size)]
    tree, nodes = grown(hashes)
    assert tree.root == rfc_root(hashes)
    assert fold(nodes[node] for node in complete_nodes(0, size)) == tree.root
    middle = size // 2
    resumed = GrowingTree(middle, [nodes[node] for node in complete_nodes(0, middle)])
    for each in hashes[middle:]:
        resumed.append(each)
    assert resumed.root == tree.root


@given(st.integers(1, 200), st.data())
def test_a_proof_is_that_of_the_definition_and_leads_to_the_root(size, data):
    leaf = data.draw(st.integers(0, size - 1))
    hashes = [leaf_hash(bytes([each])) for each in range(size)]
    tree, nodes = grown(hashes)
    path = inclusion_path(leaf, size, nodes)
    assert path == rfc_path(leaf, hashes)
    assert root_above(hashes[leaf], leaf, size, path) == tree.root


@given(st.integers(2, 100), st.data())
def test_a_proof_of_anything_else_leads_elsewhere(size, data):
    leaf = data.draw(st.integers(0, size - 1))
    hashes = [leaf_hash(bytes([each])) for each in range(size)]
    tree, nodes = grown(hashes)
    path = inclusion_path(leaf, size, nodes)
    other = data.draw(st.integers(0, size - 1).filter(lambda each: each != leaf))
    assert root_above(hashes[other], leaf, size, path) != tree.root
    assert root_above(hashes[leaf], other, size, path) != tree.root
    assert root_above(hashes[leaf], leaf, size, path[:-1]) is None
    assert root_above(hashes[leaf], leaf, size, [*path, path[0]]) is None
    changed = data.draw(st.integers(0, len(path) - 1))
    assert (
        root_above(hashes[leaf], leaf, size, [*path[:changed], bytes(32), *path[changed + 1 :]]) != tree.root
    )


@pytest.mark.parametrize(("leaf", "size"), [(-1, 4), (4, 4), (0, 0)])
def test_a_leaf_that_is_not_in_the_tree_has_no_root(leaf, size):
    assert root_above(bytes(32), leaf, size, []) is None


def test_a_proof_in_a_large_tree_needs_few_subtrees():
    nodes = [node for beside in path_nodes(700_000, 1_000_001) for node in beside]
    assert len(path_nodes(700_000, 1_000_001)) == 20
    assert len(nodes) < 40


@given(st.integers(1, 150), st.data())
def test_a_proof_of_consistency_is_that_of_the_definition_and_holds_for_these_trees_only(size, data):
    old = data.draw(st.integers(1, size))
    hashes = [leaf_hash(bytes([each])) for each in range(size)]
    (tree, nodes), (before, _) = grown(hashes), grown(hashes[:old])
    proof = [fold(nodes[node] for node in beside) for beside in consistency_nodes(old, size)]
    assert proof == rfc_subproof(old, hashes, True)
    assert is_consistent(old, before.root, size, tree.root, proof)
    assert not is_consistent(old, bytes(32), size, tree.root, proof)
    assert not is_consistent(old, before.root, size, bytes(32), proof)
    assert not is_consistent(old, before.root, size, tree.root, [*proof, bytes(32)])
    if proof:
        assert not is_consistent(old, before.root, size, tree.root, proof[:-1])
        changed = data.draw(st.integers(0, len(proof) - 1))
        other = [*proof[:changed], bytes(32), *proof[changed + 1 :]]
        assert not is_consistent(old, before.root, size, tree.root, other)


def test_every_tree_begins_with_the_empty_one_and_none_with_a_larger_one():
    assert is_consistent(0, b"", 5, bytes(32), [])
    assert not is_consistent(0, b"", 5, bytes(32), [bytes(32)])
    assert not is_consistent(6, bytes(32), 5, bytes(32), [])
