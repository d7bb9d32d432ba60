"""The commands "cluster …": on a cluster that is given with --citus, and what they say where there is none."""

import asyncio
import fcntl
import uuid

import asyncpg
import pytest
from checked_pings import make_checked_ping, make_signed_upload
from citus_cluster import SHARDS
from places import TODAY

from telemetry_server.store.database import connect, connect_writer
from telemetry_server.store.distribution import SQL, has_citus, placements
from telemetry_server.store.ingest.writer import GroupWriter
from telemetry_server.store.migrate import migrate
from telemetry_server.store.partitions import make_partitions

TABLES = {
    "products": "reference",
    "hostnames": "reference",
    "feature_names": "reference",
    "installations": "distributed",
    "installation_facts": "distributed",
    "states": "distributed",
    "changes": "distributed",
    "pings": "distributed",
    "installation_days": "distributed",
    "forks": "distributed",
    "lineage": "distributed",
    "quarantine": "distributed",
    "followed_installations": "distributed",
    "installation_levels": "distributed",
    "erased_installations": "distributed",
    "support_grants": "distributed",
}


@pytest.fixture
def alone(tmp_path_factory):
    """One test at a time: Citus gives the replication slots of two databases the same names."""
    with (tmp_path_factory.getbasetemp().parent / "distributing").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@pytest.fixture
async def undistributed(cluster, request, alone):
    """A database of the cluster with all its tables on the coordinator, as that of one machine."""
    if not request.config.getoption("--citus"):
        pytest.skip("needs a Citus cluster: --citus DSN")
    name = f"single_{uuid.uuid4().hex[:12]}"
    await cluster.make(name, workers=1)
    connection = await connect(cluster.dsn(name))
    await migrate(connection)
    await make_partitions(connection, TODAY)
    await connection.close()
    yield cluster.dsn(name)
    await cluster.drop(name)


@pytest.fixture
def operator(undistributed, command_line, tmp_path):
    return command_line(tmp_path, database_url=undistributed)


async def write(dsn, copies, numbers):
    async with GroupWriter(lambda: connect_writer(dsn)) as writer:
        uploads = [
            make_signed_upload(
                copy, uuid.UUID(int=1), *(make_checked_ping(n, ping_id=uuid.uuid4()) for n in numbers)
            )
            for copy in copies
        ]
        await asyncio.gather(*(writer.write(upload, 100) for upload in uploads))


async def fetchval(dsn, sql):
    connection = await asyncpg.connect(dsn)
    try:
        return await connection.fetchval(sql)
    finally:
        await connection.close()


def checked(operator, name):
    """The results of a check of the doctor, which has other things to say of a folder without a keyring."""
    return [check for check in operator.json("doctor", exit_code=1)["checks"] if check["check"] == name]


def test_where_there_is_no_citus_it_says_what_is_needed(request, database, command_line, tmp_path):
    if request.config.getoption("--citus"):
        pytest.skip("is about a database on one machine")
    operator = command_line(tmp_path, database_url=database)
    for arguments in (
        ("status",),
        ("distribute",),
        ("add-node", "127.0.0.1:5433"),
        ("rebalance",),
    ):
        assert "it has no Citus" in operator.error("cluster", *arguments)


async def test_a_database_in_use_is_distributed_with_its_rows_and_stays_in_use(undistributed, operator):
    copies = [uuid.uuid4() for _ in range(20)]
    await write(undistributed, copies, [1, 2, 3])
    planned = operator.json("cluster", "distribute", "--dry-run")["would_place"]
    assert {row["table"]: row["kind"] for row in planned} == TABLES
    assert await fetchval(undistributed, "SELECT count(*) FROM pg_dist_partition WHERE partmethod = 'h'") == 0
    done = operator.json("cluster", "distribute", "--shards", SHARDS, timeout=300)["placed"]
    assert [row["table"] for row in done] == [row["table"] for row in planned]
    await write(undistributed, copies, [3, 4])
    assert await fetchval(undistributed, "SELECT count(*) FROM pings") == 80
    assert await fetchval(undistributed, "SELECT count(*) FROM states") == 20
    assert operator.json("cluster", "distribute")["placed"] == []
    status = operator.json("cluster", "status")
    assert {row["table"]: row["kind"] for row in status["tables"] if row["done"]} == TABLES
    assert [node["shards"] for node in status["nodes"]] == [0, SHARDS]
    assert [check["outcome"] for check in checked(operator, "cluster")] == ["ok"]
    assert "On a cluster, a reader" in operator.error("db", "reader", "grafana")


async def test_the_doctor_knows_a_half_done_one_and_the_command_ends_it(undistributed, operator):
    connection = await connect(undistributed)
    assert await has_citus(connection)
    await connection.execute(SQL["shards"], str(SHARDS))
    await connection.execute(SQL["distribute"], "installations", "default")
    [half] = checked(operator, "cluster")
    assert half["outcome"] == "failed"
    assert "pings" in half["detail"]
    assert half["advice"] == "Run: telemetry-server cluster distribute"
    operator("cluster", "distribute", timeout=300)
    assert all(placement.done for placement in await placements(connection))
    await connection.execute("CREATE TABLE later (installation_id uuid PRIMARY KEY)")
    assert [placement.table for placement in await placements(connection) if not placement.done] == ["later"]
    await connection.close()


async def test_shards_move_to_a_new_worker_and_back(undistributed, operator, cluster):
    copies = [uuid.uuid4() for _ in range(20)]
    await write(undistributed, copies, [1])
    operator("cluster", "distribute", "--shards", SHARDS, timeout=300)
    worker = "{}:{}".format(*cluster.nodes[2])
    operator("cluster", "add-node", worker)
    operator("cluster", "rebalance", timeout=300)
    assert [node["shards"] for node in operator.json("cluster", "status")["nodes"]] == [
        0,
        SHARDS // 2,
        SHARDS // 2,
    ]
    assert operator("cluster", "rebalance").stdout == "All workers have their share.\n"
    await write(undistributed, copies, [2])
    operator("cluster", "remove-node", worker, timeout=300)
    assert [node["shards"] for node in operator.json("cluster", "status")["nodes"]] == [0, SHARDS]
    assert await fetchval(undistributed, "SELECT count(*) FROM pings") == 40


async def test_every_statement_of_the_cluster_can_be_prepared(undistributed):
    connection = await connect(undistributed)
    for sql in SQL.values():
        assert (await connection.prepare(sql)).get_query() == sql
    await connection.close()
