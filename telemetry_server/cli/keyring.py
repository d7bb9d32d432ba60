"""The commands "keyring …"."""

import click

from telemetry_server.cli.invocation import Group, Invocation
from telemetry_server.cli.output import as_json, print_json, print_table, say
from telemetry_server.cli.session import ask
from telemetry_server.keyring import read_keyring
from telemetry_server.store.access.keyring_check import abandon_master, rotate_keyring_of


@click.group(cls=Group)
def keyring() -> None:
    """The master keys, which are stored outside the database.

    Back up their file, and again after each rotation: it cannot be recreated.
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
    """Add a master key for copies that enrol from now on; the old ones stay valid.

    Running servers load it within seconds. Back up the keyring at once: an older one is refused from now on.
    """
    settings = invocation.settings()
    read_keyring(settings.keyring)  # reports its problems before the database is started
    key = ask(settings, lambda connection: rotate_keyring_of(connection, settings.keyring))
    if as_json:
        print_json({"current": key})
    else:
        click.echo(key)
        say(f"Back up {settings.keyring} now: without it, the installations of {key} are refused.")


@keyring.command()
@click.argument("key")
@as_json
@click.pass_obj
def abandon(invocation: Invocation, key: str, as_json: bool) -> None:
    """Give up a master key that is lost; its id is not used again.

    The installations that enrolled with KEY are refused. A day later they enrol again, each as a new one.
    """
    settings = invocation.settings()
    ask(settings, lambda connection: abandon_master(connection, key, settings.keyring))
    if as_json:
        print_json({"abandoned": key})
    else:
        click.echo(f"{key} is abandoned. A keyring that contains it is still valid.")
