"""The commands "license …", but for "license import", which is in license_import."""

from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import click
from msgspec import UNSET

from telemetry_server.check.days import first_day, last_day
from telemetry_server.check.filters.filter_fields import LICENSES
from telemetry_server.check.filters.parser import read_filter
from telemetry_server.check.licenses.cells import key as license_key
from telemetry_server.check.licenses.columns import PARSERS, license_patch
from telemetry_server.cli.export import export_as, to_a_file
from telemetry_server.cli.invocation import Group, Invocation
from telemetry_server.cli.license_import import import_licenses
from telemetry_server.cli.output import as_json, print_json, print_table, say
from telemetry_server.cli.registry_options import (
    by_whom,
    differences,
    from_stdin,
    in_days,
    listed,
    print_fields,
    print_history,
    shown,
    with_fields,
)
from telemetry_server.cli.session import ask
from telemetry_server.model import Author, License, LicensePatch, LicenseStatus
from telemetry_server.store.access.keyring_check import open_keyring_of
from telemetry_server.store.database import Connection
from telemetry_server.store.registry.history import ChangeOutcome, Entity, history
from telemetry_server.store.registry.license_changes import change_license, create_license
from telemetry_server.store.registry.licenses import (
    NoSuchLicense,
    key_hashes,
    license_by_id,
    licenses_by_key_hash,
    list_licenses,
)
from telemetry_server.store.reports.export import Form, Wanted, What

FIELDS = (*(name for name in PARSERS if name not in {"key", "license_id", "custom"}), "customer_id")
"""The fields of a license with an option each; --custom takes the others."""


@click.group(cls=Group)
def license() -> None:  # noqa: A001  the command's name
    """The license registry: who may run what.

    Of a key, only a keyed hash and the last characters are stored; it cannot be shown again.
    """


license.add_command(import_licenses)


@license.command()
@click.argument("key")
@click.option("--product", required=True, metavar="SLUG")
@with_fields(FIELDS, license_patch)
@by_whom
@as_json
@click.pass_obj
def add(
    invocation: Invocation, /, *, key: str, product: str, patch: LicensePatch, by: Author, as_json: bool
) -> None:
    """Add a license of a product for KEY; with - the key is read from standard input.

    docs/licenses.md describes the fields.
    """
    key = _key(from_stdin(key))
    settings = invocation.settings()

    async def make(connection: Connection) -> License:
        keyring = await open_keyring_of(connection, settings.keyring)
        hashes = await key_hashes(connection, keyring, product)
        return await create_license(connection, hashes, key, patch, by=by, now=datetime.now(UTC))

    _print(ask(settings, make), as_json)


@license.command()
@click.argument("license_id", type=click.UUID, metavar="ID")
@with_fields(FIELDS, license_patch)
@by_whom
@as_json
@click.pass_obj
def change(
    invocation: Invocation, /, *, license_id: UUID, patch: LicensePatch, by: Author, as_json: bool
) -> None:
    """Change a license, e.g. --status suspended; fields without an option stay unchanged.

    docs/licenses.md describes the fields.
    """
    kept, found = ask(
        invocation.settings(),
        lambda connection: change_license(connection, license_id, patch, by=by, now=datetime.now(UTC)),
    )
    if as_json:
        print_json({"outcome": kept.outcome, **about(found)})
        return
    for line in differences(kept.before, kept.after, found.time_zone):
        click.echo(line)
    if kept.outcome is ChangeOutcome.UNCHANGED:
        say("No change." if patch.customer is UNSET else "No change of the license itself.")


@license.command()
@click.argument("license_id", type=click.UUID, required=False, metavar="[ID]")
@click.option("--product", metavar="SLUG", help="With --key: its product.")
@click.option("--key", help="Find it by its key; with - that is read from standard input.")
@as_json
@click.pass_obj
def show(
    invocation: Invocation, license_id: UUID | None, product: str | None, key: str | None, as_json: bool
) -> None:
    """Show a license, by its ID or by its product and key."""
    if (license_id is None) == (key is None) or (key is None) != (product is None):
        raise click.UsageError("Give an ID, or --product and --key.")
    settings = invocation.settings()
    if license_id is not None:
        wanted = license_id
        _print(ask(settings, lambda connection: license_by_id(connection, wanted)), as_json)
        return
    bare = _key(from_stdin(key or ""))

    async def find(connection: Connection) -> License:
        keyring = await open_keyring_of(connection, settings.keyring)
        own = (await key_hashes(connection, keyring, product or "")).own(bare)
        found = await licenses_by_key_hash(connection, [own])
        if not found:
            raise NoSuchLicense("No license of this product has this key.")
        return found[own]

    _print(ask(settings, find), as_json)


@license.command("list")
@click.option("--filter", "wanted", metavar="FILTER", default="", help="E.g. 'source=reseller expires<30d'.")
@click.option("--product", metavar="SLUG", help="Of this product only.")
@click.option("--status", type=click.Choice([status.value for status in LicenseStatus]))
@click.option("--customer-id", "customer", type=click.UUID, metavar="ID", help="Of this customer only.")
@click.option("--order-reference", "order", metavar="TEXT", help="Of this order only.")
@listed
@as_json
@click.pass_obj
def list_all(
    invocation: Invocation, /, *, wanted: str, limit: int, after: UUID, as_json: bool, **terms: object
) -> None:
    """List licenses, in order of creation."""
    asked = read_filter(wanted, LICENSES, terms)
    found = ask(
        invocation.settings(),
        lambda connection: list_licenses(connection, asked, now=datetime.now(UTC), after=after, limit=limit),
    )
    if as_json:
        print_json({"licenses": [about(each) for each in found]})
        return
    columns = ("license_id", "product", "key_hint", "status", "type", "source", "seats", "expires_at")
    rows = (in_days(about(each), each.time_zone) for each in found)
    print_table(columns, ([shown(row[column]) for column in columns] for row in rows))
    if len(found) == limit:
        say(f"There may be more: --after {found[-1].license_id}")


@license.command("export")
@click.option("--product", required=True, metavar="SLUG", help="The product of the licenses.")
@click.option("--filter", "wanted", metavar="FILTER", default="", help="E.g. 'source=reseller expires<30d'.")
@to_a_file(Form.CSV)
@click.pass_obj
def export_all(
    invocation: Invocation, /, *, product: str, wanted: str, form: str, output: Path | None, no_bom: bool
) -> None:
    """Write the licenses of a product as CSV, NDJSON or Parquet.

    The file does not contain the keys, which are not stored. It can be edited and imported again: the
    column license_id identifies the license of a row. A FILE is written whole or not at all, readable by
    you alone: it holds personal data. In CSV, text that a spreadsheet would run as a formula has a ' in
    front.
    """
    asked = read_filter(wanted, LICENSES, {"product": product})
    export_as(invocation, Wanted(What.LICENSES, Form(form), asked, mark=not no_bom), output)


@license.command("history")
@click.argument("license_id", type=click.UUID, metavar="ID")
@as_json
@click.pass_obj
def show_history(invocation: Invocation, license_id: UUID, as_json: bool) -> None:
    """Show the changes of a license with author, time and reason, the newest first."""

    async def look(connection: Connection) -> Any:
        found = await license_by_id(connection, license_id)
        return await history(connection, Entity.LICENSE, str(license_id)), found.time_zone

    changes, time_zone = ask(invocation.settings(), look)
    print_history(changes, as_json, time_zone)


def about(found: License) -> dict[str, Any]:
    """The fields of a license without the hash of its key, and its days."""
    fields = {name: value for name, value in asdict(found).items() if name not in {"key_hash", "product_id"}}
    return fields | {
        "first_day": first_day(found.starts_at, found.time_zone),
        "last_day": last_day(found.expires_at, found.time_zone),
    }


def _print(found: License, as_json: bool) -> None:
    if as_json:
        print_json(about(found))
        return
    row = in_days(about(found), found.time_zone)
    print_fields({name: value for name, value in row.items() if name not in {"first_day", "last_day"}})


def _key(given_key: str) -> str:
    if not given_key.strip():
        raise click.BadParameter("The key is empty.")
    try:
        return license_key(given_key)
    except ValueError as error:
        raise click.BadParameter(f"The key {error}.") from None
