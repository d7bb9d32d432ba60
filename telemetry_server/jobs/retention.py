"""The jobs that delete data after its retention."""

from collections.abc import Awaitable, Callable
from datetime import date, datetime, timedelta

from telemetry_server.check.fields import Registry
from telemetry_server.job_names import JobName
from telemetry_server.jobs.kept_days import first_kept, forget_until, forgotten_until
from telemetry_server.store import partitions
from telemetry_server.store.access import audit, sessions
from telemetry_server.store.counts.rollups import counting
from telemetry_server.store.database import Connection
from telemetry_server.store.job_log import Run
from telemetry_server.store.partitions import INSTALLATION_DAYS, PINGS
from telemetry_server.store.registry import shop
from telemetry_server.store.upkeep import addresses, retention

COUNTS_DAYS = 400
SESSIONS_DAYS = 1
"""Expired sessions stay so long: a clock that is hours ahead signs no one out for good."""


def _removing(forget: Callable[[Connection, datetime], Awaitable[int]], days: int, what: str) -> Run:
    async def run(connection: Connection, now: datetime) -> str:
        return f"removed {await forget(connection, now - timedelta(days=days))} {what}"

    return run


empty_quarantine = _removing(retention.empty_quarantine, 30, "quarantined pings")
forget_deliveries = _removing(shop.forget_deliveries, 30, "ids of messages of the shop")
forget_enrolments = _removing(retention.forget_enrolments, 30, "parents of identities that never sent a ping")
forget_sessions = _removing(sessions.forget_sessions, SESSIONS_DAYS, "sessions and sign-in links")


def forget_audit_entries(days: int) -> Run:
    """Erases older entries of the audit log; their commitments stay in its tree."""

    async def run(connection: Connection, now: datetime) -> str:
        by = audit.Entry(
            actor=f"job:{JobName.FORGET_AUDIT_ENTRIES}", action=audit.ERASE, reason=f"older than {days} days"
        )
        return f"erased {await audit.forget(connection, now - timedelta(days=days), by)} entries"

    return run


def shorten_addresses(keep_days: int) -> Run:
    """Shortens older addresses to networks; with 0 days, erases all addresses."""

    async def run(connection: Connection, now: datetime) -> str:
        if keep_days == 0:
            return f"erased {await addresses.erase_addresses(connection, now)} addresses"
        changed = await addresses.shorten_addresses(connection, now, keep_days)
        return f"shortened {changed} addresses older than {keep_days} days"

    return run


def forget_old_pings(registry: Registry) -> Run:
    """Drops months by the retention of the field registry: that of the data in it that is kept longest."""
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
    """Deletes the feature counters of rows that are kept longer than counters."""
    keeps_longer = registry.retention["ping"].outlasts(registry.retention["usage"])

    async def run(connection: Connection, now: datetime) -> str:
        if not keeps_longer:
            return "nothing to do: counters are dropped with their month"
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
