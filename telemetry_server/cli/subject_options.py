"""The options that name whom a command is about: an installation or a customer."""

from collections.abc import Callable
from typing import Any, TypeAlias
from uuid import UUID

import click

from telemetry_server.privacy.store.level_limits import customer_named
from telemetry_server.privacy.subjects import Subject
from telemetry_server.store.database import Connection

Command: TypeAlias = Callable[..., Any]


def about(command: Command) -> Command:
    """Adds --installation and --customer, of which one is given."""
    command = click.option(
        "--customer", metavar="EMAIL|ID", help="A customer, with all installations on its licenses."
    )(command)
    return click.option(
        "--installation", "installation_id", type=click.UUID, metavar="ID", help="One installation."
    )(command)


async def subject_of(connection: Connection, installation_id: UUID | None, customer: str | None) -> Subject:
    """The subject that the options name. Raises UsageError or NoSuchCustomer."""
    if customer is not None and installation_id is None:
        return Subject("customer", (await customer_named(connection, customer)).customer_id)
    if installation_id is not None and customer is None:
        return Subject("installation", installation_id)
    raise click.UsageError("Name one subject: --installation ID or --customer EMAIL.")
