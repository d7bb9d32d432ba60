"""The commands "privacy restrict", "privacy unrestrict" and "privacy restrictions"."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from uuid import UUID

import click

from telemetry_server.cli.invocation import Invocation
from telemetry_server.cli.output import as_json, print_json, print_table
from telemetry_server.cli.registry_options import by_whom
from telemetry_server.cli.session import ask
from telemetry_server.cli.subject_options import about, subject_of
from telemetry_server.model import Author
from telemetry_server.privacy.store import restrictions
from telemetry_server.privacy.subjects import Subject
from telemetry_server.store.database import Connection


@click.command()
@about
@by_whom
@as_json
@click.pass_obj
def restrict(
    invocation: Invocation,
    /,
    *,
    installation_id: UUID | None,
    customer: str | None,
    by: Author,
    as_json: bool,
) -> None:
    """Hide a subject from everyone but the privacy officer, for the --reason.

    Its pings are still taken and counted. Files the request, and answers it.
    """

    async def begin(connection: Connection) -> Subject:
        subject = await subject_of(connection, installation_id, customer)
        await restrictions.begin(connection, subject, by=by, now=datetime.now(UTC))
        return subject

    _print(invocation, begin, "restricted", as_json)


@click.command()
@about
@by_whom
@as_json
@click.pass_obj
def unrestrict(
    invocation: Invocation,
    /,
    *,
    installation_id: UUID | None,
    customer: str | None,
    by: Author,
    as_json: bool,
) -> None:
    """Show a restricted subject again, for the --reason."""

    async def withdraw(connection: Connection) -> Subject:
        subject = await subject_of(connection, installation_id, customer)
        await restrictions.withdraw(connection, subject, by=by, now=datetime.now(UTC))
        return subject

    _print(invocation, withdraw, "shown again", as_json)


@click.command("restrictions")
@as_json
@click.pass_obj
def list_restrictions(invocation: Invocation, as_json: bool) -> None:
    """List the restricted subjects."""
    found = ask(invocation.settings(), restrictions.in_force)
    rows = [
        {
            "subject_kind": each.subject.kind,
            "subject_id": each.subject.id,
            "name": each.name,
            "since": each.begun_at,
            "by": each.begun_by,
            "reason": each.reason,
        }
        for each in found
    ]
    if as_json:
        print_json({"restrictions": rows})
    else:
        names = ("subject_kind", "name", "since", "by", "reason")
        print_table(names, ([row[name] for name in names] for row in rows))


def _print(
    invocation: Invocation, change: Callable[[Connection], Awaitable[Subject]], state: str, as_json: bool
) -> None:
    subject = ask(invocation.settings(), change)
    if as_json:
        print_json({"subject_kind": subject.kind, "subject_id": subject.id, "state": state})
    else:
        click.echo(f"{subject.kind} {subject.id}: {state}")
