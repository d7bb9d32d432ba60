"""The jobs that keep the promises about time: partitions ahead, nothing kept longer than was said."""

from datetime import date, datetime, timedelta

from telemetry_server.check.fields import Registry
from telemetry_server.job_names import JobName
from telemetry_server.jobs.retention import first_kept, forget_until, forgotten_until
from telemetry_server.jobs.runner import Run
from telemetry_server.store import partitions
from telemetry_server.store.access import credentials
from telemetry_server.store.counts.rollups import counting
from telemetry_server.store.database import Connection
from telemetry_server.store.ingest import projection
from telemetry_server.store.partitions import INSTALLATION_DAYS, PINGS
from telemetry_server.store.registry import shop
from telemetry_server.store.upkeep import addresses, retention

QUARANTINE_DAYS = 30
COUNTS_DAYS = 400
DELIVERIES_DAYS = 30
ENROLMENTS_DAYS = 30
SESSIONS_DAYS = 1
"""How long sessions that are over stay: a clock that is hours ahead signs no one out for good."""


async def make_partitions(connection: Connection, now: datetime) -> str:
    made = await partitions.make_partitions(connection, now.date())
    return f"made {', '.join(f'{month:%Y-%m}' for month in made)}" if made else "all partitions are there"


async def empty_quarantine(connection: Connection, now: datetime) -> str:
    removed = await retention.empty_quarantine(connection, now - timedelta(days=QUARANTINE_DAYS))
    return f"removed {removed} quarantined pings"


async def forget_sessions(connection: Connection, now: datetime) -> str:
    removed = await credentials.forget_sessions(connection, now - timedelta(days=SESSIONS_DAYS))
    return f"removed {removed} sessions and sign-in links"


async def catch_up(connection: Connection, _: datetime) -> str:
    noted, filled = await projection.catch_up(connection), await projection.fill_added(connection)
    return f"noted the news of {noted} installations" + (f", filled columns of {filled}" if filled else "")


async def forget_deliveries(connection: Connection, now: datetime) -> str:
    removed = await shop.forget_deliveries(connection, now - timedelta(days=DELIVERIES_DAYS))
    return f"removed {removed} ids of messages of the shop"


async def forget_enrolments(connection: Connection, now: datetime) -> str:
    removed = await retention.forget_enrolments(connection, now - timedelta(days=ENROLMENTS_DAYS))
    return f"removed the parents of {removed} identities that never sent a ping"


def shorten_addresses(keep_days: int) -> Run:
    """The addresses that are older become networks; with 0 days, none is left."""

    async def run(connection: Connection, now: datetime) -> str:
        if keep_days == 0:
            return f"erased {await addresses.erase_addresses(connection, now)} addresses"
        changed = await addresses.shorten_addresses(connection, now, keep_days)
        return f"shortened {changed} addresses older than {keep_days} days"

    return run


def forget_old_pings(registry: Registry) -> Run:
    """Drops what is over by the field registry: a month goes when the longest-kept of what lies in it may."""
    ping, usage, fact = (registry.retention[name].days for name in ("ping", "usage", "fact"))
    kept = {PINGS: ping, INSTALLATION_DAYS: None if ping is None or usage is None else max(ping, usage)}

    async def run(connection: Connection, now: datetime) -> str:
        today, months, states = now.date(), 0, 0
        await forget_until(connection, JobName.FORGET_OLD_PINGS, first_kept(registry, "ping", today))
        for parted, days in kept.items():
            if days is not None:
                months += len(await partitions.drop_partitions(connection, today, days, parted))
        if fact is not None:
            states = await retention.forget_unused_states(connection, now - timedelta(days=fact))
            await retention.forget_changes(connection, now - timedelta(days=fact))
        await retention.forget_counts(connection, today - timedelta(days=COUNTS_DAYS))
        return f"dropped {months} months and {states} states"

    return run


def forget_old_counters(registry: Registry) -> Run:
    """Takes the feature counters out of what is kept longer than they are."""
    keeps_longer = registry.retention["ping"].outlasts(registry.retention["usage"])

    async def run(connection: Connection, now: datetime) -> str:
        if not keeps_longer:
            return "nothing to do: counters go with their month"
        until = first_kept(registry, "usage", now.date())
        day = await forgotten_until(connection, JobName.FORGET_OLD_COUNTERS)
        if day == date.min:
            day = await retention.oldest_day(connection) or until
        rows = 0
        while day < until:
            async with counting(connection, JobName.ROLL_UP_PINGS):
                rows += await retention.forget_counters(connection, day)
                day += timedelta(days=1)
                await forget_until(connection, JobName.FORGET_OLD_COUNTERS, day)
        return f"removed the counters of {rows} rows from before {until}"

    return run
