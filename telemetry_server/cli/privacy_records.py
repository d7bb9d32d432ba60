"""The commands "privacy disclosures", "privacy register" and "privacy breach"."""

from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import click

from telemetry_server import durable
from telemetry_server.check.fields import load_registry
from telemetry_server.cli.export import Moment
from telemetry_server.cli.invocation import Group, Invocation
from telemetry_server.cli.output import as_json, print_json, print_table
from telemetry_server.cli.recorded_commands import operating_user
from telemetry_server.cli.session import ask
from telemetry_server.errors import OperatorError
from telemetry_server.privacy import breach_kit, processing
from telemetry_server.privacy.record_pages import processing_register
from telemetry_server.privacy.store import breach as breach_store
from telemetry_server.store.access import disclosures as store
from telemetry_server.store.database import Connection


@click.group(cls=Group)
def disclosures() -> None:
    """The register of disclosures: to whom personal data went, which, on what ground, bound to what.

    Each use of a token with a purpose is added by itself.
    """


@disclosures.command("add")
@click.option("--recipient", required=True, metavar="TEXT", help="To whom.")
@click.option("--subjects", required=True, metavar="TEXT", help="Whose data.")
@click.option("--fields", required=True, metavar="TEXT", help="Which data.")
@click.option("--ground", required=True, metavar="TEXT", help="The legal ground.")
@click.option("--duty", required=True, metavar="TEXT", help="What the recipient is bound to.")
@click.option("--at", type=Moment(), metavar="TIME", help="When. [default: now]")
@as_json
@click.pass_obj
def add(
    invocation: Invocation,
    /,
    *,
    recipient: str,
    subjects: str,
    fields: str,
    ground: str,
    duty: str,
    at: datetime | None,
    as_json: bool,
) -> None:
    """Add a disclosure. It is never changed or removed."""
    what = store.What(recipient=recipient, subjects=subjects, fields=fields, ground=ground, duty=duty)

    async def record(connection: Connection) -> UUID:
        return await store.add(connection, what, by=operating_user(), now=datetime.now(UTC), at=at)

    made = ask(invocation.settings(), record)
    if as_json:
        print_json({"disclosure_id": made})
    else:
        click.echo(str(made))


@disclosures.command("list")
@click.option("--from", "since", type=Moment(), metavar="TIME", help="Only those from then on.")
@click.option("--until", type=Moment(), metavar="TIME", help="Only those before that.")
@as_json
@click.pass_obj
def list_disclosures(
    invocation: Invocation, since: datetime | None, until: datetime | None, as_json: bool
) -> None:
    """List the newest disclosures."""
    found = ask(
        invocation.settings(), lambda connection: store.disclosures(connection, since=since, until=until)
    )
    if as_json:
        print_json({"disclosures": [asdict(each) for each in found]})
        return
    rows = (
        (f"{each.disclosed_at:%Y-%m-%d %H:%M}", each.recipient, each.subjects, each.fields, each.ground)
        for each in found
    )
    print_table(("when", "recipient", "whose", "what", "ground"), rows)


@click.command()
@as_json
@click.pass_obj
def register(invocation: Invocation, as_json: bool) -> None:
    """Print the register of processing activities (Article 30 GDPR) as Markdown, or as JSON.

    It is made of the field registry and the settings; DATA/letters/controller.txt names the controller.
    """
    found = processing_register(invocation.settings())
    if as_json:
        print_json(found)
    else:
        click.echo(processing.markdown(found), nl=False)


@click.command()
@click.option("--from", "since", required=True, type=Moment(), metavar="TIME", help="When it began.")
@click.option("--to", "until", required=True, type=Moment(), metavar="TIME", help="When it ended.")
@click.option("--person", "persons", multiple=True, metavar="EMAIL", help="Only what this person did.")
@click.option("--token", "tokens", multiple=True, type=click.UUID, metavar="ID", help="Only by this token.")
@click.option("--key", "keys", multiple=True, metavar="ID", help="An exposed support key.")
@click.option("--aware", type=Moment(), metavar="TIME", help="When you became aware of it. [default: now]")
@click.option(
    "--to-dir", "directory", required=True, type=click.Path(file_okay=False, path_type=Path), metavar="DIR"
)
@as_json
@click.pass_obj
def breach(
    invocation: Invocation,
    /,
    *,
    since: datetime,
    until: datetime,
    persons: tuple[str, ...],
    tokens: tuple[UUID, ...],
    keys: tuple[str, ...],
    aware: datetime | None,
    directory: Path,
    as_json: bool,
) -> None:
    """Write whom a breach affects, and drafts of the notices, to DIR. Nothing is sent.

    DIR must be new or empty. Its files can be read by you alone.
    """
    if since >= until:
        raise click.UsageError("The window ends before it begins.")
    if directory.exists() and any(directory.iterdir()):
        raise OperatorError(f"{directory} is not empty.")
    window = breach_store.Window(since, until, persons, tokens, keys)
    found = ask(invocation.settings(), lambda connection: breach_store.seen(connection, window))
    known_at, registry = aware or datetime.now(UTC), load_registry()
    durable.make_directory(directory)
    for name, content in breach_kit.files(window, found, registry, aware=known_at):
        durable.write(directory / name, content, replace=False)
    said = breach_kit.facts(window, found, registry, aware=known_at)
    if as_json:
        print_json({"directory": directory, **said})
    else:
        print_table(("subjects", "number"), said["subjects"].items())
        click.echo(f"The notice to the authority is due at {said['notice_due_at']:%Y-%m-%d %H:%M} UTC.")
