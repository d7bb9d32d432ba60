"""The jobs that keep the promises about time: partitions ahead, nothing kept longer than was said."""

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Any, TypeAlias

from telemetry_server.check.registry import Registry
from telemetry_server.store import access, addresses, partitions, retention, shop

QUARANTINE_DAYS = 30
COUNTS_DAYS = 400
DELIVERIES_DAYS = 30

Run: TypeAlias = Callable[[Any, datetime], Awaitable[str]]


async def make_partitions(connection: Any, now: datetime) -> str:
    made = await partitions.make_partitions(connection, now.date())
    return f"made {', '.join(f'{month:%Y-%m}' for month in made)}" if made else "all partitions are there"


async def empty_quarantine(connection: Any, now: datetime) -> str:
    removed = await retention.empty_quarantine(connection, now - timedelta(days=QUARANTINE_DAYS))
    return f"removed {removed} quarantined pings"


async def forget_sessions(connection: Any, now: datetime) -> str:
    return f"removed {await access.forget_sessions(connection, now)} sessions and sign-in links"


async def forget_deliveries(connection: Any, now: datetime) -> str:
    removed = await shop.forget_deliveries(connection, now - timedelta(days=DELIVERIES_DAYS))
    return f"removed {removed} ids of messages of the shop"


def shorten_addresses(keep_days: int) -> Run:
    """The addresses that are older become networks; with 0 days, none is left."""

    async def run(connection: Any, now: datetime) -> str:
        if keep_days == 0:
            return f"erased {await addresses.erase_addresses(connection, now)} addresses"
        changed = await addresses.shorten_addresses(connection, now, keep_days)
        return f"shortened {changed} addresses older than {keep_days} days"

    return run


def forget_old_pings(registry: Registry) -> Run:
    """Drops what is over by the field registry: a month goes when its longest-kept field may."""
    ping_days = max(entry.days for entry in registry.retention.values())

    async def run(connection: Any, now: datetime) -> str:
        months = await partitions.drop_partitions(connection, now.date(), ping_days)
        states = await retention.forget_unused_states(connection, now - timedelta(days=ping_days))
        await retention.forget_counts(connection, now.date() - timedelta(days=COUNTS_DAYS))
        return f"dropped {len(months)} months and {states} states older than {ping_days} days"

    return run
