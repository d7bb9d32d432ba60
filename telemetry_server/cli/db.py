"""The commands "db …"."""

import asyncio
import os
import shutil
import signal
import subprocess
from pathlib import Path

import click

from telemetry_server.cli.invocation import Group, Invocation
from telemetry_server.cli.output import progress, say
from telemetry_server.cli.reader import reader
from telemetry_server.cli.recorded_commands import record_command
from telemetry_server.cli.session import database
from telemetry_server.errors import OperatorError
from telemetry_server.settings import Settings
from telemetry_server.store.database import operator_connection
from telemetry_server.store.embedded.dumps import dump, restore, without_password
from telemetry_server.store.embedded.errors import EmbeddedBinariesMissing
from telemetry_server.store.embedded.upgrades import upgrade as upgrade_embedded
from telemetry_server.store.embedded.wheel import binaries
from telemetry_server.store.fitness import refuse_unfit
from telemetry_server.store.migrate import pending_migrations, released_migrations

FILE = click.Path(dir_okay=False, path_type=Path)
DUMP = b"PGDMP"
"""The first bytes of a file in pg_dump's custom format."""


@click.group(cls=Group)
def db() -> None:
    """The whole database: dump, restore, upgrade, psql, read-only roles."""


db.add_command(reader)


@db.command("export")
@click.argument("file", type=FILE)
@click.pass_obj
def export(invocation: Invocation, file: Path) -> None:
    """Write the whole database into FILE, readable by you alone, while servers run.

    FILE is in pg_dump's custom format. It does not contain the keyring: back that up separately.
    """
    settings = invocation.settings()
    asyncio.run(_export(settings, file))
    say(f"{file}: {file.stat().st_size:,} bytes. Back up {settings.keyring} too: it is not in that file.")


async def _export(settings: Settings, file: Path) -> None:
    async with database(settings) as dsn:
        await record_command(dsn)
        with progress() as bar:
            bar.add_task(f"writing {file.name}", total=None)
            await dump(dsn, file)


@db.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.pass_obj
def import_dump(invocation: Invocation, file: Path) -> None:
    """Load FILE, written by "db export", into an empty database: all of it or nothing."""
    settings = invocation.settings()
    with file.open("rb") as opened:
        if opened.read(len(DUMP)) != DUMP:
            raise OperatorError(f'{file} was not written by "db export"; nothing was changed.')
    pending = asyncio.run(_import(settings, file))
    say("Loaded." + (" Now run: telemetry-server migrate" if pending else ""))
    if not settings.keyring.exists():
        say(f"Restore the keyring of this database to {settings.keyring} before you start the server.")


async def _import(settings: Settings, file: Path) -> int:
    async with database(settings) as dsn:
        async with operator_connection(dsn) as connection:
            await refuse_unfit(connection)
            if len(await pending_migrations(connection)) < len(released_migrations()):
                raise OperatorError(
                    "The database is not empty. Load the file into a new one: with another --data, "
                    "or a new database in TELEMETRY_DATABASE_URL."
                )
        with progress() as bar:
            bar.add_task(f"loading {file.name}", total=None)
            await restore(dsn, file)
        async with operator_connection(dsn) as connection:
            return len(await pending_migrations(connection))


@db.command()
@click.pass_obj
def upgrade(invocation: Invocation) -> None:
    """Upgrade the embedded database to the major version of PostgreSQL in TELEMETRY_POSTGRES_MAJOR.

    Stop the server first. Needs twice the disk space of the data; the old data stays until you remove it.
    """
    settings = invocation.settings()
    if settings.database_url:
        raise OperatorError(
            "TELEMETRY_DATABASE_URL names an external PostgreSQL; upgrade that with its own tools."
        )
    saved = asyncio.run(
        upgrade_embedded(
            settings.data, to=settings.postgres_major, database_user=settings.database_user, say=say
        )
    )
    if saved is None:
        click.echo(f"Nothing to do: {settings.data} is for PostgreSQL {settings.postgres_major}.")


@db.command(context_settings={"ignore_unknown_options": True})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@click.pass_obj
def psql(invocation: Invocation, arguments: tuple[str, ...]) -> None:
    r"""Open psql on the database, with ARGUMENTS for psql, e.g.: db psql -- -c "TABLE products"

    Start with the views v_installations and v_pings, or with \dt+.
    """
    raise click.exceptions.Exit(asyncio.run(_psql(invocation.settings(), arguments)))


async def _psql(settings: Settings, arguments: tuple[str, ...]) -> int:
    async with database(settings) as dsn:
        await record_command(dsn)
        address, environment = without_password(dsn)
        signal.signal(signal.SIGINT, lambda *_: None)  # Ctrl-C is psql's
        command = [_program(), *arguments, address]
        return await asyncio.to_thread(subprocess.call, command, env=environment)


def _program() -> str:
    """The path of the embedded psql, which supports the newest servers, else of the system's."""
    try:
        carried = binaries() / "psql"
    except EmbeddedBinariesMissing:
        carried = None
    if carried and os.access(carried, os.X_OK):
        return str(carried)
    if found := shutil.which("psql"):
        return found
    raise OperatorError("There is no psql. Install your system's PostgreSQL client.")
