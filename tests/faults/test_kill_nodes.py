"""What is acknowledged is there exactly once, whichever node of a cluster is killed; with --citus.

The test has nodes of its own, with the programs of the cluster that is given.
"""

import asyncio
from pathlib import Path
from uuid import UUID

import asyncpg
import pytest
from citus_cluster import SHARDS
from citus_nodes import Nodes
from patience import until
from places import TODAY
from test_kill import assert_exactly_once, under_load

from telemetry_server.store.distribution import distribute, shards_of
from telemetry_server.store.migrate import migrate
from telemetry_server.store.partitions import make_partitions

pytestmark = pytest.mark.timeout(300)

PREPARED = "SELECT count(*) FROM pg_prepared_xacts"
GROUP = "SELECT groupid FROM pg_dist_node WHERE nodeport = $1"
QUICK_TYPES = "ALTER DATABASE postgres SET citus.show_shards_for_app_name_prefixes = '*'"


@pytest.fixture
async def nodes(request):
    """A coordinator and two workers with an empty, distributed database."""
    given = request.config.getoption("--citus")
    if not given:
        pytest.skip("needs the programs of a Citus cluster: --citus DSN")
    connection = await asyncpg.connect(given)
    programs = Path(await connection.fetchval("SELECT setting FROM pg_config() WHERE name = 'BINDIR'"))
    await connection.close()
    # A commit that a crash left half done is completed after this time; until then its rows are locked.
    nodes = Nodes(programs, **{"citus.recover_2pc_interval": "2s"})
    await asyncio.to_thread(nodes.start)
    connection = await asyncpg.connect(nodes.dsn)
    await connection.execute(QUICK_TYPES)
    await migrate(connection)
    await make_partitions(connection, TODAY)
    await distribute(connection, SHARDS)
    await connection.close()
    yield nodes
    await asyncio.to_thread(nodes.close)


@pytest.fixture
def database(nodes):
    return nodes.dsn


class Disturbance:
    """Kills a node under load, and starts it after `meanwhile`; before and after, each of the fleet sends pings."""

    def __init__(self, node, fleet, meanwhile):
        self.node, self.fleet, self.meanwhile = node, fleet, meanwhile

    async def __call__(self):
        await self.more_pings()
        await asyncio.to_thread(self.node.kill)
        await self.meanwhile()
        await asyncio.to_thread(self.node.start)
        await self.more_pings()

    async def more_pings(self, of=None):
        """Waits until some more pings of each of them are acknowledged."""
        counts = {sender: len(sender.acknowledged) for sender in of or self.fleet}
        await until(
            lambda: all(len(sender.acknowledged) > count + 3 for sender, count in counts.items()), every=0.1
        )


async def ask(dsn, work, *arguments):
    connection = await asyncpg.connect(dsn)
    try:
        return await work(connection, *arguments)
    finally:
        await connection.close()


async def nothing_is_left_half_done(nodes):
    async def all_committed():
        return not any([await ask(node.dsn(), asyncpg.Connection.fetchval, PREPARED) for node in nodes.nodes])

    await until(all_committed, every=0.5)


@pytest.mark.parametrize("killed", [1, 2])
async def test_a_worker_is_killed_and_comes_back_while_the_other_one_writes(nodes, server, killed):
    fleet = []

    async def the_others_go_on():
        ids = [UUID(sender.installation.id) for sender in fleet]
        shards = await ask(nodes.dsn, shards_of, ids)
        group = await ask(nodes.dsn, asyncpg.Connection.fetchval, GROUP, nodes.nodes[killed].port)
        others = [sender for sender, one in zip(fleet, ids, strict=True) if shards[one].node != group]
        assert 0 < len(others) < len(fleet)
        await disturb.more_pings(others)

    disturb = Disturbance(nodes.nodes[killed], fleet, the_others_go_on)
    await under_load(server.url, server.product_key, disturb, senders=12, fleet=fleet)
    assert sum(sender.resent for sender in fleet) > 0
    await assert_exactly_once(nodes.dsn, fleet)
    await nothing_is_left_half_done(nodes)


async def test_the_coordinator_is_killed_and_comes_back(nodes, server):
    fleet = []

    async def no_upload_is_acknowledged():
        refused = {sender: sender.resent for sender in fleet}
        await until(lambda: all(sender.resent > count for sender, count in refused.items()), every=0.1)

    disturb = Disturbance(nodes.coordinator, fleet, no_upload_is_acknowledged)
    await under_load(server.url, server.product_key, disturb, senders=12, fleet=fleet)
    await assert_exactly_once(nodes.dsn, fleet)
    await nothing_is_left_half_done(nodes)
