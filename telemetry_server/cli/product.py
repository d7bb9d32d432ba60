"""The commands "product …"."""

from datetime import UTC, datetime
from typing import Any

import click

from telemetry_server.cli.invocation import Group, Invocation
from telemetry_server.cli.output import as_json, print_json, print_table, say
from telemetry_server.cli.session import ask
from telemetry_server.model import Product
from telemetry_server.store.products import add_product, all_products, good_keys, rotate_key

SHORTEST_INTERVAL, DAY, LONGEST_INTERVAL = 60, 86_400, 31_536_000
LONGEST_NAME = 200


@click.group(cls=Group)
def product() -> None:
    """Products and their keys.

    A product key is public: it ships inside the product, routes and rations, and proves nothing.
    """


def _name(_: click.Context, __: click.Parameter, name: str) -> str:
    if not 1 <= len(name.strip()) <= LONGEST_NAME or "\0" in name:
        raise click.BadParameter(f"A name has 1 to {LONGEST_NAME} characters.")
    return name.strip()


@product.command()
@click.argument("name", callback=_name)
@click.option("--slug", help="Its name in URLs and on the wire. [default: made from NAME]")
@click.option(
    "--interval",
    type=click.IntRange(SHORTEST_INTERVAL, LONGEST_INTERVAL),
    default=DAY,
    show_default=True,
    metavar="SECONDS",
    help="How often a copy sends a ping.",
)
@as_json
@click.pass_obj
def add(invocation: Invocation, name: str, slug: str | None, interval: int, as_json: bool) -> None:
    """Add a product and print its key."""
    added, key = ask(
        invocation.settings(),
        lambda connection: add_product(
            connection, name, slug=slug, interval_seconds=interval, now=datetime.now(UTC)
        ),
    )
    _print(added, key, as_json)


@product.command("list")
@as_json
@click.pass_obj
def list_products(invocation: Invocation, as_json: bool) -> None:
    """List the products and their good keys, the newest key first."""

    async def look(connection: Any) -> list[dict[str, Any]]:
        keys = await good_keys(connection)
        return [
            {**_about(each), "product_keys": keys.get(each.id, [])} for each in await all_products(connection)
        ]

    products = ask(invocation.settings(), look)
    if as_json:
        print_json({"products": products})
    elif products:
        columns = ("product", "name", "ping_interval_seconds", "product_keys")
        rows = [[*map(each.get, columns[:3]), "\n".join(each["product_keys"])] for each in products]
        print_table(("product", "name", "interval", "product key"), rows)
    else:
        say('No product yet. Run: telemetry-server product add "My product"')


@product.command("rotate-key")
@click.argument("slug")
@click.option("--keep-old", is_flag=True, help="Leave the old keys good, until releases with them are gone.")
@as_json
@click.pass_obj
def rotate(invocation: Invocation, slug: str, keep_old: bool, as_json: bool) -> None:
    """Make a new key for a product and end its old ones.

    Copies that are enrolled go on with the secret they have: a key is needed only to enrol.
    """
    rotated, key, ended = ask(
        invocation.settings(),
        lambda connection: rotate_key(connection, slug, keep_old=keep_old, now=datetime.now(UTC)),
    )
    _print(rotated, key, as_json, ended_keys=ended)


def _print(product: Product, key: str, as_json: bool, **more: Any) -> None:
    if as_json:
        print_json({**_about(product), "product_key": key, **more})
    else:
        click.echo(f"Product      {product.slug} ({product.name})\nProduct key  {key}")
        for name, value in more.items():
            click.echo(f"{name.replace('_', ' ').capitalize():<12} {value}")


def _about(product: Product) -> dict[str, Any]:
    return {
        "product": product.slug,
        "name": product.name,
        "product_id": product.id,
        "ping_interval_seconds": product.ping_interval_seconds,
        "created_at": product.created_at,
    }
