"""The commands "cluster …"."""

from collections.abc import Sequence

import click

from telemetry_server.cli.invocation import Group, Invocation
from telemetry_server.cli.output import as_json, print_json, print_table, say
from telemetry_server.cli.session import ask
from telemetry_server.store import distribution
from telemetry_server.store.database import Connection
from telemetry_server.store.distribution import Kind, Node, Placement

MEBIBYTE = 2**20


def _address(_context: click.Context, _option: click.Parameter, value: str | None) -> tuple[str, int] | None:
    if value is None:
        return None
    host, _, port = value.rpartition(":")
    if not host or not port.isdecimal():
        raise click.BadParameter("Write HOST:PORT, as the other nodes reach it.")
    return host.strip("[]"), int(port)


@click.group(cls=Group)
def cluster() -> None:
    """A database over several machines, with Citus.

    See docs/cluster.md.
    """


@cluster.command()
@as_json
@click.pass_obj
def status(invocation: Invocation, as_json: bool) -> None:
    """Show the nodes, and where the tables are."""
    nodes, tables = ask(invocation.settings(), _status)
    if as_json:
        print_json({"nodes": nodes, "tables": tables})
        return
    print_table(("node", "", "shards"), map(_node_row, nodes))
    click.echo()
    print_table(("table", "", "MiB here"), map(_table_row, tables))


async def _status(connection: Connection) -> tuple[list[Node], list[Placement]]:
    await distribution.demand_citus(connection)
    return await distribution.nodes(connection), await distribution.placements(connection)


def _node_row(node: Node) -> tuple[object, ...]:
    role = "coordinator" if node.is_coordinator else "worker"
    return f"{node.host}:{node.port}", role if node.is_active else f"{role}, not active", node.shards


def _table_row(placement: Placement) -> tuple[object, ...]:
    kind = placement.kind if placement.done else f"not {placement.kind} yet"
    return placement.table, kind, f"{placement.bytes / MEBIBYTE:,.0f}"


@cluster.command()
@click.option("--dry-run", is_flag=True, help="Only show what would be done.")
@click.option(
    "--shards",
    type=click.IntRange(1, 4096),
    default=distribution.SHARDS,
    show_default=True,
    help="Parts of each table: two to four times the processors of all workers that you expect.",
)
@as_json
@click.pass_obj
def distribute(invocation: Invocation, dry_run: bool, shards: int, as_json: bool) -> None:
    """Spread the tables that grow with the fleet over the workers; safe to repeat.

    A table with rows is copied while it is written, if wal_level is logical; writes to one with partitions
    wait. While some tables are distributed and others are not, uploads get 503, which clients retry, and
    pages fail.
    """

    async def work(connection: Connection) -> list[Placement]:
        await distribution.demand_citus(connection)
        missing = [each for each in await distribution.placements(connection) if not each.done]
        _announce(missing)
        if not dry_run:
            await distribution.distribute(connection, shards, say)
        return missing

    missing = ask(invocation.settings(), work)
    if as_json:
        print_json({"would_place" if dry_run else "placed": missing})
    elif not missing:
        click.echo("All tables are where they belong.")
    elif not dry_run:
        click.echo(f"{len(missing)} tables are where they belong now.")


def _announce(missing: Sequence[Placement]) -> None:
    for each in missing:
        how = "by installation_id, to the workers" if each.kind is Kind.DISTRIBUTED else "a copy on each node"
        wait = "; writes to it wait meanwhile" if each.waits else ""
        say(f"{each.table}, {each.bytes / MEBIBYTE:,.0f} MiB: {how}{wait}")


@cluster.command("add-node")
@click.argument("node", metavar="HOST:PORT", callback=_address)
@click.option(
    "--coordinator",
    metavar="HOST:PORT",
    callback=_address,
    help="The address at which the workers reach this database.",
)
@click.pass_obj
def add_node(invocation: Invocation, node: tuple[str, int], coordinator: tuple[str, int] | None) -> None:
    """Add the worker HOST:PORT, a PostgreSQL with Citus and an empty database of the same name.

    Name the coordinator with the first worker, if it is reached at another address than by this command.
    """

    async def work(connection: Connection) -> None:
        await distribution.demand_citus(connection)
        await distribution.add_node(connection, *node, coordinator)

    ask(invocation.settings(), work)
    click.echo("The worker is added. It has no shards yet: telemetry-server cluster rebalance")


@cluster.command()
@click.pass_obj
def rebalance(invocation: Invocation) -> None:
    """Move shards until all workers have their share, while pings are written."""

    async def work(connection: Connection) -> bool:
        await distribution.demand_citus(connection)
        return await distribution.rebalance(connection)

    moved = ask(invocation.settings(), work)
    click.echo("The shards are moved." if moved else "All workers have their share.")


@cluster.command("remove-node")
@click.argument("node", metavar="HOST:PORT", callback=_address)
@click.pass_obj
def remove_node(invocation: Invocation, node: tuple[str, int]) -> None:
    """Move the shards of the worker HOST:PORT to the others, and remove it; pings are written meanwhile."""

    async def work(connection: Connection) -> None:
        await distribution.demand_citus(connection)
        await distribution.remove_node(connection, *node)

    ask(invocation.settings(), work)
    click.echo("The worker is empty and removed.")
