"""The commands "keyring …"."""

import os

import click

from telemetry_server.cli.invocation import Group, Invocation
from telemetry_server.cli.output import as_json, print_json, print_table, say
from telemetry_server.errors import OperatorError
from telemetry_server.keyring import Keyring, open_keyring
from telemetry_server.keyring import rotate as add_key
from telemetry_server.settings import Settings


@click.group(cls=Group)
def keyring() -> None:
    """The master keys, which live outside the database.

    Back their file up: it cannot be made again.
    """


@keyring.command()
@as_json
@click.pass_obj
def show(invocation: Invocation, as_json: bool) -> None:
    """Show the ids of the master keys, never the keys."""
    found = _existing(invocation.settings())
    if as_json:
        print_json({"file": str(found.path), "current": found.current, "masters": list(found.masters)})
    else:
        print_table(("key", ""), ((key, "current" if key == found.current else "") for key in found.masters))


@keyring.command()
@as_json
@click.pass_obj
def rotate(invocation: Invocation, as_json: bool) -> None:
    """Add a master key for copies that enrol from now on; the old ones go on working.

    Running servers read it within seconds.
    """
    path = _existing(invocation.settings()).path
    owner = path.stat()
    key = add_key(path)
    if os.geteuid() == 0:  # the file is a new one; the server must be able to read it
        os.chown(path, owner.st_uid, owner.st_gid)
    if as_json:
        print_json({"current": key})
    else:
        click.echo(key)
        say(f"Back up {path} now: the installations of {key} are known by nothing else.")


def _existing(settings: Settings) -> Keyring:
    """Raises OperatorError where there is none: a second one would know nobody."""
    if not settings.keyring.exists():
        raise OperatorError(
            f'There is no keyring {settings.keyring}. "telemetry-server serve" makes it; '
            "if it was lost, restore it from a backup."
        )
    return open_keyring(settings.keyring)
