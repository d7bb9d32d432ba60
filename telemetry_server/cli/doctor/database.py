"""The checks of PostgreSQL, its tables and the jobs."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from telemetry_server.check.fields import load_registry
from telemetry_server.cli.doctor import load
from telemetry_server.cli.doctor.findings import Finding, failed, ok, warning
from telemetry_server.cli.session import database
from telemetry_server.enrich.lifecycle import Outage
from telemetry_server.errors import MigrationError, OperatorError
from telemetry_server.job_names import JobName
from telemetry_server.jobs.kept_days import most_behind
from telemetry_server.jobs.runner import Job
from telemetry_server.keyring import (
    KeyringDamaged,
    KeyringError,
    KeyringMissing,
    KeyringUnreadable,
    read_keyring,
)
from telemetry_server.privacy.store import requests
from telemetry_server.settings import Settings
from telemetry_server.store import clock, distribution
from telemetry_server.store.access.keyring_check import Remembered
from telemetry_server.store.connection_budget import (
    connections_allowed,
    connections_wanted,
    too_few_connections,
)
from telemetry_server.store.counts import rollups
from telemetry_server.store.database import AWAY, OLDEST_MAJOR, Connection, operator_connection
from telemetry_server.store.fitness import encoding_problem, refuse_unfit
from telemetry_server.store.fleet.outages import outages
from telemetry_server.store.migrate import pending_migrations
from telemetry_server.store.partitions import MONTHS_AHEAD, months_everywhere, strays
from telemetry_server.store.upkeep import vitals
from telemetry_server.store.upkeep.addresses import retention_problem

MAKE_PARTITIONS = f"Run: telemetry-server run {JobName.MAKE_PARTITIONS}"
START_SECONDS, STATEMENT_SECONDS, MOST_SECONDS = 8, 5, 12
"""Timeouts of the start of the embedded PostgreSQL, of one statement, and of all checks."""
CLOCKS_DIFFER = timedelta(seconds=5)
GRACE = timedelta(minutes=10)


async def look(settings: Settings, jobs: Sequence[Job]) -> list[Finding]:
    """All findings; the last one may be a failure that makes further checks pointless."""
    if not settings.database_url and not (settings.data / "postgres").exists():
        return [failed("PostgreSQL", "There is no database yet.", "Run: telemetry-server serve")]
    findings: list[Finding] = []
    try:
        async with (
            asyncio.timeout(MOST_SECONDS),
            database(settings, start_timeout=START_SECONDS) as dsn,
            operator_connection(dsn, patience=STATEMENT_SECONDS) as connection,
        ):
            async for finding in _checks(connection, jobs, settings):
                findings.append(finding)  # noqa: PERF401  keeps the findings before a timeout
    except OperatorError as error:
        findings.append(failed("PostgreSQL", error.detail, ""))
    except AWAY as error:
        found = f"It stopped answering ({str(error) or type(error).__name__})."
        advice = "Its other checks were skipped. Look at its log, and for locks at pg_stat_activity."
        findings.append(failed("PostgreSQL", found, advice))
    return findings


async def _checks(connection: Connection, jobs: Sequence[Job], settings: Settings) -> AsyncIterator[Finding]:
    yield _version(connection)
    yield _connections(await connections_allowed(connection), settings)
    yield _durability(await vitals.durability(connection))
    yield _clocks(await clock.database_time(connection))
    fitness = await _fitness(connection)
    yield fitness
    if fitness.advice:
        return
    migrations = await _migrations(connection)
    yield migrations
    if migrations.advice:
        return
    yield _master_keys(await Remembered.of(connection), settings.keyring)
    bound = most_behind(load_registry().keeping(settings.retention_days))
    yield await _clock(connection, datetime.now(UTC), bound)
    if await distribution.has_citus(connection):
        for finding in await _cluster(connection):
            yield finding
    yield _partitions(await months_everywhere(connection))
    yield _strays(await strays(connection))
    yield _quarantine(await vitals.quarantined(connection))
    yield _requests(await requests.due(connection, datetime.now(UTC).date()))
    yield _outage(await outages(connection), datetime.now(UTC))
    yield _addresses(await retention_problem(connection, datetime.now(UTC)))
    yield load.load(await load.samples(connection, datetime.now(UTC)))
    yield _rollups(await rollups.progress(connection), datetime.now(UTC))
    for finding in _jobs(jobs, await vitals.last_runs(connection)):
        yield finding


def _version(connection: Connection) -> Finding:
    version = connection.get_server_version()
    found = f"{version.major}.{version.micro} answers"  # before 10, a version had three numbers
    if version.major < OLDEST_MAJOR:
        return failed("PostgreSQL", found, f"It is too old: {OLDEST_MAJOR} or newer is needed.")
    return ok("PostgreSQL", found)


def _connections(allowed: int, settings: Settings) -> Finding:
    workers, lanes = settings.workers, settings.writer_lanes
    if few := too_few_connections(allowed, workers, lanes):
        return warning("connections", few, "")
    wanted = connections_wanted(workers, lanes)
    return ok("connections", f"{allowed} allowed, at most {wanted} for server processes: {workers}")


def _durability(settings: dict[str, str]) -> Finding:
    off = [name for name, setting in sorted(settings.items()) if setting == "off"]
    if off:
        return failed(
            "durability", f"{', '.join(off)} off: a power cut loses acknowledged pings.", "Switch them on."
        )
    return ok("durability", ", ".join(f"{name} {setting}" for name, setting in sorted(settings.items())))


def _clocks(there: datetime) -> Finding:
    difference = abs(datetime.now(UTC) - there)
    found = f"{difference.total_seconds():.1f} s between this machine and the database"
    if difference > CLOCKS_DIFFER:
        return warning("clocks", found, "Synchronise both with a time server.")
    return ok("clocks", found)


async def _clock(connection: Connection, now: datetime, bound: timedelta) -> Finding:
    read = await clock.read_clock(connection, now)
    if read.problem:
        advice = "A running server does so within a minute."
        if read.doubt:
            refused = " and uploads are refused" if read.lag > bound else ""
            advice = f"Until then, no old data is deleted{refused}."
        return failed("clock", f"{read.problem[0].upper()}{read.problem[1:]}.", advice)
    if taken_back := await clock.taken_back(connection, now):
        return warning(
            "clock",
            f"{taken_back}.",
            "Find the cause, such as a time server that was down, or an empty clock battery.",
        )
    return ok("clock", "agrees with the database and the pings")


async def _fitness(connection: Connection) -> Finding:
    try:
        await refuse_unfit(connection)
    except MigrationError as error:
        return failed("database", error.detail, "Nothing else was checked.")
    if problem := await encoding_problem(connection):
        return failed("database", problem, "")
    return ok("database", "UTF8, used by this software only, and writable")


async def _migrations(connection: Connection) -> Finding:
    try:
        pending = await pending_migrations(connection)
    except MigrationError as error:
        return failed("migrations", error.detail, "Nothing else was checked.")
    if pending:
        return failed("migrations", f"{len(pending)} have not run.", "Run: telemetry-server migrate")
    return ok("migrations", "all have run")


def _master_keys(remembered: Remembered, path: Path) -> Finding:
    """Whether the keyring belongs to this database, and is not from before a rotation."""
    try:
        remembered.demand(read_keyring(path))
    except (KeyringMissing, KeyringUnreadable, KeyringDamaged):
        return failed("master keys", "The keyring cannot be compared with the database.", "See: keyring")
    except KeyringError as error:
        return failed("master keys", error.detail, "")
    return ok("master keys", f"the database knows {', '.join(sorted(remembered.masters)) or 'none yet'}")


async def _cluster(connection: Connection) -> list[Finding]:
    """Of a database with Citus: where its tables are, whether its nodes reach each other, and are durable."""
    tables = await distribution.placements(connection)
    if not any(table.done for table in tables):
        return [ok("cluster", "Citus is there, and every table is on one machine")]
    functions = await distribution.missing_functions(connection)
    functions += await distribution.functions_of_keys(connection)
    if missing := [table.table for table in tables if not table.done] + functions:
        found = f"Half done: {', '.join(missing)} are not distributed, so statements fail."
        return [failed("cluster", found, "Run: telemetry-server cluster distribute")]
    findings = [
        failed("cluster", f"{one} does not reach {other}.", "Look at that node, pg_hba.conf and the network.")
        for one, other in await distribution.unreachable(connection)
    ]
    for node, found in (await distribution.unsafe_workers(connection)).items():
        findings.append(failed("durability", f"{node}: {found}. A power cut loses acknowledged pings.", ""))
    workers = sum(not node.is_coordinator for node in await distribution.nodes(connection))
    return findings or [ok("cluster", f"{len(tables)} tables over {workers} workers")]


def _partitions(months: Sequence[Any]) -> Finding:
    today = datetime.now(UTC).date()
    ahead = sum(month > today for month in months)
    found = f"{len(months)} months, {ahead} of them ahead"
    if today.replace(day=1) not in months or not ahead:
        return failed("partitions", found, MAKE_PARTITIONS)
    if ahead < MONTHS_AHEAD:
        return warning("partitions", found, MAKE_PARTITIONS)
    return ok("partitions", found)


def _strays(counts: Mapping[str, int]) -> Finding:
    if counts:
        found = " and ".join(f"{count} {table}" for table, count in counts.items())
        return failed("default partition", f"{found} are in no month's partition.", MAKE_PARTITIONS)
    return ok("default partition", "empty")


def _quarantine(count: int) -> Finding:
    if count:
        return warning(
            "quarantine",
            f"{count} pings that PostgreSQL refused are stored, not counted.",
            "Look at them: telemetry-server db psql -- -c 'TABLE quarantine'",
        )
    return ok("quarantine", "empty")


def _requests(due: requests.Due) -> Finding:
    """Requests of data subjects have a time in which the law wants an answer."""
    advice = "See them: telemetry-server privacy request list"
    if due.overdue:
        return warning("data subjects", f"{due.overdue} requests are overdue.", advice)
    if due.soon:
        return warning("data subjects", f"{due.soon} requests are due within a week.", advice)
    return ok("data subjects", "no request is due within a week")


def _outage(known: Sequence[Outage], now: datetime) -> Finding:
    """An outage ends when copies have had the time to report again."""
    if lasting := [began_at for began_at, ended_at in known if ended_at > now]:
        return warning(
            "reports",
            f"No copy could report since {min(lasting):%Y-%m-%d %H:%M} UTC, so none becomes late for now.",
            "If no pings arrive, check the path to the server: proxy, certificate, DNS.",
        )
    return ok("reports", "no outage")


def _addresses(problem: str | None) -> Finding:
    if problem:
        found = f"Addresses may be stored longer than configured: {problem}."
        return failed("address retention", found, f"Run: telemetry-server run {JobName.SHORTEN_ADDRESSES}")
    return ok("address retention", "enforced")


def _rollups(progress: rollups.Progress, now: datetime) -> Finding:
    if progress.is_late(now):
        advice = f"A running server continues; to do it now, run: telemetry-server run {progress.behind}"
        return warning("roll-ups", f"{progress}.", advice)
    return ok("roll-ups", str(progress))


def _jobs(jobs: Sequence[Job], runs: dict[str, Any]) -> list[Finding]:
    findings = [_job(job, runs.get(job.name)) for job in jobs]
    return [finding for finding in findings if finding] or [ok("jobs", "all ran in time")]


def _job(job: Job, run: Any) -> Finding | None:
    advice = f"Run: telemetry-server run {job.name}"
    if run is None:
        return warning("jobs", f'"{job.name}" has not run yet.', "A running server runs it.")
    if run["last_error"]:
        return warning("jobs", f'"{job.name}" failed: {run["last_error"]}', advice)
    if clock.is_future(run["last_started_at"], datetime.now(UTC)):
        future = f"{run['last_started_at']:%Y-%m-%d}, by a clock that was ahead"
        return warning("jobs", f'"{job.name}" ran last on {future}; that counts as never.', advice)
    if datetime.now(UTC) - run["last_started_at"] > 2 * job.every + GRACE:
        return warning("jobs", f'"{job.name}" ran last on {run["last_started_at"]:%Y-%m-%d}.', advice)
    return None
