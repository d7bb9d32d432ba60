"""The command "doctor": all checks in one table.

findings   the result of a check
here       data directory, keyring, retention, disk, GeoIP, software, running server
database   PostgreSQL, its tables, the jobs
load       today's pings beside what the cores are good for
"""

import asyncio
import os
import sys
import threading
from collections.abc import Callable, Iterable

import click

from telemetry_server.app import job_table
from telemetry_server.cli.address import settings_of_server
from telemetry_server.cli.doctor import database, here
from telemetry_server.cli.doctor.findings import Finding, FindingLevel, failed
from telemetry_server.cli.invocation import Invocation
from telemetry_server.cli.output import as_json, print_json, print_table
from telemetry_server.settings import Settings

MOST_SECONDS = 18
MARKS = {FindingLevel.OK: "✓", FindingLevel.WARNING: "!", FindingLevel.FAILED: "✗"}


@click.command()
@click.option("--listen", metavar="HOST:PORT", help="Where the server listens. [default: as it says itself]")
@as_json
@click.pass_obj
def doctor(invocation: Invocation, listen: str | None, as_json: bool) -> None:
    """Check everything within 20 seconds, with advice.

    Exits with 1 if a check failed (✗); a warning (!) may be intended.
    """
    findings: list[Finding] = []
    checks = _checks(settings_of_server(invocation, listen))
    started: list[str] = []
    # In another thread, as a disk or name server that does not answer may block this one.
    watch = threading.Timer(MOST_SECONDS, _give_up, (started, findings, as_json))
    watch.daemon = True
    watch.start()
    for name, check in checks.items():
        started.append(name)
        findings.extend(check())
    watch.cancel()
    if not _report(findings, as_json=as_json):
        raise click.exceptions.Exit(1)


def _checks(settings: Settings) -> dict[str, Callable[[], Iterable[Finding]]]:
    return {
        "data directory": lambda: [here.data_directory(settings)],
        "keyring": lambda: [here.keyring(settings)],
        "retention": lambda: [here.retention(settings)],
        "disk space": lambda: [here.disk(settings)],
        "PostgreSQL": lambda: asyncio.run(database.look(settings, job_table(settings))),
        "GeoIP": lambda: here.geoip(settings),
        "C extensions": lambda: [here.extensions()],
        "server": lambda: here.server(settings),
    }


def _give_up(started: list[str], findings: list[Finding], as_json: bool) -> None:
    """Reports the findings so far, and exits without waiting for the running check."""
    found = (
        f'The check "{started[-1]}" did not end within {MOST_SECONDS} s; the checks after it were skipped.'
    )
    advice = "Check the disk of the data directory, PostgreSQL, and the name server."
    _report([*findings, failed("doctor", found, advice)], as_json=as_json)
    sys.stdout.flush()
    os._exit(1)


def _report(findings: list[Finding], *, as_json: bool) -> bool:
    """Prints the findings; returns whether none failed."""
    fine = all(finding.outcome is not FindingLevel.FAILED for finding in findings)
    if as_json:
        print_json({"ok": fine, "checks": findings})
    else:
        print_table(("", "check", "found"), map(_row, findings))
    return fine


def _row(finding: Finding) -> tuple[str, str, str]:
    return MARKS[finding.outcome], finding.check, " ".join(filter(None, (finding.detail, finding.advice)))
