"""Two servers: one has an audit log, the other one is its witness."""

import asyncio
import subprocess
import sys
import uuid

import asyncpg
import pytest
from audit_log import fill, without_triggers
from patience import wait_until
from places import ROOT

from telemetry_server.keyring import open_keyring
from telemetry_server.store.access.audit_checkpoints import signer_of

JOB = "send audit checkpoint to witness"


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


async def rewrite(dsn):
    """As an attacker who has the database and the keyring: another log, which fits itself."""
    connection = await asyncpg.connect(dsn)
    await without_triggers(connection)
    await connection.execute(
        "TRUNCATE audit_entries, audit_waiting, audit_leaves, audit_nodes, audit_checkpoints"
    )
    await fill(connection, 500)
    await connection.close()


def test_a_witness_keeps_what_shows_that_the_log_was_rewritten(
    make_server, other_database, tmp_path, tmp_path_factory
):
    data, kept = tmp_path_factory.mktemp("log"), tmp_path / "kept"
    key = signer_of(open_keyring(data / "keyring.json")).verifier.key
    witness = make_server(audit_witness_of=key)
    token = witness.command("token", "create", "--role", "admin", "--scope", "witness")["token"]
    log = make_server(
        data=data,
        database=other_database,
        audit_witness_url=f"{witness.url}/api/v1/witness",
        audit_witness_token=token,
    )
    log.command("audit", "checkpoint")
    wait_until(lambda: run(log, "run", JOB).returncode == 0)
    kept.write_text(run(witness, "audit", "witnessed", "--origin", key.partition("+")[0]).stdout)
    assert run(log, "audit", "verify", "--checkpoint", kept).returncode == 0

    asyncio.run(rewrite(other_database))
    log.command("audit", "checkpoint")
    assert run(log, "audit", "verify").returncode == 0
    assert run(log, "audit", "verify", "--checkpoint", kept).returncode == 3
    wait_until(lambda: "does not contain the checkpoint" in run(log, "run", JOB).stderr)
    refusals = "SELECT count(*) FROM audit_entries WHERE action = 'witness.refuse'"
    assert asyncio.run(witness.fetchval(refusals)) > 0
    assert "audit log of another server was rewritten" in witness.errors()


def test_a_witness_that_refuses_the_token_or_is_not_there_fails_the_job(make_server):
    witness = make_server()
    witness.command("audit", "checkpoint")
    witness.settings["audit_witness_url"] = f"{witness.url}/api/v1/witness"
    assert "does not keep the checkpoint: 401" in run(witness, "run", JOB).stderr
    witness.settings["audit_witness_url"] = "http://127.0.0.1:9"
    assert "The witness does not answer" in run(witness, "run", JOB).stderr
