"""The commands "rollup …"."""

import asyncio
from datetime import UTC, date, datetime

import click

from telemetry_server.check.fields import load_registry
from telemetry_server.cli.invocation import Group, Invocation
from telemetry_server.cli.output import as_json, print_json, progress
from telemetry_server.cli.session import connection
from telemetry_server.jobs.rebuild import rebuild as rebuild_days
from telemetry_server.settings import Settings

DAY = click.DateTime(["%Y-%m-%d"])


@click.group(cls=Group)
def rollup() -> None:
    """The counts of pings."""


@rollup.command()
@click.option(
    "--from", "first", type=DAY, metavar="DAY", required=True, help="The first day, e.g. 2026-11-22."
)
@click.option("--to", "last", type=DAY, metavar="DAY", required=True, help="The last day.")
@as_json
@click.pass_obj
def rebuild(invocation: Invocation, first: datetime, last: datetime, as_json: bool) -> None:
    """Recount a range of days (UTC) from the pings.

    A running server counts by itself; use this if you do not trust the counts. It works month by month and
    may be interrupted: each month is either unchanged or done. New pings are counted afterwards.
    """
    if last < first:
        raise click.UsageError("--to is before --from.")
    days = first.date(), last.date()
    asyncio.run(_rebuild(invocation.settings(), *days))
    if as_json:
        print_json(dict(zip(("from", "to"), days, strict=True)))
    else:
        click.echo(f"recounted the days from {days[0]} to {days[1]}")


async def _rebuild(settings: Settings, first: date, last: date) -> None:
    registry = load_registry().keeping(settings.retention_days)
    async with connection(settings) as opened:
        with progress() as bar:
            task = bar.add_task("counting", total=1.0)
            async for done in rebuild_days(opened, registry, first, last, datetime.now(UTC)):
                bar.update(task, completed=done)
