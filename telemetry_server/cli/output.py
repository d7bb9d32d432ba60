"""Output of commands: results on stdout, plain or as one JSON document; everything else on stderr."""

import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any

import click
import orjson
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

WIDE = 4_000
"""Width of a file or pipe, where nothing is wrapped or cut off."""

as_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON document, for scripts.")


def say(sentence: str) -> None:
    """Prints on stderr. Errors, such as a full disk, are ignored: they must not fail the command."""
    with suppress(OSError):
        click.echo(sentence, err=True)


def tell(sentence: str) -> None:
    """The same on stdout, for a running server."""
    with suppress(OSError):
        click.echo(sentence)


def print_json(document: Any) -> None:
    options = orjson.OPT_INDENT_2 | orjson.OPT_UTC_Z
    click.echo(orjson.dumps(document, default=str, option=options).decode())


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Prints a table as wide as the terminal; None is an empty cell. Markup in cells is not interpreted."""
    table = Table(*columns, box=None, pad_edge=False, header_style="bold")
    for column in table.columns:
        column.overflow = "fold"
    for row in rows:
        table.add_row(*("" if cell is None else str(cell) for cell in row))
    width = None if sys.stdout.isatty() else WIDE
    Console(width=width, markup=False, highlight=False, emoji=False).print(table)


def picked(rows: Iterable[object], *names: str) -> list[dict[str, Any]]:
    """These attributes of each row, for JSON."""
    return [{name: getattr(row, name) for name in names} for row in rows]


def progress() -> Progress:
    """A progress bar on stderr, if that is a terminal."""
    return Progress(
        SpinnerColumn(),
        *Progress.get_default_columns()[:2],
        TextColumn("{task.completed:,.0f}"),
        TimeElapsedColumn(),
        console=Console(stderr=True, markup=False, highlight=False),
        disable=not sys.stderr.isatty(),
        transient=True,
    )
