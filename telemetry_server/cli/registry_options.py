"""Options and output that the commands about licenses, customers, products and releases share."""

import sys
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime
from functools import wraps
from typing import Any, TypeAlias

import click

from telemetry_server.check.days import shown_beginning, shown_end
from telemetry_server.cli.output import picked, print_json, print_table
from telemetry_server.cli.recorded_commands import operating_user, user_of_process
from telemetry_server.errors import FieldProblem
from telemetry_server.model import Author
from telemetry_server.store.registry.history import RegistryChange
from telemetry_server.uuid7 import LOWEST

Command: TypeAlias = Callable[..., Any]

LONGEST_ACTOR, LONGEST_REASON = 200, 1_000
MOST_LISTED = 1_000


def _length(longest: int) -> Callable[[click.Context, click.Parameter, str | None], str | None]:
    def check(_: click.Context, __: click.Parameter, text: str | None) -> str | None:
        if text is not None and (not 1 <= len(text.strip()) <= longest or not text.isprintable()):
            raise click.BadParameter(f"It must have 1 to {longest} characters, on one line.")
        return text and text.strip()

    return check


def by_whom(command: Command) -> Command:
    """Adds --actor and --reason; the command gets `by`, an Author: by default the user of this process."""

    @wraps(command)
    def with_author(*arguments: Any, actor: str | None, reason: str | None, **options: Any) -> Any:
        by = Author(actor or user_of_process(), reason, recorded_as=operating_user())
        return command(*arguments, by=by, **options)

    who, why = "Name in the history. [default: cli:YOU]", "Reason in the history."
    with_author = click.option("--reason", callback=_length(LONGEST_REASON), help=why)(with_author)
    return click.option("--actor", callback=_length(LONGEST_ACTOR), help=who)(with_author)


def with_fields(
    names: Collection[str], parse: Callable[[dict[str, Any]], tuple[object, Sequence[FieldProblem]]]
) -> Callable[[Command], Command]:
    """Adds an option for each of these fields of a license or a customer; an empty text clears the field.

    The command gets `patch`, as parsed from the options; wrong ones are reported together.
    """

    def with_options(command: Command) -> Command:
        @wraps(command)
        def with_patch(*arguments: Any, custom: tuple[str, ...], **options: Any) -> Any:
            given = {name: options.pop(name) for name in names}
            cells = {name: text for name, text in given.items() if text is not None} | _custom_cells(custom)
            patch, problems = parse(cells)
            if problems:
                wrong = (f"--{each.pointer[1:].replace('_', '-')}: {each.detail}" for each in problems)
                raise click.UsageError("\n".join(wrong))
            return command(*arguments, patch=patch, **options)

        text = "A custom field; NAME= removes it."
        with_patch = click.option("--custom", multiple=True, metavar="NAME=VALUE", help=text)(with_patch)
        for name in reversed(list(names)):
            with_patch = click.option(f"--{name.replace('_', '-')}", metavar="TEXT")(with_patch)
        return with_patch

    return with_options


def _custom_cells(pairs: Iterable[str]) -> dict[str, str]:
    cells = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals:
            raise click.BadParameter("Write it as NAME=VALUE; NAME= removes it.", param_hint="--custom")
        cells[f"custom.{name}"] = value
    return cells


def listed(command: Command) -> Command:
    """Adds --limit and --after, for a list page by page."""
    command = click.option(
        "--after",
        type=click.UUID,
        default=LOWEST,
        show_default=False,
        metavar="ID",
        help="Only those after this one.",
    )(command)
    most = click.IntRange(1, MOST_LISTED)
    return click.option(
        "--limit", type=most, default=100, show_default=True, metavar="N", help="At most N rows."
    )(command)


def from_stdin(text: str) -> str:
    """`text`; if that is "-", the first line of standard input, which `ps` does not show."""
    return sys.stdin.readline().strip() if text == "-" else text


def shown(value: Any) -> str:
    """The value as text."""
    match value:
        case None:
            return "-"
        case list() | tuple():
            return " ".join(map(str, value)) or "-"
        case dict():
            return " ".join(f"{name}={each}" for name, each in value.items()) or "-"
        case datetime():
            return f"{value:%Y-%m-%d %H:%M:%S}".removesuffix(" 00:00:00")
    return str(value)


def in_days(row: Mapping[str, Any], time_zone: str) -> dict[str, Any]:
    """The fields of a license; `starts_at` and `expires_at` as dates where they are whole days."""
    shown_as = {"starts_at": shown_beginning, "expires_at": shown_end}
    days = {
        name: shown_as[name](datetime.fromisoformat(value) if isinstance(value, str) else value, time_zone)
        for name, value in row.items()
        if name in shown_as and value is not None
    }
    return {**row, **days}


def differences(
    before: Mapping[str, Any] | None, after: Mapping[str, Any], time_zone: str = "UTC"
) -> list[str]:
    """The changed fields, one line each; dates of a license are in the time zone."""
    now = in_days(after, time_zone)
    if before is None:
        return [f"{name}: {shown(value)}" for name, value in now.items()]
    was = in_days(before, time_zone)
    return [f"{name}: {shown(was.get(name))} → {shown(value)}" for name, value in now.items()]


def print_fields(row: Mapping[str, Any]) -> None:
    """One line for each field."""
    for name, value in row.items():
        click.echo(f"{name:<18} {shown(value)}")


def print_history(changes: Sequence[RegistryChange], as_json: bool, time_zone: str = "UTC") -> None:
    if as_json:
        print_json({"changes": picked(changes, "changed_at", "actor", "reason", "before", "after")})
        return
    rows = (
        (
            f"{change.changed_at:%Y-%m-%d %H:%M:%S}",
            change.actor,
            change.reason,
            "\n".join(differences(change.before, change.after, time_zone)),
        )
        for change in changes
    )
    print_table(("when", "who", "why", "what"), rows)
