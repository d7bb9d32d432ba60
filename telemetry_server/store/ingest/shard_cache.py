"""On a cluster, the shards of installations: groups of pings are written by node, and by shard.

The statement is that of one machine, on the tables of a shard. The node commits alone, in one phase, and
another node that is down does not matter.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from uuid import UUID

import asyncpg

from telemetry_server.store.database import Connection
from telemetry_server.store.distribution import Shard, run_on_node, shards_of

_MOST_INSTALLATIONS = 200_000


class ShardCache:
    """The shards as one connection knows them; a node refuses to write one that moved."""

    def __init__(self) -> None:
        self._known: dict[UUID, Shard] = {}

    def forget(self) -> None:
        self._known.clear()

    async def find(self, connection: Connection, installations: Sequence[UUID]) -> dict[UUID, Shard]:
        """The shards by installation; empty: the tables are not distributed."""
        if len(self._known) > _MOST_INSTALLATIONS:
            self.forget()
        if unknown := [one for one in installations if one not in self._known]:
            self._known |= await shards_of(connection, unknown)
        return {one: self._known[one] for one in installations if one in self._known}

    async def run(
        self,
        connection: Connection,
        statement: str,
        installations: Iterable[UUID],
        arguments: Callable[[list[UUID]], Sequence[str | None]],
        *,
        has_rows: bool = True,
    ) -> list[asyncpg.Record]:
        """Runs `statement` for these installations, which all are on one node; returns its rows.

        `arguments`: those of the statement for the installations of one shard.
        """
        in_order = sorted(installations)
        by_shard: dict[int, list[UUID]] = defaultdict(list)
        for installation, shard in (await self.find(connection, in_order)).items():
            by_shard[shard.number].append(installation)
        # In the order of shards, too, so that two groups do not deadlock.
        by_number = {number: arguments(by_shard[number]) for number in sorted(by_shard)}
        return await run_on_node(connection, statement, by_number, in_order[0], has_rows=has_rows)
