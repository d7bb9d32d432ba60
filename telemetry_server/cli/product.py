"""The commands "product …"."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, TypeAlias

import click

from telemetry_server.cli.durations import Duration, in_words
from telemetry_server.cli.invocation import Group, Invocation
from telemetry_server.cli.output import as_json, print_json, print_table, say
from telemetry_server.cli.registry import author, by_whom
from telemetry_server.cli.session import ask
from telemetry_server.model import Product
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

Command: TypeAlias = Callable[..., Any]

MINUTE, DAY, YEAR = 60, 86_400, 31_536_000
LONGEST_NAME = 200

SCHEDULE = (
    ("--interval", Duration(MINUTE, YEAR), DAY, "How often a copy sends a ping."),
    ("--grace", Duration(0, YEAR), DAY, "How long after that a copy is not yet late."),
    ("--lost-after", Duration(MINUTE, 10 * YEAR), 30 * DAY, "After how much silence a late copy is lost."),
    ("--new-for", Duration(0, YEAR), 7 * DAY, "How long a copy is new after its first ping."),
)


TIME_ZONE = click.option(
    "--time-zone",
    metavar="NAME",
    help="In which dates of its licenses are days, e.g. Europe/Berlin. [default: UTC]",
)


def schedule(*, defaults: bool) -> Callable[[Command], Command]:
    """The options of a schedule: lengths of time such as 36h and 30d."""

    def decorate(command: Command) -> Command:
        for name, kind, default, text in reversed(SCHEDULE):
            told = f"{text} [default: {in_words(default)}]" if defaults else text
            command = click.option(
                name, type=kind, default=default if defaults else None, metavar="TIME", help=told
            )(command)
        return command

    return decorate


@click.group(cls=Group)
def product() -> None:
    """Products and their keys.

    A product key is public: it ships inside the product, routes and rations, and proves nothing.
    """


def name_of(_: click.Context, __: click.Parameter, name: str) -> str:
    """The callback of a parameter that names a product."""
    if not 1 <= len(name.strip()) <= LONGEST_NAME or written_out(name) != name:
        raise click.BadParameter(f"A name has 1 to {LONGEST_NAME} characters, on one line.")
    return name.strip()


@product.command()
@click.argument("name", callback=name_of)
@click.option("--slug", help="Its name in URLs and on the wire. [default: made from NAME]")
@schedule(defaults=True)
@TIME_ZONE
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
@click.option(
    "--time-zone", metavar="NAME", help="In which dates of its licenses are days, e.g. Europe/Berlin."
)
@by_whom
@as_json
@click.pass_obj
def change(
    invocation: Invocation,
    /,
    *,
    slug: str,
    time_zone: str | None,
    actor: str | None,
    reason: str | None,
    as_json: bool,
    **times: int | None,
) -> None:
    """Change the schedule by which copies of a product are new, active, late and lost, or its time zone.

    TIME is a length of time: 90s, 15m, 36h, 30d, 2w, or a number of seconds. What is not given stays.
    A running server looks at all copies again, up to a hundred thousand a run; they learn of another
    interval with their next ping. With another time zone, licenses that begin or end with a day do so with
    the same day there; --actor and --reason are for their history.
    """
    scheduled = any(time is not None for time in times.values())
    if not scheduled and time_zone is None:
        names = [name for name, *_ in SCHEDULE]
        raise click.UsageError(f"Give at least one of {', '.join(names)}, --time-zone.")
    by = author(actor, reason)

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
    """List the products and their good keys, the newest key first."""

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
    _print(rotated, as_json, product_key=key, ended_keys=ended)


def _in_seconds(times: Mapping[str, Any]) -> dict[str, Any]:
    return {f"{name}_seconds": seconds for name, seconds in times.items()}


def _print(product: Product, as_json: bool, **more: Any) -> None:
    if as_json:
        print_json({**_about(product), **more})
        return
    shown = {"product": f"{product.slug} ({product.name})", **more}
    shown["interval"] = in_words(product.ping_interval_seconds)
    shown["grace"] = in_words(product.grace_seconds)
    shown["lost_after"] = in_words(product.lost_after_seconds)
    shown["new_for"] = in_words(product.new_for_seconds)
    shown["time_zone"] = product.time_zone
    for name, value in shown.items():
        click.echo(f"{name.replace('_', ' ').capitalize():<12} {value}")


def _row(shown: Mapping[str, Any]) -> list[Any]:
    times = [
        in_words(shown[f"{name}_seconds"]) for name in ("ping_interval", "grace", "lost_after", "new_for")
    ]
    return [shown["product"], shown["name"], *times, shown["time_zone"], "\n".join(shown["product_keys"])]


def _about(product: Product) -> dict[str, Any]:
    return {
        "product": product.slug,
        "name": product.name,
        "product_id": product.id,
        "ping_interval_seconds": product.ping_interval_seconds,
        "grace_seconds": product.grace_seconds,
        "lost_after_seconds": product.lost_after_seconds,
        "new_for_seconds": product.new_for_seconds,
        "time_zone": product.time_zone,
        "simulated": product.simulated,
        "created_at": product.created_at,
    }
