"""What is ordered in these tests, and how to see whether two databases hold the same."""

from datetime import UTC, datetime

from telemetry_server.simulate.making import Order

END = datetime(2026, 11, 24, 10, tzinfo=UTC)
ORDER = Order("Demo Suite", installations=900, pings=16_000, days=90, seed=7, end=END)


async def hashes(connection):
    """What is in every table, in whatever order it lies there; the numbers of names are given for good."""
    tables = await connection.fetch(
        "SELECT relname FROM pg_class WHERE relkind IN ('r', 'p') AND relnamespace = 'public'::regnamespace AND NOT relispartition"
        " AND relname <> 'feature_names'"
    )
    return {
        table: await connection.fetchval(
            f"SELECT md5(string_agg(row, '' ORDER BY row)) FROM (SELECT t::text AS row FROM {table} AS t) AS all_of_it"
        )
        for [table] in tables
    }
