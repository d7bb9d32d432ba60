"""The page of a pivot, and the same in the API: what shares a value, as a graph and as a list."""

from uuid import UUID

from aiohttp import web
from msgspec import Struct

from telemetry_server import app_keys
from telemetry_server.investigate.pivot import PivotGraph, PivotKind, PivotNode, PivotValue, frame_of, lay_out
from telemetry_server.investigate.pivot_values import guess_organisations, links_of, pivot_value
from telemetry_server.investigate.who import Guess
from telemetry_server.routing import Parameter
from telemetry_server.show.links import link
from telemetry_server.show.query import integer, one_of, read_query, text
from telemetry_server.show.render import page
from telemetry_server.show.responses import json_response
from telemetry_server.store.reading import reading

PARAMETERS = (
    Parameter("kind", "What kind of value it is.", one_of(*PivotKind) | {"default": PivotKind.ADDRESS}),
    Parameter("value", "The value: an id, the hash of a key, an address, or AS64500.", text()),
    Parameter("least", "Leave out values that fewer copies share.", integer(1, 1_000, default=2)),
)
_PAGES = {
    PivotKind.INSTALLATION: "installations",
    PivotKind.LICENSE: "licenses",
    PivotKind.CUSTOMER: "customers",
}
_WORDS = {
    PivotKind.INSTALLATION: "Installation",
    PivotKind.LICENSE: "License",
    PivotKind.KEY: "Key",
    PivotKind.CUSTOMER: "Customer",
    PivotKind.ADDRESS: "Address",
    PivotKind.OPERATOR: "Operator",
}


class PivotItem(Struct, kw_only=True):
    """A node. `hub`: why it is drawn and not followed. `more`: its copies that are not listed."""

    kind: str
    value: str
    label: str
    verdict: str | None
    copies: int | None
    customers: int | None
    hub: str | None
    folded: int
    more: int


class PivotLinks(Struct):
    """The nodes around a value, which is the first, and the pairs of their numbers that belong together."""

    nodes: list[PivotItem]
    edges: list[tuple[int, int]]


async def show_pivot(request: web.Request) -> web.Response:
    graph, asked, organisations = await _read(request)
    lay_out(graph)
    nodes = list(graph.nodes.values())
    return page(
        request,
        "investigate/pivot.html",
        asked=asked,
        first=nodes[0] if nodes else None,
        nodes=nodes,
        values=[node for node in nodes if node.value.kind is not PivotKind.INSTALLATION],
        copies=[node for node in nodes if node.value.kind is PivotKind.INSTALLATION],
        edges=[(graph.nodes[one], graph.nodes[other]) for one, other in sorted(graph.edges)],
        frame=frame_of(graph),
        words=_WORDS,
        page_of=_page_of,
        pivot_of=_pivot_of,
        organisations=organisations,
    )


async def list_links(request: web.Request) -> web.Response:
    graph, _, _ = await _read(request)
    numbers = {value: number for number, value in enumerate(graph.nodes)}
    edges = [(numbers[one], numbers[other]) for one, other in sorted(graph.edges)]
    return json_response(PivotLinks([pivot_item(node) for node in graph.nodes.values()], edges))


def pivot_item(node: PivotNode) -> PivotItem:
    sharing = node.sharing
    return PivotItem(
        kind=node.value.kind,
        value=node.value.id,
        label=node.label,
        verdict=node.verdict,
        copies=sharing.copies if sharing else None,
        customers=sharing.customers if sharing else None,
        hub=node.hub,
        folded=node.folded,
        more=node.more,
    )


async def _read(request: web.Request) -> tuple[PivotGraph, dict[str, object], list[Guess]]:
    asked = read_query(request, PARAMETERS)
    if "value" not in asked:
        return PivotGraph(), asked, []
    value = pivot_value(PivotKind(asked["kind"]), asked["value"])
    async with reading(request.app[app_keys.POOL]) as connection:
        graph = await links_of(connection, value, least=asked["least"])
        is_copy = value.kind is PivotKind.INSTALLATION
        organisations = await guess_organisations(connection, UUID(value.id)) if is_copy else []
    return graph, asked, organisations


def _page_of(value: PivotValue) -> str | None:
    """The page about a value; None: it has none, but the list of its copies may be filtered."""
    if value.kind in _PAGES:
        return f"/{_PAGES[value.kind]}/{value.id}"
    if value.kind is PivotKind.ADDRESS:
        return link("/installations", filter=f"address={value.id}")
    return link("/installations", filter=f"asn={value.id}") if value.kind is PivotKind.OPERATOR else None


def _pivot_of(value: PivotValue, least: int) -> str:
    return link("/pivot", kind=value.kind, value=value.id, least=str(least))
