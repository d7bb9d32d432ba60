"""The commands "edition …" and "release …"."""

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import click

from telemetry_server.check.licenses.cells import text
from telemetry_server.cli.invocation import Group, Invocation
from telemetry_server.cli.output import as_json, print_json, print_table
from telemetry_server.cli.registry_options import by_whom
from telemetry_server.cli.session import ask
from telemetry_server.model import Author
from telemetry_server.store.database import Connection
from telemetry_server.store.registry.history import ChangeOutcome
from telemetry_server.store.registry.products import product_by_slug
from telemetry_server.store.registry.releases import (
    Edition,
    Release,
    editions_of,
    keep_edition,
    keep_release,
    releases_of,
)


class Checked(click.ParamType[str]):
    """A text that one of the parsers of check/ accepts."""

    name = "text"

    def __init__(self, parse: Any) -> None:
        self._parse = parse

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        try:
            found = str(self._parse(value))
        except ValueError as error:
            self.fail(f"It {error}.", param, ctx)
        return found or self.fail("It is empty.", param, ctx)


@click.group(cls=Group)
def edition() -> None:
    """Editions of products."""


@edition.command("add")
@click.argument("product")
@click.argument("edition", type=Checked(text(64)))
@click.argument("name", type=Checked(text(200)))
@by_whom
@as_json
@click.pass_obj
def add_edition(
    invocation: Invocation, /, *, product: str, edition: str, name: str, by: Author, as_json: bool
) -> None:
    """Add an EDITION of PRODUCT, as licenses and pings name it, or change its NAME."""

    async def keep(connection: Connection) -> ChangeOutcome:
        found = await product_by_slug(connection, product)
        return await keep_edition(connection, found, Edition(edition, name), by=by, now=datetime.now(UTC))

    _print(ask(invocation.settings(), keep), {"edition": edition, "name": name}, as_json)


@edition.command("list")
@click.argument("product")
@as_json
@click.pass_obj
def list_editions(invocation: Invocation, product: str, as_json: bool) -> None:
    """List the editions of PRODUCT."""

    async def look(connection: Connection) -> list[Edition]:
        return await editions_of(connection, await product_by_slug(connection, product))

    found = ask(invocation.settings(), look)
    if as_json:
        print_json({"editions": [asdict(each) for each in found]})
    else:
        print_table(("edition", "name"), ((each.edition, each.name) for each in found))


@click.group(cls=Group)
def release() -> None:
    """Released versions of products and their builds."""


@release.command("add")
@click.argument("product")
@click.argument("version", type=Checked(text(64)))
@click.option("--date", "released_on", type=click.DateTime(["%Y-%m-%d"]), help="The day of the release.")
@click.option(
    "--supported-until", type=click.DateTime(["%Y-%m-%d"]), help="The last day on which it is supported."
)
@click.option(
    "--build", "builds", type=Checked(text(128)), multiple=True, metavar="BUILD", help="One of its builds."
)
@by_whom
@as_json
@click.pass_obj
def add_release(
    invocation: Invocation,
    /,
    *,
    product: str,
    version: str,
    released_on: datetime | None,
    supported_until: datetime | None,
    builds: tuple[str, ...],
    by: Author,
    as_json: bool,
) -> None:
    """Add a VERSION of PRODUCT, or add dates or builds to an existing one.

    A BUILD is the value that its copies report in service.build, best its SHA-256.
    """
    days = (each and each.date() for each in (released_on, supported_until))
    given = Release(version, next(days), builds, next(days))

    async def keep(connection: Connection) -> tuple[ChangeOutcome, Release]:
        found = await product_by_slug(connection, product)
        return await keep_release(connection, found, given, by=by, now=datetime.now(UTC))

    outcome, kept = ask(invocation.settings(), keep)
    _print(outcome, asdict(kept), as_json)


@release.command("list")
@click.argument("product")
@as_json
@click.pass_obj
def list_releases(invocation: Invocation, product: str, as_json: bool) -> None:
    """List the releases of PRODUCT, the newest version first."""

    async def look(connection: Connection) -> list[Release]:
        return await releases_of(connection, await product_by_slug(connection, product))

    found = ask(invocation.settings(), look)
    if as_json:
        print_json({"releases": [asdict(each) for each in found]})
    else:
        rows = (
            (each.version, each.released_on, each.supported_until, "\n".join(each.builds)) for each in found
        )
        print_table(("version", "released", "supported until", "builds"), rows)


def _print(outcome: ChangeOutcome, about: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json({"outcome": outcome, **about})
    else:
        click.echo(outcome.value)
