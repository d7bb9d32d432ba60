"""The command "sign-in"."""

from datetime import UTC, datetime, timedelta

import click

from telemetry_server.cli.address import settings_of_server
from telemetry_server.cli.invocation import Invocation
from telemetry_server.cli.output import as_json, print_json, say
from telemetry_server.cli.session import ask
from telemetry_server.model import Role
from telemetry_server.store.access.credentials import create_sign_in_link

DAY_MINUTES = 1_440


@click.command("sign-in")
@click.option(
    "--role", type=click.Choice([role.value for role in Role]), default=Role.ADMIN.value, show_default=True
)
@click.option("--minutes", type=click.IntRange(1, DAY_MINUTES), default=60, show_default=True)
@click.option(
    "--listen",
    metavar="HOST:PORT",
    help="Where the server listens. [default: as it says itself]",
)
@as_json
@click.pass_obj
def sign_in(invocation: Invocation, role: str, minutes: int, listen: str | None, as_json: bool) -> None:
    """Print a one-time link that signs a browser in."""
    settings, now = settings_of_server(invocation, listen), datetime.now(UTC)
    secret = ask(settings, lambda connection: create_sign_in_link(connection, Role(role), now, minutes))
    url = f"{settings.base_url}/sign-in?token={secret}"
    if as_json:
        print_json({"url": url, "role": role, "expires_at": now + timedelta(minutes=minutes)})
    else:
        click.echo(url)
        say(f"It works once, within {minutes} minutes, as {role}.")
