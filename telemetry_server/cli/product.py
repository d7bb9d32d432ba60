"""The commands "product …"."""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import click

from telemetry_server.check.durations import BOUNDS, DAY, in_words
from telemetry_server.cli.durations import Duration
from telemetry_server.cli.invocation import Group, Invocation
from telemetry_server.cli.output import as_json, print_json, print_table, say
from telemetry_server.cli.registry_options import Command, by_whom
from telemetry_server.cli.session import ask
from telemetry_server.model import Author, Product
from telemetry_server.store.database import Connection
from telemetry_server.store.registry.products import (
    add_product,
    all_products,
    change_schedule,
    change_time_zone,
    good_keys,
    product_by_slug,
    rotate_key,
)
from telemetry_server.text import written_out

LONGEST_NAME = 200

SCHEDULE = (
    ("--interval", Duration(*BOUNDS["interval"]), DAY, "Time between two pings of a copy."),
    ("--grace", Duration(*BOUNDS["grace"]), DAY, "Time after that until a copy is late."),
    (
        "--lost-after",
        Duration(*BOUNDS["lost_after"]),
        30 * DAY,
        "Time without a ping until a late copy is lost.",
    ),
    ("--new-for", Duration(*BOUNDS["new_for"]), 7 * DAY, "Time that a copy is new after its first ping."),
)


def schedule(*, defaults: bool) -> Callable[[Command], Command]:
    """Adds --time-zone and the options of a schedule: lengths of time such as 36h and 30d."""

    def decorate(command: Command) -> Command:
        zone = "Time zone of the dates of its licenses, e.g. Europe/Berlin." + " [default: UTC]" * defaults
        command = click.option("--time-zone", metavar="NAME", help=zone)(command)
        for name, kind, default, text in reversed(SCHEDULE):
            shown = f"{text} [default: {in_words(default)}]" if defaults else text
            command = click.option(
                name, type=kind, default=default if defaults else None, metavar="TIME", help=shown
            )(command)
        return command

    return decorate


@click.group(cls=Group)
def product() -> None:
    """Products and their keys.

    A product key is public: it ships inside the product and serves routing and rate limits, not
    authentication.
    """


def name_of(_: click.Context, __: click.Parameter, name: str) -> str:
    """The callback of a parameter with the name of a product."""
    if not 1 <= len(name.strip()) <= LONGEST_NAME or written_out(name) != name:
        raise click.BadParameter(f"A name must have 1 to {LONGEST_NAME} characters, on one line.")
    return name.strip()


@product.command()
@click.argument("name", callback=name_of)
@click.option("--slug", help="Its name in URLs and on the wire. [default: made from NAME]")
@schedule(defaults=True)
@as_json
@click.pass_obj
def add(
    invocation: Invocation, /, name: str, slug: str | None, time_zone: str | None, as_json: bool, **times: int
) -> None:
    """Add a product and print its key.

    TIME is a length of time: 90s, 15m, 36h, 30d, 2w, or a number of seconds.
    """
    added, key = ask(
        invocation.settings(),
        lambda connection: add_product(
            connection,
            name,
            slug=slug,
            time_zone=time_zone or "UTC",
            **_in_seconds(times),
            now=datetime.now(UTC),
        ),
    )
    _print(added, as_json, product_key=key)


@product.command()
@click.argument("slug")
@schedule(defaults=False)
@by_whom
@as_json
@click.pass_obj
def change(
    invocation: Invocation,
    /,
    *,
    slug: str,
    time_zone: str | None,
    by: Author,
    as_json: bool,
    **times: int | None,
) -> None:
    """Change the schedule by which copies of a product are new, active, late and lost, or its time zone.

    TIME is a length of time: 90s, 15m, 36h, 30d, 2w, or a number of seconds. Values without an option stay
    unchanged. A running server evaluates all copies again, up to 100,000 a run; they receive a new interval
    with their next ping. With a new time zone, licenses that start or end on a day keep that day; --actor
    and --reason go to their history.
    """
    scheduled = any(time is not None for time in times.values())
    if not scheduled and time_zone is None:
        names = [name for name, *_ in SCHEDULE]
        raise click.UsageError(f"Give at least one of {', '.join(names)}, --time-zone.")

    async def make(connection: Connection) -> Product:
        async with connection.transaction():
            changed = await product_by_slug(connection, slug)
            if scheduled:
                changed = await change_schedule(connection, slug, **_in_seconds(times))
            if time_zone is not None:
                changed = await change_time_zone(connection, slug, time_zone, by=by, now=datetime.now(UTC))
            return changed

    _print(ask(invocation.settings(), make), as_json)


@product.command("list")
@as_json
@click.pass_obj
def list_products(invocation: Invocation, as_json: bool) -> None:
    """List the products and their valid keys, the newest key first."""

    async def look(connection: Connection) -> list[dict[str, Any]]:
        keys = await good_keys(connection)
        return [
            {**_about(each), "product_keys": keys.get(each.id, [])} for each in await all_products(connection)
        ]

    products = ask(invocation.settings(), look)
    if as_json:
        print_json({"products": products})
    elif products:
        times = ("interval", "grace", "lost after", "new for")
        print_table(("product", "name", *times, "time zone", "product key"), map(_row, products))
    else:
        say('No product yet. Run: telemetry-server product add "My product"')


@product.command("rotate-key")
@click.argument("slug")
@click.option("--keep-old", is_flag=True, help="Keep the old keys valid, until releases with them are gone.")
@as_json
@click.pass_obj
def rotate(invocation: Invocation, slug: str, keep_old: bool, as_json: bool) -> None:
    """Create a new key for a product and revoke its old ones.

    Enrolled copies are not affected: a key is needed only to enrol.
    """
    rotated, key, ended = ask(
        invocation.settings(),
        lambda connection: rotate_key(connection, slug, keep_old=keep_old, now=datetime.now(UTC)),
    )
    _print(rotated, as_json, product_key=key, ended_keys=ended)


def _in_seconds(times: Mapping[str, Any]) -> dict[str, Any]:
    return {f"{name}_seconds": seconds for name, seconds in times.items()}


def _print(product: Product, as_json: bool, **more: Any) -> None:
    if as_json:
        print_json({**_about(product), **more})
        return
    title = f"{product.slug} ({product.name})"
    shown = {"product": title, **more, **_times(asdict(product)), "time zone": product.time_zone}
    for name, value in shown.items():
        click.echo(f"{name.replace('_', ' ').capitalize():<12} {value}")


def _row(shown: Mapping[str, Any]) -> list[Any]:
    keys = "\n".join(shown["product_keys"])
    return [shown["product"], shown["name"], *_times(shown).values(), shown["time_zone"], keys]


def _times(product: Mapping[str, Any]) -> dict[str, str]:
    names = ("ping_interval", "grace", "lost_after", "new_for")
    return {name.removeprefix("ping_"): in_words(product[f"{name}_seconds"]) for name in names}


def _about(product: Product) -> dict[str, Any]:
    fields = asdict(product)
    return {"product": fields.pop("slug"), "product_id": fields.pop("id"), **fields}
