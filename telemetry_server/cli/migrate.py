"""The command "migrate"."""

import asyncio

import click

from telemetry_server.cli.invocation import Invocation
from telemetry_server.cli.output import as_json, print_json, say
from telemetry_server.cli.session import bring_up, database, superuser_of
from telemetry_server.settings import Settings
from telemetry_server.store.database import operator_connection
from telemetry_server.store.migrate import Migration, pending_migrations


@click.command()
@click.option("--dry-run", is_flag=True, help="Only show what would run.")
@as_json
@click.pass_obj
def migrate(invocation: Invocation, dry_run: bool, as_json: bool) -> None:
    """Bring the database to this version.

    Safe beside other servers: they wait for each other. There is no way back but a backup.
    """
    migrations = asyncio.run(_migrate(invocation.settings(), dry_run))
    if as_json:
        names = [f"{migration.version:04}_{migration.name}" for migration in migrations]
        print_json({"pending" if dry_run else "applied": names})
    else:
        for migration in migrations if dry_run else ():
            click.echo(f"would run {migration.version:04} {migration.name}")
        if not migrations:
            click.echo("The database is of this version.")
        elif not dry_run:
            click.echo(f"The database is of this version now; {len(migrations)} migrations ran.")


async def _migrate(settings: Settings, dry_run: bool) -> list[Migration]:
    async with database(settings) as dsn, operator_connection(dsn) as connection:
        if dry_run:
            return await pending_migrations(connection)
        return await bring_up(connection, say, superuser=superuser_of(settings, dsn))
