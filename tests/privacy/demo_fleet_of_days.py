"""A small fleet with weeks of history, counted by all roll-ups; and the counts."""

from datetime import UTC, datetime, timedelta

from demo_fleet import DemoFleet

from telemetry_server.check.fields import load_registry
from telemetry_server.jobs.active import count_active_copies
from telemetry_server.jobs.cohorts import roll_up_cohorts
from telemetry_server.jobs.days import roll_up_days
from telemetry_server.jobs.deadlines import watch_deadlines
from telemetry_server.jobs.pings import roll_up_pings
from telemetry_server.store.partitions import make_partitions
from telemetry_server.store.registry.products import add_product

COUNTED = {
    "fleet_days": "day",
    "feature_days": "day",
    "active_days": "day",
    "feature_value_days": "day",
    "cohort_weeks": "week",
}


async def settled(connection, dsn, installations=14, days=30):
    """The time, and the ids of the installations, the one with the longest history first."""
    now = datetime.now(UTC)
    product, _ = await add_product(connection, "Billing Suite", now=now - timedelta(days=60))
    for back in (60, 30, 0):
        await make_partitions(connection, (now - timedelta(days=back)).date())
    await DemoFleet(dsn, {product.slug: product.id}, installations=installations, days=days, now=now).settle()
    await watch_deadlines(connection, now)
    registry, nothing = load_registry(), timedelta(0)
    await roll_up_pings(registry)(connection, now)
    await roll_up_days(registry)(connection, now)
    await count_active_copies(registry, nothing, nothing)(connection, now)
    await roll_up_cohorts(registry)(connection, now)
    rows = await connection.fetch("SELECT installation_id FROM installations ORDER BY first_received_at")
    return now, [row[0] for row in rows]


async def counts(connection, until):
    """The rows of each roll-up; of the ends of days those that are over."""
    found = {}
    for table, day in COUNTED.items():
        over = "<" if table == "active_days" else "<="
        rows = await connection.fetch(
            f"SELECT to_jsonb(t)::text FROM {table} AS t WHERE {day} {over} $1", until
        )
        found[table] = sorted(row[0] for row in rows)
    return found
