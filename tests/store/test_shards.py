"""How pings are written on a cluster that is given with --citus: by each node alone."""

import asyncio
import json
from datetime import UTC, datetime
from functools import partial
from uuid import uuid4, uuid5

import pytest
from checked_pings import make_checked_ping, make_signed_upload

from telemetry_server.errors import Unavailable
from telemetry_server.store.database import connect, connect_writer
from telemetry_server.store.distribution import shards_of
from telemetry_server.store.ingest.feature_names import number_names
from telemetry_server.store.ingest.writer import GroupWriter
from telemetry_server.store.registry.products import add_product

TWO_PHASES = """
    SELECT result FROM run_command_on_all_nodes('SELECT coalesce(json_agg(gid), ''[]'') FROM pg_dist_transaction')
"""
MOVE = """
    SELECT citus_move_shard_placement($1, f.nodename, f.nodeport, t.nodename, t.nodeport, 'block_writes')
    FROM pg_dist_node AS f, pg_dist_node AS t
    WHERE f.groupid = $2 AND t.groupid NOT IN (0, $2)
"""


@pytest.fixture
def database(request):
    if not request.config.getoption("--citus"):
        pytest.skip("needs a Citus cluster: --citus DSN")
    return request.getfixturevalue("distributed")


@pytest.fixture
async def distributed(cluster, template):
    name = f"shards_{uuid4().hex[:12]}"
    await cluster.copy(template, name)
    yield cluster.dsn(name)
    await cluster.drop(name)


@pytest.fixture
async def connection(database):
    connection = await connect(database)
    yield connection
    await connection.close()


@pytest.fixture
async def product(connection):
    """Its id. Its feature has a number: that is written to all nodes, in two phases."""
    product, _ = await add_product(connection, "Billing", now=datetime.now(UTC))
    await number_names(connection, product.id, ["backup"])
    return product.id


@pytest.fixture
async def writer(database):
    async with GroupWriter(partial(connect_writer, database)) as writer:
        yield writer


async def write(writer, product, copies, number):
    uploads = [
        make_signed_upload(
            copy, product, make_checked_ping(number, ping_id=uuid5(copy, str(number)), features={"backup": 1})
        )
        for copy in copies
    ]
    return await asyncio.gather(*(writer.write(each, 100) for each in uploads), return_exceptions=True)


async def two_phases(connection):
    return {gid for [gids] in await connection.fetch(TWO_PHASES) for gid in json.loads(gids)}


async def test_uploads_are_committed_by_the_nodes_that_have_them_in_one_phase(connection, writer, product):
    copies = [uuid4() for _ in range(40)]
    before = await two_phases(connection)
    for number in (1, 2, 3):
        await write(writer, product, copies, number)
    await write(writer, product, copies, 3)
    assert await two_phases(connection) <= before
    assert len({shard.node for shard in (await shards_of(connection, copies)).values()}) == 2
    written = await connection.fetch(
        "SELECT sequence, count(*) FROM pings GROUP BY sequence ORDER BY sequence"
    )
    assert [tuple(row) for row in written] == [(1, 40), (2, 40), (3, 40)]
    assert await connection.fetchval("SELECT count(*) FROM installation_facts") == 40


async def test_a_shard_that_moved_is_found_when_the_upload_is_repeated(connection, writer, product):
    copies = [uuid4() for _ in range(20)]
    await write(writer, product, copies, 1)
    moved = (await shards_of(connection, copies))[copies[0]]
    await connection.execute(MOVE, moved.number, moved.node, timeout=60)
    results = await write(writer, product, copies, 2)
    assert any(isinstance(result, Unavailable) for result in results)
    await write(writer, product, copies, 2)
    assert await connection.fetchval("SELECT count(*) FROM pings") == 40
    assert (await shards_of(connection, copies))[copies[0]].node != moved.node


async def test_pings_that_a_shard_refuses_are_in_quarantine_and_the_others_are_written(
    connection, writer, product
):
    copies = [uuid4() for _ in range(10)]
    bad = make_signed_upload(copies[0], product, make_checked_ping(1, details=r'{"note": "\u0000"}'))
    _, *others = await asyncio.gather(writer.write(bad, 100), write(writer, product, copies[1:], 1))
    assert [result.others for result in others[0]] == [{}] * 9
    assert await connection.fetchval("SELECT count(*) FROM quarantine") == 1
    assert await connection.fetchval("SELECT count(*) FROM pings") == 9
