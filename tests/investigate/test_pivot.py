"""What shares a value: rings of copies and values, hubs that are named and not followed, one picture always."""

import pytest

from telemetry_server.errors import BadRequest
from telemetry_server.investigate.pivot import (
    FOLDED_FROM,
    MOST_NODES,
    PivotCopy,
    PivotGraph,
    PivotKind,
    PivotNode,
    PivotValue,
    Sharing,
    add_copies,
    add_values,
    fold,
    frame_of,
    lay_out,
)
from telemetry_server.investigate.pivot_values import pivot_value

ADDRESS = PivotValue(PivotKind.ADDRESS, "203.0.113.7")
CUSTOMER = PivotValue(PivotKind.CUSTOMER, "c")


def copies(count, *values):
    return [
        PivotCopy(f"{number:036d}", "demo", "valid", dict.fromkeys(values, "x")) for number in range(count)
    ]


def graph_of(count, sharing=None):
    graph = PivotGraph()
    graph.add(PivotNode(ADDRESS, ADDRESS.id, sharing=sharing or Sharing(count, 1)))
    add_copies(graph, ADDRESS, copies(count, ADDRESS, CUSTOMER), graph.nodes[ADDRESS].sharing)
    return graph


def test_no_more_nodes_are_drawn_than_people_can_read_and_the_rest_is_counted():
    graph = graph_of(700)
    assert len(graph.nodes) == MOST_NODES
    assert graph.nodes[ADDRESS].more == 700 - (MOST_NODES - 1)


@pytest.mark.parametrize(
    ("sharing", "why"),
    [
        (Sharing(500, 101), "shared by 101 customers"),
        (Sharing(500, 100), None),
        (Sharing(2, 1, of_hosting=True), "a hosting provider"),
    ],
)
def test_a_value_of_many_customers_or_of_a_provider_is_a_hub(sharing, why):
    assert sharing.hub == why


def test_values_that_fewer_copies_share_are_left_out():
    for least, shown in ((2, True), (3, False)):
        graph = graph_of(1)
        add_values(graph, copies(1, ADDRESS, CUSTOMER)[0], {CUSTOMER: Sharing(2, 1)}, least)
        assert (CUSTOMER in graph.nodes) == shown


def test_many_copies_with_nothing_else_are_one_node_with_their_number():
    graph = graph_of(FOLDED_FROM)
    fold(graph)
    assert [node.label for node in graph.nodes.values()] == [ADDRESS.id, f"{FOLDED_FROM} copies"]
    few = graph_of(FOLDED_FROM - 1)
    fold(few)
    assert len(few.nodes) == FOLDED_FROM


def test_the_picture_is_the_same_always_and_no_two_nodes_are_in_one_place():
    pictures = []
    for _ in range(2):
        graph = graph_of(300)
        for copy in copies(300, ADDRESS, CUSTOMER)[::7]:
            add_values(graph, copy, {CUSTOMER: Sharing(43, 1)}, 2)
        lay_out(graph)
        pictures.append([(value, node.x, node.y) for value, node in graph.nodes.items()])
        places = {(node.x, node.y) for node in graph.nodes.values()}
        assert len(places) == len(graph.nodes)
        left, top, width, height = frame_of(graph)
        assert all(left < x < left + width and top < y < top + height for x, y in places)
    assert pictures[0] == pictures[1]


def test_without_a_value_there_is_an_empty_picture():
    graph = PivotGraph()
    lay_out(graph)
    assert frame_of(graph)[2:] == (500, 300), frame_of(graph)


@pytest.mark.parametrize(
    ("kind", "given", "value"),
    [
        (PivotKind.OPERATOR, " AS64500", "64500"),
        (PivotKind.ADDRESS, "2001:DB8::0:1", "2001:db8::1"),
        (PivotKind.ADDRESS, "203.0.113.0/24", "203.0.113.0/24"),
        (PivotKind.KEY, "AB" * 32, "ab" * 32),
    ],
)
def test_a_value_is_read_as_people_write_it(kind, given, value):
    assert pivot_value(kind, given) == (kind, value)


@pytest.mark.parametrize(
    ("kind", "given"),
    [
        (PivotKind.OPERATOR, "Example"),
        (PivotKind.ADDRESS, "203.0.113.700"),
        (PivotKind.ADDRESS, "203.0.113.7/24"),
        (PivotKind.KEY, "ab"),
        (PivotKind.CUSTOMER, "ann@example.com"),
        (PivotKind.INSTALLATION, "' OR 1=1 --"),
    ],
)
def test_what_is_no_value_of_its_kind_is_refused_with_what_one_is(kind, given):
    with pytest.raises(BadRequest, match=f"A value of the kind {kind} is"):
        pivot_value(kind, given)
