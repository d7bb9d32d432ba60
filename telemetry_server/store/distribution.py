"""A database over the nodes of a Citus cluster: which tables are where, and the nodes.

Tables that grow with the fleet, known by their column installation_id, are distributed by it: the
rows of one installation are on one node. What their statements join is a reference table, with a copy on
every node. All other tables stay on the coordinator.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple
from uuid import UUID

import asyncpg

from telemetry_server.errors import OperatorError
from telemetry_server.store.database import Connection
from telemetry_server.store.queries import load

SQL = load(__name__)

REFERENCE = ("products", "hostnames", "feature_names")
"""The tables without installation_id that statements join with distributed ones."""
SHARDS = 32
_FIRST = "installations"
"""The table beside whose shards those of all others are."""
_DAY_SECONDS = 86_400

Say = Callable[[str], None]


class ClusterError(OperatorError):
    """The cluster refused."""


class Kind(StrEnum):
    """How a table is placed in the cluster."""

    DISTRIBUTED = "distributed"
    REFERENCE = "reference"


@dataclass(frozen=True, slots=True)
class Placement:
    """A table, how it has to be placed, and whether it is; its size on this node, and whether it has rows.

    `waits`: writes to it wait while its rows are copied. Citus copies tables with partitions only so.
    """

    table: str
    kind: Kind
    done: bool
    bytes: int
    filled: bool
    waits: bool


@dataclass(frozen=True, slots=True)
class Node:
    """A node of the cluster, and the number of its shards of installations."""

    host: str
    port: int
    is_coordinator: bool
    is_active: bool
    shards: int


class Shard(NamedTuple):
    """A shard of the distributed tables by the number of that of installations, and the node that has it."""

    node: int
    number: int


async def has_citus(connection: Connection) -> bool:
    """Whether the database is one of a Citus cluster."""
    return bool(await connection.fetchval(SQL["has_citus"]))


async def fence(connection: Connection) -> str:
    """The last condition of a LATERAL subquery that is to be evaluated for each row, by an index.

    On one machine OFFSET 0 keeps the planner from joining it otherwise; Citus refuses that, and each node
    makes its own plan.
    """
    return "TRUE" if await has_citus(connection) else "TRUE OFFSET 0"


# ── the functions below need Citus ──────────────────────────────────────────────────────────


async def demand_citus(connection: Connection) -> None:
    """Raises ClusterError where the database has no Citus."""
    if not await has_citus(connection):
        raise ClusterError(
            "This database is on one machine: it has no Citus. On each node, set shared_preload_libraries = "
            "'citus', restart PostgreSQL, create the database and run in it: CREATE EXTENSION citus"
        )


async def nodes(connection: Connection) -> list[Node]:
    """The nodes, the coordinator first; empty: it has no worker yet, and its own address is not set."""
    return [Node(**row) for row in await connection.fetch(SQL["nodes"])]


async def placements(connection: Connection) -> list[Placement]:
    """The tables that have to be placed, in the order in which that is done."""
    writes_go_on = await connection.fetchval(SQL["writes_go_on"])
    found = []
    for row in await connection.fetch(SQL["tables"], REFERENCE):
        kind = Kind.DISTRIBUTED if row["grows"] else Kind.REFERENCE
        waits = row["filled"] and (kind is Kind.REFERENCE or row["parted"] or not writes_go_on)
        found.append(Placement(row["table"], kind, row["kind"] == kind, row["bytes"], row["filled"], waits))
    return found


async def is_distributed(connection: Connection) -> bool:
    """Whether any table is placed."""
    return any(placement.done for placement in await placements(connection))


async def distribute(connection: Connection, shards: int = SHARDS, say: Say = lambda _: None) -> None:
    """Places the tables that are not placed yet, one after the other; what is done stays done.

    The shards of an existing cluster keep their number. Raises ClusterError.
    """
    await connection.execute(SQL["shards"], str(shards))
    for placement in await placements(connection):
        if not placement.done:
            say(f"{placement.table}: {placement.kind}")
            await _place(connection, placement)
    for function in await missing_functions(connection):
        await _ask(connection, "share_function", function)
    for function in await functions_of_keys(connection):
        await _ask(connection, "run_by_key", function)


async def missing_functions(connection: Connection) -> list[str]:
    """The functions that the workers do not have."""
    return [row["function"] for row in await connection.fetch(SQL["missing_functions"])]


async def functions_of_keys(connection: Connection) -> list[str]:
    """The functions that should run on the node of an installation, and do not."""
    return [row["function"] for row in await connection.fetch(SQL["functions_of_keys"])]


async def _place(connection: Connection, placement: Placement) -> None:
    table = placement.table
    if placement.kind is Kind.REFERENCE:
        await _ask(connection, "reference", table)
        return
    beside = "default" if table == _FIRST else _FIRST
    if placement.filled and not placement.waits:
        await _ask(connection, "distribute_concurrently", table, beside)
        return
    await _ask(connection, "distribute", table, beside)
    if placement.filled:
        await _ask(connection, "free_space", table)


async def add_node(
    connection: Connection, host: str, port: int, coordinator: tuple[str, int] | None = None
) -> None:
    """Adds a worker, or nothing where it is known. `coordinator`: the address at which it reaches this node.

    Raises ClusterError.
    """
    if coordinator or not await nodes(connection):
        await _ask(connection, "set_coordinator", *(coordinator or (None, None)))
    await _ask(connection, "add_node", host, port)


async def rebalance(connection: Connection) -> bool:
    """Moves shards until each node has its share; False: it has. Raises ClusterError."""
    if await _ask(connection, "start_rebalance") is None:
        return False
    await _ask(connection, "wait_for_rebalance")
    return True


async def remove_node(connection: Connection, host: str, port: int) -> None:
    """Moves the shards of a worker to the others, and removes it. Raises ClusterError."""
    await _ask(connection, "empty_node", host, port)
    await _ask(connection, "remove_node", host, port)


async def shards_of(connection: Connection, installations: Sequence[UUID]) -> dict[UUID, Shard]:
    """The shards by installation; empty: the tables are not distributed."""
    rows = await connection.fetch(SQL["shards_of"], installations)
    return {row["installation_id"]: Shard(row["node"], row["shard"]) for row in rows}


async def run_on_node(
    connection: Connection,
    statement: str,
    arguments: Mapping[int, Sequence[str | None]],
    key: UUID,
    *,
    has_rows: bool,
) -> list[asyncpg.Record]:
    """Runs a statement of the writer on the node that has the installation `key`; returns its rows.

    `arguments`: those for the tables of each shard, by the number of the shard. All shards have to be on that
    node, which commits alone. Raises SerializationError where one is on another node by now.
    """
    rows: list[asyncpg.Record] = await connection.fetch(
        SQL["run_on_node"], statement, list(arguments), list(map(list, arguments.values())), has_rows, key
    )
    return rows


async def unreachable(connection: Connection) -> list[tuple[str, str]]:
    """Pairs of nodes of which the first does not reach the second."""
    return [(row["from"], row["to"]) for row in await connection.fetch(SQL["unhealthy"])]


async def unsafe_workers(connection: Connection) -> dict[str, str]:
    """The settings of workers by which a power cut loses pings, by worker; or why it did not answer."""
    rows = await connection.fetch(SQL["settings_of_workers"])
    return {row["node"]: row["result"] for row in rows if row["result"] or not row["success"]}


async def _ask(connection: Connection, name: str, *arguments: object) -> object:
    try:
        return await connection.fetchval(SQL[name], *arguments, timeout=_DAY_SECONDS)
    except asyncpg.PostgresError as error:
        hint = getattr(error, "hint", None)
        raise ClusterError(f"{error}." + (f" {hint}" if hint else "")) from error
