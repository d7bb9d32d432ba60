"""The command "license export"."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

import click

from telemetry_server.check.cells import NONE
from telemetry_server.cli.export import destination
from telemetry_server.cli.formats import Format, head, writer
from telemetry_server.cli.invocation import Invocation
from telemetry_server.cli.output import progress, say
from telemetry_server.cli.session import connection
from telemetry_server.settings import Settings
from telemetry_server.store.license_export import Rows, license_rows
from telemetry_server.store.products import product_by_slug

REPORT_EVERY = 1_000


@click.command("export")
@click.option("--product", required=True, metavar="SLUG", help="Whose licenses.")
@click.option(
    "--format",
    "form",
    type=click.Choice([form.value for form in Format]),
    default="csv",
    show_default=True,
)
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), help="[default: standard output]")
@click.pass_obj
def export_licenses(invocation: Invocation, product: str, form: str, output: Path | None) -> None:
    """Write every license of a product as CSV or NDJSON.

    The keys are not in it: nobody has them. Edit the file and import it again: its column license_id
    says which license a row is about. A FILE is written whole or not at all, readable by you alone: it
    holds personal data. In CSV, text that a spreadsheet would run as a formula has a ' in front.
    """
    with destination(output) as file:
        count = asyncio.run(_export(invocation.settings(), product, Format(form), file))
    say(f"{count} licenses written" + (f" to {output}" if output else ""))


async def _export(settings: Settings, product: str, form: Format, file: IO[bytes]) -> int:
    async with connection(settings) as opened:
        await product_by_slug(opened, product)
        async with license_rows(opened, product) as found:
            flat = replace(found, each=_flat(found.each)) if form is Format.CSV else found
            return await _write(flat, form, file)


async def _write(found: Rows, form: Format, file: IO[bytes]) -> int:
    """Writes them all, with progress; gives how many."""
    line = writer(form, found.nested)
    count = 0
    with progress() as bar:
        task = bar.add_task("exporting", total=None)
        file.write(head(form, found.columns))
        async for row in found.each:
            file.write(line(row))
            count += 1
            if count % REPORT_EVERY == 0:
                bar.update(task, completed=count)
    file.flush()
    return count


async def _flat(rows: AsyncIterator[Any]) -> AsyncIterator[Mapping[str, Any]]:
    """Lists as an import takes them from one cell."""
    async for row in rows:
        yield {name: _joined(name, value) for name, value in row.items()}


def _joined(name: str, value: Any) -> Any:
    if not isinstance(value, list):
        return value
    if name == "free_environments" and not value:
        return NONE
    return ("; " if name == "directories" else " ").join(value)
