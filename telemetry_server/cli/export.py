"""The command "export"."""

import asyncio
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

import click

from telemetry_server.cli.invocation import Invocation
from telemetry_server.cli.output import progress, say
from telemetry_server.cli.recorded_commands import record_with
from telemetry_server.cli.registry_options import Command
from telemetry_server.cli.session import connection
from telemetry_server.durable import whole
from telemetry_server.settings import Settings
from telemetry_server.store.reports.export import ALL, Form, Wanted, What, expected, filter_for
from telemetry_server.store.reports.export import export as export_to


class Moment(click.ParamType[datetime]):
    """An ISO 8601 date or time; without an offset, UTC."""

    name = "moment"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            self.fail(
                f"{value!r} is not a date or time such as 2026-11-22 or 2026-11-22T10:00:00Z.", param, ctx
            )
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def to_a_file(default: Form) -> Callable[[Command], Command]:
    """Adds --format, --output and --no-bom."""

    def with_options(command: Command) -> Command:
        output = click.Path(dir_okay=False, path_type=Path)
        command = click.option(
            "--no-bom", is_flag=True, help="CSV without the byte order mark that Excel needs."
        )(command)
        command = click.option("--output", type=output, help="[default: standard output]")(command)
        forms = click.Choice([form.value for form in Form])
        return click.option("--format", "form", type=forms, default=default.value, show_default=True)(command)

    return with_options


@click.command()
@click.argument("what", metavar="WHAT", type=click.Choice([what.value for what in What]))
@click.option(
    "--filter", "asked", metavar="FILTER", default="", help="E.g. 'verdict=unknown_key country=DE'."
)
@click.option("--product", metavar="SLUG", help="Of this product only.")
@click.option(
    "--since", type=Moment(), metavar="TIME", help="Received since TIME; of licenses: changed since TIME."
)
@click.option(
    "--columns",
    metavar="NAMES",
    default="",
    help=f"Names, separated by commas; {ALL}: every column. [default: see docs/reporting.md]",
)
@to_a_file(Form.NDJSON)
@click.pass_obj
def export(
    invocation: Invocation, /, what: str, form: str, output: Path | None, no_bom: bool, **asked: Any
) -> None:
    """Write installations, pings, licenses or counts as NDJSON, CSV or Parquet.

    WHAT is installations, pings, changes, installation-days, fleet-days, feature-days, cohort-weeks or
    licenses.

    The rows are those of one snapshot, in no particular order. A FILE is written whole or not at all,
    readable by you alone: it holds personal data. In CSV, text that a spreadsheet would run as a
    formula has a ' in front.
    """
    wanted = Wanted(
        What(what),
        Form(form),
        filter_for(What(what), asked["asked"]),
        asked["product"],
        asked["since"],
        tuple(name.strip() for name in asked["columns"].split(",") if name.strip()),
        mark=not no_bom,
    )
    export_as(invocation, wanted, output)


def export_as(invocation: Invocation, wanted: Wanted, output: Path | None) -> None:
    """Exports to a file or standard output, and prints the number of rows."""
    settings = invocation.settings()
    if output is None:
        count = asyncio.run(_export(settings, wanted, sys.stdout.buffer))
    else:
        with whole(output) as part, part.open("wb") as file:
            count = asyncio.run(_export(settings, wanted, file))
    say(f"{count} {wanted.what.replace('-', ' ')} written" + (f" to {output}" if output else ""))


async def _export(settings: Settings, wanted: Wanted, file: IO[bytes]) -> int:
    async with connection(settings) as opened:
        await record_with(opened)
        with progress() as bar:
            task = bar.add_task("exporting", total=await expected(opened, wanted))

            async def write(piece: bytes) -> None:
                file.write(piece)
                if not bar.disable:  # counting lines takes a tenth of the time of this process
                    bar.advance(task, piece.count(b"\n"))  # about the number of rows

            count = await export_to(opened, wanted, write, now=datetime.now(UTC))
        file.flush()
    return count
