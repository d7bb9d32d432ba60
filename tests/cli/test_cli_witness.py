"""Two servers: one has an audit log, the other one is its witness."""

import asyncio
import subprocess
import sys
import uuid
from datetime import UTC, datetime

import asyncpg
import pytest
from audit_log import entry, fill, without_triggers
from patience import wait_until
from places import ROOT

from telemetry_server.keyring import open_keyring
from telemetry_server.model import Role
from telemetry_server.store.access import audit
from telemetry_server.store.access.audit_checkpoints import signer_of
from telemetry_server.store.access.audit_log import size_of
from telemetry_server.store.access.credentials import Limits, create_token
from telemetry_server.store.access.throttle import OF_WITNESS

JOB, NOW, SCOPES = "send audit checkpoint to witness", datetime.now(UTC), Limits(scopes=["witness"])


@pytest.fixture
async def other_database(cluster, template):
    name = f"test_{uuid.uuid4().hex[:12]}"
    await cluster.copy(template, name)
    yield cluster.dsn(name)
    await cluster.drop(name)


def run(server, *arguments):
    command = [sys.executable, "-m", "telemetry_server", *map(str, arguments)]
    return subprocess.run(
        command, env=server.environment, cwd=ROOT, capture_output=True, text=True, check=False
    )


async def in_database(dsn, call, *arguments, **named):
    connection = await asyncpg.connect(dsn)
    try:
        return await call(connection, *arguments, **named)
    finally:
        await connection.close()


async def rewrite(connection):
    """As an attacker who has the database and the keyring: another log, which fits itself."""
    await without_triggers(connection)
    await connection.execute(
        "TRUNCATE audit_entries, audit_waiting, audit_leaves, audit_nodes, audit_checkpoints"
    )
    await fill(connection, 500)


def test_a_witness_keeps_what_shows_that_the_log_was_rewritten(
    make_server, other_database, tmp_path, tmp_path_factory
):
    data, kept = tmp_path_factory.mktemp("log"), tmp_path / "kept"
    key = signer_of(open_keyring(data / "keyring.json")).verifier.key
    witness = make_server(audit_witness_of=key)
    token = asyncio.run(in_database(witness.database, create_token, Role.ADMIN, "x", None, SCOPES, now=NOW))
    log = make_server(
        data=data,
        database=other_database,
        audit_witness_url=f"{witness.url}/api/v1/witness",
        audit_witness_token=token,
    )
    asyncio.run(in_database(other_database, audit.record, entry()))
    wait_until(lambda: asyncio.run(in_database(other_database, size_of)))  # the server numbers it
    log.command("audit", "checkpoint")
    wait_until(lambda: run(log, "run", JOB).returncode == 0)
    kept.write_text(run(witness, "audit", "witnessed", "--origin", key.partition("+")[0]).stdout)
    assert run(log, "audit", "verify", "--checkpoint", kept).returncode == 0

    asyncio.run(in_database(other_database, rewrite))
    log.command("audit", "checkpoint")
    assert run(log, "audit", "verify", "--checkpoint", kept).returncode == 3
    wait_until(lambda: "does not contain the checkpoint" in run(log, "run", JOB).stderr)
    for _ in range(OF_WITNESS.count):  # it comes again and again, and fills no log
        assert "does not contain the checkpoint" in run(log, "run", JOB).stderr
    refusals = "SELECT count(*) FROM audit_entries WHERE action = 'witness.refuse'"
    assert asyncio.run(witness.fetchval(refusals)) == OF_WITNESS.count
    assert "audit log of another server was rewritten" in witness.errors()
