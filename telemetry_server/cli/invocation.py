"""What every command line has in common: the option `--data`, and the settings that follow from it."""

import os
from typing import Any

import click

from telemetry_server.settings import Settings, read_settings


class Invocation:
    """One call of the command; `context.obj` of every command."""

    def __init__(self) -> None:
        self.options: dict[str, Any] = {}

    def settings(self, **options: Any) -> Settings:
        """The settings by the command line's `options` and the environment. Raises SettingsError."""
        self.options |= {name: value for name, value in options.items() if value is not None}
        return read_settings(os.environ, self.options)


def _keep_data(context: click.Context, _: click.Parameter, value: str | None) -> None:
    invocation = context.ensure_object(Invocation)
    if value is not None:
        invocation.options["data"] = value


DATA = click.Option(
    ["--data"],
    metavar="DIR",
    expose_value=False,
    callback=_keep_data,
    help="The data directory. [env: TELEMETRY_DATA; default: data]",
)


def with_data(command: click.Command) -> click.Command:
    """The command and all below it, each with the option --data."""
    if DATA not in command.params:
        command.params.append(DATA)
    if isinstance(command, click.Group):
        for below in command.commands.values():
            with_data(below)
    return command
