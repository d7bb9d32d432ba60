"""The command "doctor": everything that can be checked, in one table.

findings   what a check gives
here       the data directory, the keyring, retention, the disk, GeoIP, the software, the running server
database   PostgreSQL, its tables, the jobs
"""

import asyncio

import click

from telemetry_server.app import job_table
from telemetry_server.cli.doctor import database, here
from telemetry_server.cli.doctor.findings import Finding, Outcome
from telemetry_server.cli.invocation import Invocation
from telemetry_server.cli.output import as_json, print_json, print_table

MARKS = {Outcome.OK: "✓", Outcome.WARNING: "!", Outcome.FAILED: "✗"}


@click.command()
@click.option("--listen", metavar="HOST:PORT", help='What "serve" was given, if it was.')
@as_json
@click.pass_obj
def doctor(invocation: Invocation, listen: str | None, as_json: bool) -> None:
    """Check everything, and say what to do.

    Exits with 1 if a check failed (✗); a warning (!) may be as it should be.
    """
    settings = invocation.settings(listen=listen)
    findings = [
        here.data_directory(settings),
        here.keyring(settings),
        here.retention(settings),
        here.disk(settings),
        *asyncio.run(database.look(settings, job_table(settings))),
        *here.geoip(settings),
        here.extensions(),
        here.server(settings),
        here.capacity(settings),
    ]
    fine = all(finding.outcome is not Outcome.FAILED for finding in findings)
    if as_json:
        print_json({"ok": fine, "checks": findings})
    else:
        print_table(("", "check", "found"), map(_row, findings))
    if not fine:
        raise click.exceptions.Exit(1)


def _row(finding: Finding) -> tuple[str, str, str]:
    return MARKS[finding.outcome], finding.check, " ".join(filter(None, (finding.detail, finding.advice)))
