"""The command "export"."""

import asyncio
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

import click

from telemetry_server.cli.formats import Format, head, writer
from telemetry_server.cli.invocation import Invocation
from telemetry_server.cli.output import progress, say
from telemetry_server.cli.session import connection
from telemetry_server.settings import Settings
from telemetry_server.store.embedded.dumps import whole
from telemetry_server.store.export import Rows, Wanted, What, rows
from telemetry_server.store.products import product_by_slug

REPORT_EVERY = 1_000


class Moment(click.ParamType[datetime]):
    """A date or a time, ISO 8601; without an offset, UTC."""

    name = "moment"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            self.fail(f"{value!r} is no date or time such as 2026-11-22 or 2026-11-22T10:00:00Z.", param, ctx)
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


@click.command()
@click.argument("what", type=click.Choice([what.value for what in What]))
@click.option("--product", metavar="SLUG", help="Of this product only.")
@click.option("--since", type=Moment(), metavar="TIME", help="Received since then only, e.g. 2026-11-22.")
@click.option(
    "--format",
    "form",
    type=click.Choice([form.value for form in Format]),
    default="ndjson",
    show_default=True,
)
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), help="[default: standard output]")
@click.pass_obj
def export(  # noqa: PLR0917  click calls by name
    invocation: Invocation,
    what: str,
    product: str | None,
    since: datetime | None,
    form: str,
    output: Path | None,
) -> None:
    """Write every ping, or every installation, as NDJSON or CSV.

    The rows are those of one moment, in no particular order, with the facts as columns. A FILE is
    written whole or not at all, readable by you alone: it holds personal data. In CSV, text that a
    spreadsheet would run as a formula has a ' in front.
    """
    with destination(output) as file:
        wanted = Wanted(What(what), product, since)
        count = asyncio.run(_export(invocation.settings(), wanted, Format(form), file))
    say(f"{count} {what} written" + (f" to {output}" if output else ""))


@contextmanager
def destination(output: Path | None) -> Iterator[IO[bytes]]:
    """Where the rows go: a file that is there whole or not at all, or standard output."""
    if output is None:
        yield sys.stdout.buffer
        return
    with whole(output) as part, part.open("wb") as file:
        yield file


async def _export(settings: Settings, wanted: Wanted, form: Format, file: IO[bytes]) -> int:
    async with connection(settings) as opened:
        if wanted.product is not None:
            await product_by_slug(opened, wanted.product)
        async with rows(opened, wanted) as found:
            return await write_rows(found, form, file)


async def write_rows(found: Rows, form: Format, file: IO[bytes]) -> int:
    """Writes them all, with progress; gives how many."""
    line = writer(form, found.nested)
    count = 0
    with progress() as bar:
        task = bar.add_task("exporting", total=found.expected)
        file.write(head(form, found.columns))
        async for row in found.each:
            file.write(line(row))
            count += 1
            if count % REPORT_EVERY == 0:
                bar.update(task, completed=count)
    file.flush()
    return count
