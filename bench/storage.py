"""PostgreSQL alone with the same rows: its speed, the cost of the indexes, the size of a ping on disk."""

import random
import time

import asyncpg

COLUMNS = (
    "received_at, installation_id, sequence, ping_id, occurred_at, time_suspect, client_address, state, claim_mismatch,"
    " source_mismatch, reason_code, verdict_code, used_since, counters"
)
NAMES = [name.strip() for name in COLUMNS.split(",")]
ROWS = 50_000
INDEXES = (
    ("installation_id, sequence", "received_at"),  # those of pings
    ("received_at, installation_id, sequence",),
    ("installation_id, received_at, sequence",),
)
OLD_ROWS, OLD_FLEET = 500_000, 100_000


async def copy_rate(dsn, batch):
    """Rows per second of binary COPY, one transaction per `batch`, into a table with the same indexes."""
    connection = await _connect(dsn)
    rows = await _latest_rows(connection)
    await connection.execute("DROP TABLE IF EXISTS copied; CREATE TABLE copied (LIKE pings INCLUDING ALL)")
    elapsed = await _copy(connection, rows, batch)
    assert await connection.fetchval("SELECT count(*) FROM copied") == len(rows)
    await connection.execute("DROP TABLE copied")
    await connection.close()
    return len(rows) / elapsed


async def cost_of_indexes(dsn, superuser, batch):
    """For each of INDEXES: rows a second of binary COPY, and bytes of WAL a row, after the pings of many days.

    Every row is of another installation, as on a day on which each sends its heartbeat.
    """
    connection, chance = await _connect(dsn), random.Random(1)
    latest = await _latest_rows(connection)
    await connection.execute(
        f"CREATE TEMP TABLE old_fleet AS SELECT number, gen_random_uuid() AS id FROM generate_series(1, {OLD_FLEET}) AS number"
    )
    ids = [row["id"] for row in await connection.fetch("SELECT id FROM old_fleet")]
    rows = [(row[0], chance.choice(ids), 10**6 + number, *row[3:]) for number, row in enumerate(latest)]
    found = []
    for indexes in INDEXES:
        made = "; ".join(f"CREATE INDEX ON copied ({columns})" for columns in indexes)
        await connection.execute(
            f"CREATE TABLE copied (LIKE pings); {made}; "
            f"INSERT INTO copied ({COLUMNS}) SELECT now() - interval '17 days' * (1 - n / {OLD_ROWS}.0), f.id, n, "
            "p.ping_id, p.occurred_at, p.time_suspect, p.client_address, p.state, p.claim_mismatch, p.source_mismatch, "
            "p.reason_code, p.verdict_code, p.used_since, NULL "
            f"FROM generate_series(1, {OLD_ROWS}) AS n JOIN old_fleet AS f ON f.number = 1 + (n * 7919::bigint) % {OLD_FLEET} "
            "CROSS JOIN (SELECT * FROM pings LIMIT 1) AS p"
        )
        await _checkpoint(superuser)
        before = await connection.fetchval("SELECT pg_current_wal_lsn()")
        elapsed = await _copy(connection, rows, batch)
        wal = await connection.fetchval("SELECT pg_current_wal_lsn() - $1::pg_lsn", before)
        found.append((indexes, len(rows) / elapsed, float(wal) / len(rows)))
        await connection.execute("DROP TABLE copied")
    await connection.close()
    return found


async def _checkpoint(superuser):
    """Checkpoints: the next change of each page writes the whole page to the WAL, as in normal operation."""
    connection = await asyncpg.connect(superuser)
    await connection.execute("CHECKPOINT")
    await connection.close()


async def _connect(dsn):
    connection = await asyncpg.connect(dsn)
    for kind in ("jsonb", "inet"):
        await connection.set_type_codec(
            kind, schema="pg_catalog", encoder=bytes, decoder=bytes, format="binary"
        )
    return connection


async def _latest_rows(connection):
    query = f"SELECT {COLUMNS} FROM pings ORDER BY received_at DESC, sequence DESC LIMIT {ROWS}"
    return [tuple(row) for row in await connection.fetch(query)]


async def _copy(connection, rows, batch):
    """Seconds, with one transaction per `batch`."""
    started = time.perf_counter()
    for first in range(0, len(rows), batch):
        await connection.copy_records_to_table("copied", records=rows[first : first + batch], columns=NAMES)
    return time.perf_counter() - started


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
