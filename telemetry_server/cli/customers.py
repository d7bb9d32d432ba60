"""The commands "customer …"."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import click
from msgspec.structs import asdict

from telemetry_server.check.filters.filter_fields import CUSTOMERS
from telemetry_server.check.filters.parser import read_filter
from telemetry_server.check.licenses.columns import OF_THE_CUSTOMER, customer_patch
from telemetry_server.cli.invocation import Group, Invocation
from telemetry_server.cli.output import as_json, print_json, print_table, say
from telemetry_server.cli.registry_options import (
    by_whom,
    listed,
    print_fields,
    print_history,
    shown,
    with_fields,
)
from telemetry_server.cli.session import ask
from telemetry_server.model import Author, Customer, CustomerPatch
from telemetry_server.store.database import Connection
from telemetry_server.store.registry.customers import (
    change_customer,
    create_customer,
    customer_by_id,
    list_customers,
)
from telemetry_server.store.registry.history import ChangeOutcome, Entity, history


@click.group(cls=Group)
def customer() -> None:
    """Customers, who own licenses.

    Their fields are personal data.
    """


@customer.command()
@with_fields(OF_THE_CUSTOMER, customer_patch)
@by_whom
@as_json
@click.pass_obj
def add(invocation: Invocation, /, *, patch: CustomerPatch, by: Author, as_json: bool) -> None:
    """Add a customer with at least an e-mail, a name or a company."""
    settings, now = invocation.settings(), datetime.now(UTC)
    _print(ask(settings, lambda connection: create_customer(connection, patch, by=by, now=now)), as_json)


@customer.command()
@click.argument("customer_id", type=click.UUID, metavar="ID")
@with_fields(OF_THE_CUSTOMER, customer_patch)
@by_whom
@as_json
@click.pass_obj
def change(
    invocation: Invocation, /, *, customer_id: UUID, patch: CustomerPatch, by: Author, as_json: bool
) -> None:
    """Change fields of a customer; fields without an option stay unchanged."""
    outcome, found = ask(
        invocation.settings(),
        lambda connection: change_customer(connection, customer_id, patch, by=by, now=datetime.now(UTC)),
    )
    _print(found, as_json)
    if outcome is ChangeOutcome.UNCHANGED:
        say("No change.")


@customer.command()
@click.argument("customer_id", type=click.UUID, metavar="ID")
@as_json
@click.pass_obj
def show(invocation: Invocation, customer_id: UUID, as_json: bool) -> None:
    """Show a customer; "license list --customer-id ID" shows their licenses."""
    _print(ask(invocation.settings(), lambda connection: customer_by_id(connection, customer_id)), as_json)


@customer.command("list")
@click.option("--filter", "wanted", metavar="FILTER", default="", help="E.g. 'company=Example created<30d'.")
@click.option("--email", metavar="TEXT", help="Only the customer with this e-mail.")
@listed
@as_json
@click.pass_obj
def list_all(
    invocation: Invocation, /, *, wanted: str, email: str | None, limit: int, after: UUID, as_json: bool
) -> None:
    """List customers, in order of creation."""
    asked = read_filter(wanted, CUSTOMERS, {"email": email})
    found = ask(
        invocation.settings(),
        lambda connection: list_customers(connection, asked, now=datetime.now(UTC), after=after, limit=limit),
    )
    if as_json:
        print_json({"customers": [asdict(each) for each in found]})
        return
    columns = ("customer_id", "email", "name", "company", "created_at")
    print_table(columns, ([shown(getattr(each, column)) for column in columns] for each in found))
    if len(found) == limit:
        say(f"There may be more: --after {found[-1].customer_id}")


@customer.command("history")
@click.argument("customer_id", type=click.UUID, metavar="ID")
@as_json
@click.pass_obj
def show_history(invocation: Invocation, customer_id: UUID, as_json: bool) -> None:
    """Show the changes of a customer with author, time and reason, the newest first."""

    async def look(connection: Connection) -> Any:
        await customer_by_id(connection, customer_id)
        return await history(connection, Entity.CUSTOMER, str(customer_id))

    print_history(ask(invocation.settings(), look), as_json)


def _print(found: Customer, as_json: bool) -> None:
    if as_json:
        print_json(asdict(found))
    else:
        print_fields(asdict(found))
