"""What is acknowledged is there exactly once, whichever node of a cluster is killed; with --citus.

The test has nodes of its own, with the programs of the cluster that is given.
"""

import asyncio
from pathlib import Path

import asyncpg
import pytest
from citus_cluster import SHARDS
from citus_nodes import Nodes
from patience import until
from places import TODAY
from test_kill import assert_exactly_once, under_load

from telemetry_server.store.distribution import distribute
from telemetry_server.store.migrate import migrate
from telemetry_server.store.partitions import make_partitions

pytestmark = pytest.mark.timeout(300)

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


async def prepared(node):
    connection = await asyncpg.connect(node.dsn())
    try:
        return await connection.fetchval("SELECT count(*) FROM pg_prepared_xacts")
    finally:
        await connection.close()


@pytest.mark.parametrize("killed", [0, 1, 2], ids=["coordinator", "one worker", "the other"])
async def test_acknowledged_pings_survive_a_node_that_is_killed_and_comes_back(nodes, server, killed):
    node = nodes.nodes[killed]

    async def disturb():
        for _ in range(2):
            await asyncio.sleep(1)
            await asyncio.to_thread(node.kill)
            await asyncio.sleep(1)
            await asyncio.to_thread(node.start)

    fleet = await under_load(server.url, server.product_key, disturb)
    assert sum(sender.resent for sender in fleet) > 0
    await assert_exactly_once(nodes.dsn, fleet)

    async def no_commit_is_half_done():
        return not any([await prepared(each) for each in nodes.nodes])

    await until(no_commit_is_half_done, every=0.5)
