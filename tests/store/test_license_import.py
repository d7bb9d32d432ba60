"""An import in chunks: what one of them remembers of another, and what happens beside jobs."""

import asyncio
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest
from patience import until

from telemetry_server.keyring import open_keyring
from telemetry_server.model import Author, CustomerPatch, LicensePatch, LicenseRow
from telemetry_server.store.registry.customers import list_customers
from telemetry_server.store.registry.history import ChangeOutcome
from telemetry_server.store.registry.license_import import importing
from telemetry_server.store.registry.licenses import key_hashes, licenses_by_key_hash, list_licenses
from telemetry_server.store.registry.products import add_product

pytestmark = pytest.mark.every_postgres

NOW = datetime(2026, 11, 22, 10, tzinfo=UTC)
BY = Author("cli:maria")
BACKWARDS = {"starts_at": NOW, "expires_at": NOW - timedelta(days=1)}


@pytest.fixture
async def hashes(connection, tmp_path):
    await add_product(connection, "ACME Billing", now=NOW)
    return await key_hashes(connection, open_keyring(tmp_path / "keyring.json"), "acme-billing")


def row(line, key="KEY-1", **patch):
    return LicenseRow(line, key, None, LicensePatch(**patch))


async def outcomes(connection, hashes, *chunks, **options):
    """What became of the rows of each chunk."""
    found = []
    async with importing(connection, hashes, by=BY, **options) as run:
        for chunk in chunks:
            kept = (await run.take(chunk, now=NOW)).rows
            found.append([each.outcome for each in kept])
    return found


@pytest.mark.parametrize("dry_run", [False, True])
async def test_chunks_know_of_each_other(connection, hashes, dry_run):
    found = await outcomes(
        connection, hashes, [row(2, seats=1)], [row(3, seats=1), row(4, seats=2)], dry_run=dry_run
    )
    assert found == [[ChangeOutcome.NEW], [ChangeOutcome.REPEATED, ChangeOutcome.WRONG]]


async def test_a_wrong_row_holds_nobody_back(connection, hashes):
    ann, anna = (CustomerPatch(email="ann@example.com", name=name) for name in ("Ann", "Anna"))
    found = await outcomes(
        connection,
        hashes,
        [row(2, customer=ann, **BACKWARDS), row(3, customer=ann, **BACKWARDS)],
        [row(4, customer=anna)],
    )
    assert found == [[ChangeOutcome.WRONG, ChangeOutcome.WRONG], [ChangeOutcome.NEW]]
    assert [customer.name for customer in await list_customers(connection, now=NOW)] == ["Anna"]


async def test_an_import_that_fails_leaves_nothing_of_its_chunk(connection, hashes):
    """A name that no check would let through: the chunk fails in the database, and can be sent again."""
    async with importing(connection, hashes, by=BY) as run:
        with pytest.raises(asyncpg.DataError):
            await run.take([row(2), row(3, "KEY-2", edition="a\0b")], now=NOW)
        assert await list_licenses(connection, now=NOW) == []
        batch = await run.take([row(2), row(3, "KEY-2", edition="ab")], now=NOW)
    assert [kept.outcome for kept in batch.rows] == [ChangeOutcome.NEW, ChangeOutcome.NEW]


async def test_a_deadlock_with_a_job_is_tried_again(connection, database, hashes):
    """The job marks the second license, then the first; the import goes the other way round."""
    rows = [row(2, "KEY-1"), row(3, "KEY-2")]
    await outcomes(connection, hashes, rows)
    by_hash = await licenses_by_key_hash(connection, [hashes.own("KEY-1"), hashes.own("KEY-2")])
    first, second = (by_hash[hashes.own(each)] for each in ("KEY-1", "KEY-2"))
    job = await asyncpg.connect(database, server_settings={"deadlock_timeout": "60s"})
    await connection.execute("SET deadlock_timeout = '3s'")  # so that it is the import that gives way
    mark = "UPDATE licenses SET stale = false WHERE license_id = $1"
    try:
        async with job.transaction():
            await job.execute(mark, second.license_id)
            changed = [row(2, "KEY-1", seats=1), row(3, "KEY-2", seats=1)]
            importer = asyncio.ensure_future(outcomes(connection, hashes, changed))
            await until(lambda: job.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"))
            await job.execute(mark, first.license_id)
        assert await importer == [[ChangeOutcome.CHANGED, ChangeOutcome.CHANGED]]
    finally:
        await job.close()
    assert {each.seats for each in await list_licenses(connection, now=NOW)} == {1}
