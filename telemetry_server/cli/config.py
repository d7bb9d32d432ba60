"""The commands "config …"."""

import dataclasses
import os
import shlex
from collections.abc import Mapping
from typing import Any

import click

from telemetry_server.check.fields import load_registry
from telemetry_server.cli.invocation import Group, Invocation
from telemetry_server.cli.output import as_json, print_json, print_table
from telemetry_server.settings import PREFIX, Settings
from telemetry_server.store.embedded.home import Home

REDACTED = "***"


@click.group(cls=Group)
def config() -> None:
    """The settings in force."""


@config.command()
@as_json
@click.pass_obj
def show(invocation: Invocation, as_json: bool) -> None:
    """Show every setting, its value and the source of the value; secrets are left out."""
    settings = invocation.settings()
    rows = [_row(field, settings, invocation.options) for field in dataclasses.fields(Settings)]
    retention = load_registry().keeping(settings.retention_days).retention
    if as_json:
        days = {name: kept.days for name, kept in retention.items()}
        print_json({"settings": rows, "retention": days, "database": _database(settings)})
        return
    columns = ("setting", "value", "from", "meaning")
    print_table(columns, ([row["name"], row["value"], row["source"], row["text"]] for row in rows))
    click.echo(f"\nretention: {', '.join(f'{name} {kept}' for name, kept in retention.items())}")
    click.echo(f"database: {_database(settings)}")


def _row(field: Any, settings: Settings, options: Mapping[str, Any]) -> dict[str, Any]:
    variable, value = PREFIX + field.name.upper(), getattr(settings, field.name)
    if field.metadata["secret"] and value:
        value = REDACTED
    elif isinstance(value, tuple):
        value = ",".join(map(str, value))
    elif not isinstance(value, (bool, int)):
        value = str(value)
    source = next((name for name in (f"{variable}_FILE", variable) if name in os.environ), "default")
    if options.get(field.name) is not None:
        source = f"--{field.name.replace('_', '-')}"
    return {"name": variable, "value": value, "source": source, "text": field.metadata["text"]}


def _database(settings: Settings) -> str:
    """How to open the database with psql."""
    if settings.database_url:
        return "external; telemetry-server db psql"
    dsn = Home(settings.data).dsn("telemetry", "telemetry")
    return f"embedded; telemetry-server db psql, or while a server runs: psql {shlex.quote(dsn)}"
