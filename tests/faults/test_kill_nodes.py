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
    """Kills a node under load, and starts it after `meanwhile`."""

    def __init__(self, node, meanwhile):
        self.node, self.meanwhile = node, meanwhile

    async def __call__(self):
        await asyncio.sleep(1)
        await asyncio.to_thread(self.node.kill)
        await self.meanwhile()
        await asyncio.to_thread(self.node.start)
        await asyncio.sleep(1)


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

    async def meanwhile():
        """Each copy of the other worker gets another ping acknowledged."""
        ids = [UUID(sender.installation.id) for sender in fleet]
        shards = await ask(nodes.dsn, shards_of, ids)
        group = await ask(nodes.dsn, asyncpg.Connection.fetchval, GROUP, nodes.nodes[killed].port)
        others = [sender for sender, one in zip(fleet, ids, strict=True) if shards[one].node != group]
        assert 0 < len(others) < len(fleet)
        before = {sender: len(sender.acknowledged) for sender in others}

        async def all_went_on():
            return all(len(sender.acknowledged) > before[sender] for sender in others)

        await until(all_went_on, every=0.1)

    disturb = Disturbance(nodes.nodes[killed], meanwhile)
    await under_load(server.url, server.product_key, disturb, senders=12, fleet=fleet)
    assert sum(sender.resent for sender in fleet) > 0
    await assert_exactly_once(nodes.dsn, fleet)
    await nothing_is_left_half_done(nodes)


async def test_the_coordinator_is_killed_and_comes_back(nodes, server):
    async def meanwhile():
        await asyncio.sleep(1)

    fleet = await under_load(server.url, server.product_key, Disturbance(nodes.coordinator, meanwhile))
    assert sum(sender.resent for sender in fleet) > 0
    await assert_exactly_once(nodes.dsn, fleet)
    await nothing_is_left_half_done(nodes)
