"""The commands "token …"."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from typing import Any
from uuid import UUID

import click

from telemetry_server.check.networks import Network, unmapped
from telemetry_server.cli.durations import Duration
from telemetry_server.cli.invocation import Group, Invocation
from telemetry_server.cli.output import as_json, print_json, print_table, say
from telemetry_server.cli.session import ask
from telemetry_server.errors import OperatorError
from telemetry_server.model import Role
from telemetry_server.permissions import IN_A_BROWSER_ONLY, Permission
from telemetry_server.store.access import disclosures
from telemetry_server.store.access.credentials import (
    Limits,
    Token,
    create_token,
    list_tokens,
    revoke_token,
)
from telemetry_server.store.access.people import product_ids
from telemetry_server.store.database import Connection

MOST_DAYS, LONGEST_LABEL = 3_650, 180
HOUR, DAY = 3_600, 86_400
ROLES = click.Choice([role.value for role in Role])
SCOPES = click.Choice([each.value for each in Permission if each not in IN_A_BROWSER_ONLY])


@click.group(cls=Group)
def token() -> None:
    """API tokens."""


def _label(_: click.Context, __: click.Parameter, label: str | None) -> str | None:
    if label is not None and (len(label) > LONGEST_LABEL or not label.isprintable()):
        raise click.BadParameter(f"It may have {LONGEST_LABEL} characters at most, on one line.")
    return label


@token.command()
@click.option("--role", type=ROLES, required=True, help="What it may do; see docs/accounts.md.")
@click.option("--label", default="", callback=_label, help="What it is for.")
@click.option("--scope", "scopes", multiple=True, type=SCOPES, help="Only this; repeatable. [default: all]")
@click.option("--product", "products", multiple=True, metavar="SLUG", help="Only of this one; repeatable.")
@click.option("--network", "networks", multiple=True, metavar="NETWORK", help="Only from there; repeatable.")
@click.option("--expires", type=Duration(HOUR, MOST_DAYS * DAY), metavar="TIME", help="E.g. 12h, 30d.")
@click.option("--expires-days", type=click.IntRange(1, MOST_DAYS), help="[default: never]")
@click.option("--recipient", callback=_label, help="The affiliate that gets it: each use is a disclosure.")
@click.option("--purpose", callback=_label, help="What the recipient is bound to.")
@click.option("--ground", callback=_label, help="The legal ground of the disclosure.")
@as_json
@click.pass_obj
def create(
    invocation: Invocation,
    /,
    *,
    role: str,
    label: str,
    scopes: Sequence[str],
    products: Sequence[str],
    networks: Sequence[str],
    expires: int | None,
    expires_days: int | None,
    recipient: str | None,
    purpose: str | None,
    ground: str | None,
    as_json: bool,
) -> None:
    """Create an API token and print it; it cannot be shown again."""
    if expires and expires_days:
        raise click.UsageError("Give --expires or --expires-days.")
    bound = recipient, purpose, ground
    if any(bound) and not (all(bound) and (expires or expires_days)):
        raise click.UsageError("A token of an affiliate has --recipient, --purpose, --ground, and an end.")
    now, seconds, allowed = datetime.now(UTC), expires or (expires_days or 0) * DAY, _networks(networks)
    expires_at = now + timedelta(seconds=seconds) if seconds else None

    async def make(connection: Connection) -> tuple[str, Token]:
        limits = Limits(None, scopes or None, await product_ids(connection, products or None), allowed)
        secret = await create_token(connection, Role(role), label, expires_at, limits, now=now)
        made = next(made for made in await list_tokens(connection) if made.created_at == now)
        if recipient and purpose and ground:
            await disclosures.bind_token(
                connection, made.token_id, recipient=recipient, purpose=purpose, ground=ground
            )
        return secret, made

    secret, made = ask(invocation.settings(), make)
    if as_json:
        print_json({"token": secret, **asdict(made)})
    else:
        click.echo(secret)
        say("It cannot be shown again. Send it as: Authorization: Bearer …")


def _networks(given: Sequence[str]) -> list[Network] | None:
    try:
        return [unmapped(ip_network(text)) for text in given] or None
    except ValueError as error:
        raise click.UsageError(f"{error}; write networks such as 192.0.2.0/24.") from None


@token.command("list")
@as_json
@click.pass_obj
def list_all(invocation: Invocation, as_json: bool) -> None:
    """List all API tokens, also expired and revoked ones, the newest first, without their secrets."""
    tokens = [asdict(each) for each in ask(invocation.settings(), list_tokens)]
    if as_json:
        print_json({"tokens": tokens})
    else:
        columns = ("token_id", "role", "label", "created_at", "expires_at", "last_used_on", "revoked_at")
        print_table(columns, ([_cell(each[column]) for column in columns] for each in tokens))


@token.command()
@click.argument("token_id", type=click.UUID, metavar="ID")
@click.pass_obj
def revoke(invocation: Invocation, token_id: UUID) -> None:
    """Revoke an API token at once."""
    if not ask(invocation.settings(), lambda connection: revoke_token(connection, token_id)):
        raise OperatorError(f'No valid token has the id {token_id}; "token list" shows all tokens.')
    click.echo(f"Revoked {token_id}.")


def _cell(value: Any) -> Any:
    return f"{value:%Y-%m-%d %H:%M}" if isinstance(value, datetime) else value
