"""What PostgreSQL itself can do with the same rows, and what a ping takes on disk."""

import time

import asyncpg

COLUMNS = "received_at, installation_id, sequence, ping_id, occurred_at, time_suspect, client_address, state, details, features"
ROWS = 50_000


async def copy_rate(dsn, batch):
    """Rows a second of binary COPY, a transaction for each `batch`, into a table with the same indexes."""
    connection = await asyncpg.connect(dsn)
    for kind in ("jsonb", "inet"):
        await connection.set_type_codec(
            kind, schema="pg_catalog", encoder=bytes, decoder=bytes, format="binary"
        )
    rows = [
        tuple(row)
        for row in await connection.fetch(
            f"SELECT {COLUMNS} FROM pings ORDER BY received_at DESC, sequence DESC LIMIT {ROWS}"
        )
    ]
    await connection.execute("DROP TABLE IF EXISTS copied; CREATE TABLE copied (LIKE pings INCLUDING ALL)")
    names = [name.strip() for name in COLUMNS.split(",")]
    started = time.perf_counter()
    for first in range(0, len(rows), batch):
        await connection.copy_records_to_table("copied", records=rows[first : first + batch], columns=names)
    elapsed = time.perf_counter() - started
    assert await connection.fetchval("SELECT count(*) FROM copied") == len(rows)
    await connection.execute("DROP TABLE copied")
    await connection.close()
    return len(rows) / elapsed


async def size_per_ping(dsn):
    """Pings, bytes of a ping with its indexes, bytes of an installation with its states."""
    connection = await asyncpg.connect(dsn)
    await connection.execute("VACUUM ANALYZE")
    pings, ping_bytes = await connection.fetchrow(
        "SELECT (SELECT count(*) FROM pings), sum(pg_total_relation_size(inhrelid))::bigint FROM pg_inherits WHERE inhparent = 'pings'::regclass"
    )
    fleet, fleet_bytes = await connection.fetchrow(
        "SELECT count(*), pg_total_relation_size('installations') + pg_total_relation_size('states') FROM installations"
    )
    await connection.close()
    return pings, ping_bytes / pings, fleet_bytes / fleet
