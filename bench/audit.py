"""The audit log at a million entries: recording, numbering, verifying, proving.

python -m bench.audit postgresql://…/EMPTY_DATABASE [--entries 1000000]
"""

import argparse
import asyncio
import os
import time
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import asyncpg
import orjson
import psutil

from telemetry_server.keyring import Keyring
from telemetry_server.store.access import audit
from telemetry_server.store.access.audit_check import verify
from telemetry_server.store.access.audit_checkpoints import signer_of, write_checkpoint
from telemetry_server.store.access.audit_log import number_entries, prove
from telemetry_server.store.migrate import migrate
from telemetry_server.uuid7 import uuid7

SIGNER = signer_of(Keyring("keyring.json", {}, "k1", bytes(32)))
RECORDED = 1_000
COLUMNS = [
    "entry_id",
    "salt",
    "recorded_at",
    "actor",
    "action",
    "subject_kind",
    "subject_id",
    "network",
    "details",
]


class Clock:
    """Measures what this process and its backend do; PostgreSQL has to run on this machine."""

    def __init__(self, backend):
        self.backend = psutil.Process(backend)

    def spent(self):
        times = self.backend.cpu_times()
        return time.perf_counter(), time.process_time(), times.user + times.system

    @contextmanager
    def measured(self, what, count):
        before = self.spent()
        yield
        took, here, there = (now - then for now, then in zip(self.spent(), before, strict=True))
        each = (here + there) / count * 1e6
        print(
            f"{what:<30} {count:>9,} in {took:7.2f} s; CPU {here:6.2f} s here, {there:6.2f} s PostgreSQL; "
            f"{each:9.1f} µs of CPU each",
            flush=True,
        )


def rows(count):
    begin = datetime(2026, 1, 1, tzinfo=UTC)
    for number in range(count):
        subject = f"019ab6f0-3c1e-7d2a-9b1e-{number:012}"
        details = orjson.dumps({"path": f"/installations/{subject}", "query": ""}).decode()
        moment = begin + timedelta(seconds=number * 7)
        actor = f"api:person-{number % 40} (token {subject})"
        about = (actor, "installation.view", "installation", subject, "203.0.113.0/24", details)
        yield uuid7(), os.urandom(32), moment, *about


async def main(dsn, count):
    connection = await asyncpg.connect(dsn, command_timeout=600)
    measured = Clock(connection.get_server_pid()).measured
    await migrate(connection)
    async with connection.transaction():
        await connection.copy_records_to_table("audit_entries", records=rows(count), columns=COLUMNS)
        await connection.execute("INSERT INTO audit_waiting SELECT entry_id FROM audit_entries")
    await connection.execute("ANALYZE audit_entries")
    with measured("numbered", count):
        await number_entries(connection)
    now = datetime.now(UTC)
    with measured("checkpoint", 1):
        note = await write_checkpoint(connection, SIGNER, None, now)
    await connection.execute("VACUUM ANALYZE audit_entries, audit_leaves")
    with measured("verified", count):
        result = await verify(connection, SIGNER.verifier, [SIGNER.verifier.open(note)])
    assert result.intact, result
    with measured("proofs of single entries", 100):
        for leaf in range(0, count, count // 100):
            proof = await prove(connection, leaf, count)
    print(f"{'size of such a proof':<30} {len(proof.with_checkpoint(note)):>9,} bytes")
    entry = audit.Entry(actor="api:x", action="installation.view", details={"path": "/"})
    with measured("recorded, a commit each", RECORDED):
        for _ in range(RECORDED):
            await audit.record(connection, entry)
    for table in "audit_entries", "audit_leaves", "audit_nodes":
        size = await connection.fetchval("SELECT pg_total_relation_size($1::text::regclass)", table)
        print(f"{table:<30} {size / count:>9.0f} bytes an entry")
    await connection.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("database")
    parser.add_argument("--entries", type=int, default=1_000_000)
    arguments = parser.parse_args()
    asyncio.run(main(arguments.database, arguments.entries))
