"""The command "investigate pivot": what shares a value."""

from dataclasses import asdict

import click

from telemetry_server.cli.invocation import Invocation
from telemetry_server.cli.output import as_json, print_json, print_table
from telemetry_server.cli.session import ask
from telemetry_server.investigate.pivot import PivotGraph, PivotKind
from telemetry_server.investigate.pivot_values import links_of, pivot_value
from telemetry_server.store.database import Connection


@click.command("pivot")
@click.argument("kind", type=click.Choice([str(kind) for kind in PivotKind]))
@click.argument("value")
@click.option(
    "--least",
    type=click.IntRange(1, 1_000),
    default=2,
    show_default=True,
    help="Leave out values that fewer copies share.",
)
@as_json
@click.pass_obj
def pivot(invocation: Invocation, kind: str, value: str, least: int, as_json: bool) -> None:
    """List what shares VALUE: an id, the hash of a key, an address, or AS64500.

    A value that many customers share is named as a hub and not followed.
    """
    first = pivot_value(PivotKind(kind), value)

    async def read(connection: Connection) -> PivotGraph:
        return await links_of(connection, first, least=least)

    graph = ask(invocation.settings(), read)
    if as_json:
        numbers = {each: number for number, each in enumerate(graph.nodes)}
        edges = [(numbers[one], numbers[other]) for one, other in sorted(graph.edges)]
        print_json({"nodes": [asdict(node) for node in graph.nodes.values()], "edges": edges})
        return
    rows = (
        (node.value.kind, node.label, node.sharing and node.sharing.copies, node.verdict or node.hub or "")
        for node in graph.nodes.values()
    )
    print_table(("kind", "value", "copies", "says"), rows)
