"""The command "license import"."""

import asyncio
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any
from zoneinfo import ZoneInfo

import click
from rich.progress import Progress

from telemetry_server.check.licenses.files import LicenseFile
from telemetry_server.check.licenses.lookalikes import misleads
from telemetry_server.check.licenses.mappings import MappingName
from telemetry_server.check.licenses.rows import RowFormat, RowProblem
from telemetry_server.cli.invocation import Invocation
from telemetry_server.cli.output import as_json, picked, print_json, progress, say
from telemetry_server.cli.registry_options import by_whom, differences
from telemetry_server.cli.session import connection
from telemetry_server.enrich.verdict import never_matching
from telemetry_server.model import Author, LicenseRow
from telemetry_server.settings import Settings
from telemetry_server.store.access.keyring_check import open_keyring_of
from telemetry_server.store.database import Connection
from telemetry_server.store.registry.customers import named
from telemetry_server.store.registry.history import ChangeOutcome, Draft
from telemetry_server.store.registry.license_import import MOST_ROWS_IN_A_CHUNK, importing
from telemetry_server.store.registry.license_plan import Batch, Kept
from telemetry_server.store.registry.licenses import KeyHashes, key_hashes

MOST_BYTES_IN_A_CHUNK = 8 * 2**20
MOST_REPORTED, MOST_SHOWN = 1_000, 20
NDJSON_SUFFIXES = {".ndjson", ".jsonl"}


@dataclass(frozen=True, slots=True)
class Wanted:
    """The arguments of the command."""

    product: str
    form: RowFormat
    mapping: MappingName | None
    enforce_addresses: bool
    by: Author
    dry_run: bool
    all_or_nothing: bool


@dataclass(slots=True)
class Summary:
    """The outcome of an import; of problems and changes the first ones."""

    counts: dict[ChangeOutcome, int] = field(default_factory=lambda: dict.fromkeys(ChangeOutcome, 0))
    customers: dict[ChangeOutcome, int] = field(
        default_factory=lambda: dict.fromkeys((ChangeOutcome.NEW, ChangeOutcome.CHANGED), 0)
    )
    differing: int = 0
    time_zone: str = "UTC"
    never_matching: list[str] = field(default_factory=list)
    rows_never_matching: int = 0
    alike: list[str] = field(default_factory=list)
    customer_changes: list[Draft] = field(default_factory=list)
    problems: list[RowProblem] = field(default_factory=list)
    changes: list[Kept] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)

    @property
    def wrong(self) -> int:
        return self.counts[ChangeOutcome.WRONG]

    def take(self, batch: Batch) -> list[RowProblem]:
        """Counts the outcomes of a batch; returns its problems, which `_Run` counts when it reports them."""
        problems = []
        for kept in batch.rows:
            if kept.problem:
                problems.append(kept.problem)
                continue
            self.counts[kept.outcome] += 1
            if kept.outcome is not ChangeOutcome.UNCHANGED and len(self.changes) < MOST_SHOWN:
                self.changes.append(_naming(kept, batch))
        for customer in batch.customers:
            self.customers[customer.outcome] += 1
        room = MOST_SHOWN - len(self.customer_changes)
        self.customer_changes += batch.customers[:room]
        self.differing += len(batch.differing)
        self.alike += [
            f"line {line}: the key looks like that of line {other}, but is another one"
            for line, other in batch.alike
        ]
        del self.alike[MOST_REPORTED:]
        return problems

    def look_at(self, rows: Iterable[LicenseRow]) -> None:
        """Collects what is no problem of a row but may be a mistake."""
        for row in rows:
            if row.key is not None and misleads(row.key) and len(self.alike) < MOST_REPORTED:
                self.alike.append(
                    f"line {row.line}: the key has letters or hyphens that only look like usual ones"
                )
            addresses = row.patch.addresses
            if isinstance(addresses, tuple) and (never := never_matching(addresses)):
                self.rows_never_matching += 1
                self.never_matching += never[: MOST_SHOWN - len(self.never_matching)]

    def as_json(self) -> dict[str, Any]:
        return {
            **{outcome.value: count for outcome, count in self.counts.items()},
            "customers": {outcome.value: count for outcome, count in self.customers.items()},
            "differing_customers": self.differing,
            "left_out": self.left_out,
            "never_matching": {"rows": self.rows_never_matching, "addresses": self.never_matching},
            "alike": self.alike,
            "problems": picked(self.problems, "line", "column", "detail"),
            "changes": picked(self.changes, "line", "license_id", "outcome", "before", "after"),
            "customer_changes": [
                {"customer_id": each.uuid, "before": each.before(), "after": each.after()}
                for each in self.customer_changes
            ],
        }


def _naming(kept: Kept, batch: Batch) -> Kept:
    """The change, with the name instead of the id of a new customer: in a dry run, that id is not stored."""
    made = {each.uuid: each.fields for each in batch.customers if each.was is None}
    customer_id = kept.after.get("customer_id")
    if customer_id not in made:
        return kept
    return replace(kept, after={**kept.after, "customer_id": f"new: {named(made[customer_id])}"})


@click.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path))
@click.option("--product", required=True, metavar="SLUG", help="The product of the licenses.")
@click.option("--dry-run", is_flag=True, help="Only show what would change.")
@click.option(
    "--format",
    "form",
    type=click.Choice([form.value for form in RowFormat]),
    help="[default: by the name of FILE, else csv]",
)
@click.option(
    "--mapping",
    type=click.Choice([name.value for name in MappingName]),
    help="The system that exported FILE, with its columns.",
)
@click.option(
    "--enforce-addresses",
    is_flag=True,
    help="With --mapping: copies must report from the addresses in FILE.",
)
@click.option(
    "--all-or-nothing",
    is_flag=True,
    help="Check the whole file first, and import it only if it has no problem.",
)
@by_whom
@as_json
@click.pass_obj
def import_licenses(
    invocation: Invocation,
    /,
    *,
    file: Path,
    product: str,
    dry_run: bool,
    form: str | None,
    mapping: str | None,
    enforce_addresses: bool,
    all_or_nothing: bool,
    by: Author,
    as_json: bool,
) -> None:
    """Import licenses from FILE, CSV or NDJSON, one a line; - is standard input.

    Only the column key is required. Good rows are imported; wrong ones are reported with their line, and
    the command exits with 1. The import is idempotent: to finish an interrupted one, run it again.
    docs/licenses.md describes the columns.
    """
    wanted = Wanted(
        product,
        RowFormat(form) if form else _form_of(file),
        MappingName(mapping) if mapping else None,
        enforce_addresses,
        by,
        dry_run,
        all_or_nothing,
    )
    with _opened(file, again=all_or_nothing) as (source, size):
        summary, written = asyncio.run(_import(invocation.settings(), wanted, source, size))
    if as_json:
        print_json({"product": product, "dry_run": dry_run, "written": written, **summary.as_json()})
    else:
        _print(summary, written)
    if summary.wrong:
        raise click.exceptions.Exit(1)


def _form_of(file: Path) -> RowFormat:
    return RowFormat.NDJSON if file.suffix.lower() in NDJSON_SUFFIXES else RowFormat.CSV


@contextmanager
def _opened(file: Path, *, again: bool) -> Iterator[tuple[IO[bytes], int | None]]:
    """The file and its size; a copy, if it has to be read `again` and is standard input or a pipe."""
    with click.open_file(file, "rb") as source:
        if str(file) != "-" and source.seekable():
            yield source, file.stat().st_size
        elif not again:
            yield source, None
        else:
            with tempfile.TemporaryFile() as copy:
                shutil.copyfileobj(source, copy, 2**20)
                size = copy.tell()
                copy.seek(0)
                yield copy, size


async def _import(
    settings: Settings, wanted: Wanted, source: IO[bytes], size: int | None
) -> tuple[Summary, bool]:
    """The summary, and whether the import was written."""
    async with connection(settings) as opened:
        keyring = await open_keyring_of(opened, settings.keyring)
        hashes = await key_hashes(opened, keyring, wanted.product)
        with progress() as bar:
            run = _Run(opened, hashes, wanted, bar, size)
            if not wanted.dry_run and not wanted.all_or_nothing:
                return await run.over(source, dry_run=False), True
            summary = await run.over(source, dry_run=True)
            if wanted.dry_run or summary.wrong:
                return summary, False
            source.seek(0)
            return await run.over(source, dry_run=False), True


class _Run:
    """Passes over the file."""

    def __init__(
        self, connection: Connection, hashes: KeyHashes, wanted: Wanted, bar: Progress, size: int | None
    ) -> None:
        self._connection = connection
        self._hashes = hashes
        self._wanted = wanted
        self._bar = bar
        self._size = size

    async def over(self, source: IO[bytes], *, dry_run: bool) -> Summary:
        summary = Summary(time_zone=self._hashes.product.time_zone)
        counted = _Counted(source)
        task = self._bar.add_task("checking" if dry_run else "importing", total=self._size)
        file = LicenseFile(
            counted,
            self._wanted.form,
            self._wanted.mapping,
            today=datetime.now(ZoneInfo(summary.time_zone)).date(),
            enforce_addresses=self._wanted.enforce_addresses,
        )
        async with importing(self._connection, self._hashes, by=self._wanted.by, dry_run=dry_run) as run:
            chunks = _chunks(file, counted)
            upcoming = next(chunks, None)
            while upcoming is not None:
                rows, problems = upcoming
                summary.look_at(rows)
                upcoming, chunk = await asyncio.gather(  # PostgreSQL writes while the next rows are read
                    asyncio.to_thread(next, chunks, None), run.take(rows, now=datetime.now(UTC))
                )
                self._tell(summary, problems + summary.take(chunk))
                self._bar.update(task, completed=counted.bytes)
        summary.left_out = file.left_out
        self._bar.remove_task(task)
        return summary

    def _tell(self, summary: Summary, problems: list[RowProblem]) -> None:
        summary.counts[ChangeOutcome.WRONG] += len({problem.line for problem in problems})
        room = MOST_REPORTED - len(summary.problems)
        for problem in sorted(problems, key=lambda each: each.line)[:room]:
            summary.problems.append(problem)
            where = f"line {problem.line}" + (f", {problem.column}" if problem.column else "")
            self._bar.console.print(f"{where}: {problem.detail}", soft_wrap=True, emoji=False)


class _Counted:
    """A file that counts the bytes read, even if it has no position, as a pipe."""

    def __init__(self, source: IO[bytes]) -> None:
        self._source = source
        self.bytes = 0

    def readline(self, size: int, /) -> bytes:
        line = self._source.readline(size)
        self.bytes += len(line)
        return line


def _chunks(file: LicenseFile, counted: _Counted) -> Iterator[tuple[list[LicenseRow], list[RowProblem]]]:
    """The rows and problems, in chunks of bounded size."""
    rows: list[LicenseRow] = []
    problems: list[RowProblem] = []
    begun = 0
    for found in file:
        if isinstance(found, LicenseRow):
            rows.append(found)
        else:
            problems += found
        if (
            max(len(rows), len(problems)) >= MOST_ROWS_IN_A_CHUNK
            or counted.bytes - begun > MOST_BYTES_IN_A_CHUNK
        ):
            yield rows, problems
            rows, problems, begun = [], [], counted.bytes
    yield rows, problems


_ALWAYS = set(ChangeOutcome) - {ChangeOutcome.REPEATED}


def _print_notes(summary: Summary) -> None:
    """What is no problem of a row but may be a mistake."""
    if repeated := summary.counts[ChangeOutcome.REPEATED]:
        say(f"{repeated:,} rows repeat an earlier row about the same license.")
    if summary.rows_never_matching:
        some = ", ".join(dict.fromkeys(summary.never_matching))
        say(
            f"{summary.rows_never_matching:,} rows have private or reserved addresses, "
            f"which no copy can match: {some}"
        )
    for note in summary.alike[:MOST_SHOWN]:
        say(f"{note}.")


def _print_changes(summary: Summary) -> None:
    for kept in summary.changes:
        click.echo(f"line {kept.line}: {kept.outcome}")
        for line in differences(kept.before, kept.after, summary.time_zone):
            click.echo(f"  {line}")
    for customer in summary.customer_changes:
        click.echo(f"customer {named(customer.was or customer.fields)}: {customer.outcome}")
        for line in differences(customer.before(), customer.after()):
            click.echo(f"  {line}")


def _print(summary: Summary, written: bool) -> None:
    if summary.left_out:
        say(f"Ignored columns: {', '.join(summary.left_out)}")
    if summary.wrong > len({problem.line for problem in summary.problems}):
        say(f"Only the first of {summary.wrong:,} wrong rows are shown.")
    if summary.differing:
        say(f"{summary.differing:,} rows describe a customer unlike an earlier row, which is kept.")
    _print_notes(summary)
    if not written:
        _print_changes(summary)
    counts = {outcome: count for outcome, count in summary.counts.items() if count or outcome in _ALWAYS}
    click.echo(" · ".join(f"{count:,} {outcome.value}" for outcome, count in counts.items()))
    new, changed = summary.customers.values()
    if new or changed:
        click.echo(f"customers: {new:,} new · {changed:,} changed")
    if not written:
        say("Nothing was written.")
    elif summary.wrong:
        any_good = sum(summary.counts.values()) > summary.wrong
        good = "The good rows were imported" if any_good else "Nothing was imported"
        say(f"{good}; correct the wrong rows and import the file again.")
