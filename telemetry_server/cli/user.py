"""The commands "user …"."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta

import click

from telemetry_server.cli.address import settings_of_server
from telemetry_server.cli.invocation import Group, Invocation
from telemetry_server.cli.output import as_json, print_json, print_table, say
from telemetry_server.cli.recorded_commands import operating_user
from telemetry_server.cli.session import ask
from telemetry_server.cli.tokens import ROLES
from telemetry_server.model import Role
from telemetry_server.store.access import people
from telemetry_server.store.access.people import INVITATION_DAYS, MOST_DAYS, Person
from telemetry_server.store.database import Connection

PRODUCTS = click.option(
    "--product", "products", multiple=True, metavar="SLUG", help="Only this one; repeatable. [default: all]"
)


@click.group(cls=Group)
def user() -> None:
    """People with accounts."""


@user.command()
@click.argument("email")
@click.option("--role", type=ROLES, required=True, help="What the person may do; see docs/accounts.md.")
@PRODUCTS
@click.option("--days", type=click.IntRange(1, MOST_DAYS), default=INVITATION_DAYS, show_default=True)
@click.option("--listen", metavar="HOST:PORT", help="Where the server listens. [default: as it says itself]")
@as_json
@click.pass_obj
def invite(
    invocation: Invocation,
    /,
    *,
    email: str,
    role: str,
    products: Sequence[str],
    days: int,
    listen: str | None,
    as_json: bool,
) -> None:
    """Print a link with which a person makes an account.

    It replaces earlier ones of the address, and works once.
    """
    settings, now = settings_of_server(invocation, listen), datetime.now(UTC)

    async def make(connection: Connection) -> str:
        limited = products or None
        return await people.invite(
            connection, email, Role(role), limited, by=operating_user(), now=now, days=days
        )

    link = f"{settings.base_url}/invitation?token={ask(settings, make)}"
    if as_json:
        end = now + timedelta(days=days)
        print_json(
            {"link": link, "email": people.email_of(email), "role": role, "products": products or None}
            | {"expires_at": end}
        )
    else:
        click.echo(link)
        say(f"It works once, within {days} days.")


@user.command("list")
@as_json
@click.pass_obj
def list_all(invocation: Invocation, as_json: bool) -> None:
    """List all people, also deactivated ones."""
    found = ask(invocation.settings(), people.list_people)
    if as_json:
        print_json({"users": [asdict(person) for person in found]})
    else:
        columns = ("email", "name", "role", "products", "second factor", "last seen", "deactivated")
        print_table(columns, map(_cells, found))


@user.command()
@click.argument("email")
@click.argument("role", type=ROLES, metavar="ROLE")
@PRODUCTS
@as_json
@click.pass_obj
def role(invocation: Invocation, email: str, role: str, products: Sequence[str], as_json: bool) -> None:
    """Give a person the ROLE, and limit it to products or to none; holds from the next request on."""

    async def change(connection: Connection) -> Person:
        person_id = await people.person_id_of(connection, email)
        await people.set_role(connection, person_id, Role(role), products or None, by=operating_user())
        return await people.person(connection, person_id)

    _print(ask(invocation.settings(), change), as_json)


@user.command()
@click.argument("email")
@as_json
@click.pass_obj
def deactivate(invocation: Invocation, email: str, as_json: bool) -> None:
    """End the access of a person: account, sessions and tokens, from the next request on."""

    async def end(connection: Connection) -> Person:
        person_id = await people.person_id_of(connection, email)
        await people.deactivate(connection, person_id, by=operating_user(), now=datetime.now(UTC))
        return await people.person(connection, person_id)

    _print(ask(invocation.settings(), end), as_json)


def _print(person: Person, as_json: bool) -> None:
    if as_json:
        print_json(asdict(person))
    else:
        state = "deactivated" if person.deactivated_at else person.role.value
        click.echo(f"{person.email}: {state}.")


def _cells(person: Person) -> list[str | None]:
    return [
        person.email,
        person.name,
        person.role.value,
        "all" if person.products is None else ", ".join(person.products),
        "yes" if person.has_totp or person.has_passkey else "no",
        _moment(person.last_seen_at),
        _moment(person.deactivated_at),
    ]


def _moment(moment: datetime | None) -> str | None:
    return f"{moment:%Y-%m-%d %H:%M}" if moment else None
