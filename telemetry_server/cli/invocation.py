"""What all commands share: the option --data, the settings and the error handling."""

import os
from typing import Any

import click

from telemetry_server.check.fields import load_registry
from telemetry_server.cli.failures import reported
from telemetry_server.settings import Settings, read_settings


class Invocation:
    """One call of the command; `context.obj` of every command."""

    def __init__(self) -> None:
        self.options: dict[str, Any] = {}

    def settings(self, **options: Any) -> Settings:
        """The settings from the command line's `options` and the environment. Raises SettingsError."""
        self.options |= {name: value for name, value in options.items() if value is not None}
        settings = read_settings(os.environ, self.options)
        load_registry().keeping(settings.retention_days)
        return settings


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
    """The command, with the option --data."""
    if DATA not in command.params:
        command.params.append(DATA)
    return command


class Group(click.Group):
    """A group of commands that all take --data, and whose errors become a sentence."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        with_data(self)

    def add_command(self, cmd: click.Command, name: str | None = None) -> None:
        super().add_command(with_data(cmd), name)

    def invoke(self, ctx: click.Context) -> Any:
        with reported(debug=ctx.find_root().params.get("debug", False)):
            return super().invoke(ctx)
