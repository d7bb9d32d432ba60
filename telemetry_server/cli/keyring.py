"""The commands "keyring …"."""

import click

from telemetry_server.cli.invocation import Group, Invocation
from telemetry_server.cli.output import as_json, print_json, print_table, say
from telemetry_server.cli.session import ask
from telemetry_server.keyring import read_keyring
from telemetry_server.store.access.keyring_check import abandon_master, rotate_keyring_of
from telemetry_server.store.database import Connection


@click.group(cls=Group)
def keyring() -> None:
    """The master keys, which live outside the database.

    Back their file up, again after each rotation: it cannot be made again.
    """


@keyring.command()
@as_json
@click.pass_obj
def show(invocation: Invocation, as_json: bool) -> None:
    """Show the ids of the master keys, never the keys."""
    found = read_keyring(invocation.settings().keyring)
    if as_json:
        print_json({"file": str(found.path), "current": found.current, "masters": list(found.masters)})
    else:
        print_table(("key", ""), ((key, "current" if key == found.current else "") for key in found.masters))


@keyring.command()
@as_json
@click.pass_obj
def rotate(invocation: Invocation, as_json: bool) -> None:
    """Add a master key for copies that enrol from now on; the old ones go on working.

    Running servers read it within seconds. Back the keyring up at once: an older one is refused from now on.
    """
    settings = invocation.settings()
    read_keyring(settings.keyring)  # says what is wrong with it before the database is started
    key = ask(settings, lambda connection: rotate_keyring_of(connection, settings.keyring))
    if as_json:
        print_json({"current": key})
    else:
        click.echo(key)
        say(f"Back up {settings.keyring} now: the installations of {key} are known by nothing else.")


@keyring.command()
@click.argument("key")
@as_json
@click.pass_obj
def abandon(invocation: Invocation, key: str, as_json: bool) -> None:
    """Go on without a master key that is lost for good; its id is not used again.

    The installations that enrolled with KEY are refused. A day later they enrol anew, each as a new one.
    """
    settings = invocation.settings()

    async def work(connection: Connection) -> None:
        await abandon_master(connection, key, settings.keyring)

    ask(settings, work)
    if as_json:
        print_json({"abandoned": key})
    else:
        click.echo(f"{key} is abandoned. A keyring that has it is still good.")
