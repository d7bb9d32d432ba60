"""The command "simulate"."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click
import orjson
from rich.progress import TaskID

from telemetry_server.check.fields import load_registry
from telemetry_server.cli.export import Moment
from telemetry_server.cli.invocation import Invocation
from telemetry_server.cli.output import as_json, print_json, print_table, progress, say
from telemetry_server.cli.product import name_of
from telemetry_server.cli.session import connection
from telemetry_server.durable import whole
from telemetry_server.job_names import JobName
from telemetry_server.jobs.active import count_active_copies
from telemetry_server.jobs.clear_up import list_what_to_clear_up
from telemetry_server.jobs.cohorts import roll_up_cohorts
from telemetry_server.jobs.days import roll_up_days
from telemetry_server.jobs.fleet_now import count_the_fleet
from telemetry_server.jobs.pings import roll_up_pings
from telemetry_server.settings import Settings
from telemetry_server.simulate.first_world import FIRST
from telemetry_server.simulate.making import DEFAULT_MISUSE, Made, Order, Progress, make_fleet
from telemetry_server.simulate.second_world import SECOND
from telemetry_server.store.access.keyring_check import open_keyring_of
from telemetry_server.store.database import Connection
from telemetry_server.store.job_log import run_locked

PINGS_EACH = 30
_BUSY_SECONDS = 0.5
WORLDS, MOST_MISUSE = {world.name: world for world in (FIRST, SECOND)}, 0.5
MOST_INSTALLATIONS, MOST_DAYS, LARGEST_SEED = 10_000_000, 400, 2**31 - 1


@click.command()
@click.option("--product", required=True, metavar="NAME", callback=name_of, help="The product to create.")
@click.option(
    "--installations", type=click.IntRange(50, MOST_INSTALLATIONS), default=1_000, show_default=True
)
@click.option("--days", type=click.IntRange(7, MOST_DAYS), default=90, show_default=True)
@click.option("--pings", type=int, metavar="TOTAL", help="About TOTAL pings. [default: 30 per installation]")
@click.option("--seed", type=click.IntRange(0, LARGEST_SEED), default=1, show_default=True)
@click.option(
    "--until", type=Moment(), metavar="TIME", help="The end of the simulation. [default: the last full hour]"
)
@click.option(
    "--world",
    type=click.Choice(sorted(WORLDS)),
    help="Make the fleet of this world's stories: honest ones that look guilty, and misuse of every kind.",
)
@click.option(
    "--misuse",
    type=click.FloatRange(0, MOST_MISUSE),
    help="The share of customers in stories of misuse; without --world, of the first.  [default: 0.01]",
)
@click.option(
    "--truth",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the simulated events to this file.",
)
@click.option(
    "--counts/--no-counts",
    default=True,
    help="Count the fleet at once, or leave that to the jobs of the server.  [default: counts]",
)
@click.option("--replace", is_flag=True, help="First remove the simulated product of that name.")
@as_json
@click.pass_obj
def simulate(
    invocation: Invocation,
    /,
    *,
    product: str,
    installations: int,
    pings: int | None,
    until: datetime | None,
    world: str | None,
    misuse: float | None,
    truth: Path | None,
    counts: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Create a simulated product with a fleet, for demonstrations and measurements.

    Nothing in it is real: no customer, no key, no address. Pages and API mark it as simulated. The same
    seed, size and time give the same fleet. A real product is never changed.
    """
    end = until or datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    total = PINGS_EACH * installations if pings is None else pings
    if world is not None or misuse is not None:
        options["world"] = WORLDS[world or FIRST.name]
        options["misuse"] = DEFAULT_MISUSE if misuse is None else misuse
    order = Order(name=product, installations=installations, pings=total, end=end, **options)
    say(f"SIMULATED DATA: “{product}” has no real customers, keys or addresses.")
    made = asyncio.run(_make(invocation.settings(), order, counts))
    if truth is not None:
        _write(truth, order, made)
    if as_json:
        print_json(_about(order, made))
    else:
        print_table(("", ""), _lines(_about(order, made)))


async def _make(settings: Settings, order: Order, counts: bool) -> Made:
    async with connection(settings) as opened:
        keyring = await open_keyring_of(opened, settings.keyring)
        with _reported() as report:
            made = await make_fleet(opened, keyring, order, report)
            if counts:
                await _count(opened, settings, report)
    return made


async def _count(opened: Connection, settings: Settings, report: Progress) -> None:
    """Counts the fleet as the jobs would within minutes: the pages are right when the command ends."""
    registry, at_once = load_registry().keeping(settings.retention_days), timedelta(0)
    jobs = {
        JobName.ROLL_UP_PINGS: roll_up_pings(registry),
        JobName.ROLL_UP_DAYS: roll_up_days(registry, at_once),
        JobName.COUNT_ACTIVE_COPIES: count_active_copies(registry, at_once, at_once),
        JobName.ROLL_UP_COHORTS: roll_up_cohorts(registry),
        JobName.COUNT_THE_FLEET: count_the_fleet(large_waits=at_once),
        JobName.LIST_WHAT_TO_CLEAR_UP: list_what_to_clear_up,
    }
    for name, run in jobs.items():
        report("counts", 0, len(jobs))
        done = None
        while done is None:
            now = datetime.now(UTC)
            done = await run_locked(lambda: nullcontext(opened), name, run, now=now, due_after=at_once)
            if done is None:  # a running server is at it
                await asyncio.sleep(_BUSY_SECONDS)
        report("counts", 1, len(jobs))


@contextmanager
def _reported() -> Iterator[Progress]:
    with progress() as bar:
        tasks: dict[str, TaskID] = {}

        def report(step: str, done: int, whole: int) -> None:
            if step not in tasks:
                tasks[step] = bar.add_task(step, total=whole)
            bar.update(tasks[step], advance=done)

        yield report


def _about(order: Order, made: Made) -> dict[str, Any]:
    return {
        "product": made.product.slug,
        "simulated": True,
        "seed": order.seed,
        **({"world": order.world.name, "misuse_share": order.misuse} if order.world else {}),
        "begins_at": made.begins_at,
        "ends_at": made.ends_at,
        "ping_interval_seconds": made.product.ping_interval_seconds,
        "installations": made.installations,
        "pings": made.pings,
        "customers": made.customers,
        "licenses": made.licenses,
        "planted": {kind: len(where) for kind, where in made.planted.items()},
        "duplicates": made.duplicates,
        "forked_pings": made.forked,
    }


def _lines(about: dict[str, Any]) -> Iterator[tuple[str, object]]:
    """What is in a document within the document gets a line of its own."""
    for name, value in about.items():
        if isinstance(value, dict):
            yield name, None
            yield from ((f"  {inner}", found) for inner, found in value.items())
        else:
            yield name, value


def _write(file: Path, order: Order, made: Made) -> None:
    """Writes the ground truth atomically, readable by the owner only."""
    document = _about(order, made) | {"planted": made.planted}
    if made.truth:
        del document["planted"]
        document |= made.truth
    with whole(file) as part:
        part.write_bytes(orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_UTC_Z))
