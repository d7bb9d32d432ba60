"""What the commands about licenses, customers and releases share: who changes, and what is printed."""

import os
import pwd
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any, TypeVar

import click

from telemetry_server.check.days import shown_beginning, shown_end
from telemetry_server.cli.output import print_json, print_table
from telemetry_server.errors import FieldProblem
from telemetry_server.model import Author
from telemetry_server.store.registry.history import RegistryChange

Command = TypeVar("Command", bound=Callable[..., Any])

LONGEST_ACTOR, LONGEST_REASON = 200, 1_000
MOST_LISTED = 1_000


def _length(longest: int) -> Callable[[click.Context, click.Parameter, str | None], str | None]:
    def check(_: click.Context, __: click.Parameter, text: str | None) -> str | None:
        if text is not None and (not 1 <= len(text.strip()) <= longest or not text.isprintable()):
            raise click.BadParameter(f"It has 1 to {longest} characters, on one line.")
        return text and text.strip()

    return check


def by_whom(command: Command) -> Command:
    """The options --actor and --reason, which the history keeps; see `author`."""
    who, why = "Who, for the history. [default: cli:YOU]", "Why, for the history."
    command = click.option("--reason", callback=_length(LONGEST_REASON), help=why)(command)
    return click.option("--actor", callback=_length(LONGEST_ACTOR), help=who)(command)


def with_fields(*names: str) -> Callable[[Command], Command]:
    """An option for each of these fields of a license or a customer; an empty text clears it."""

    def with_options(command: Command) -> Command:
        told = "Your own field; NAME= removes it."
        command = click.option("--custom", multiple=True, metavar="NAME=VALUE", help=told)(command)
        for name in reversed(names):
            command = click.option(f"--{name.replace('_', '-')}", metavar="TEXT")(command)
        return command

    return with_options


def listed(command: Command) -> Command:
    """The options --limit and --after: a list, page by page."""
    limit, after = "At most so many.", "Only those that came after this one."
    most = click.IntRange(1, MOST_LISTED)
    command = click.option("--after", type=click.UUID, metavar="ID", help=after)(command)
    return click.option("--limit", type=most, default=100, show_default=True, metavar="N", help=limit)(
        command
    )


def author(actor: str | None, reason: str | None) -> Author:
    """Who changes the registry: whom the options name, or the user of the operating system."""
    user = str(os.getuid())
    with suppress(KeyError):
        user = pwd.getpwuid(os.getuid()).pw_name
    return Author(actor or f"cli:{user}", reason)


def given(options: Mapping[str, Any], names: Iterable[str], custom: Sequence[str]) -> dict[str, Any]:
    """The options that were given, as cells of a row; an empty one clears its field."""
    cells = {name: options[name] for name in names if options.get(name) is not None}
    for pair in custom:
        name, equals, value = pair.partition("=")
        if not equals:
            raise click.BadParameter("Write it as NAME=VALUE; NAME= removes it.", param_hint="--custom")
        cells[f"custom.{name}"] = value
    return cells


def refuse(problems: Iterable[FieldProblem]) -> None:
    """Raises a usage error that names every wrong option."""
    if told := [f"--{p.pointer[1:].replace('_', '-')}: {p.detail}" for p in problems]:
        raise click.UsageError("\n".join(told))


def from_stdin(text: str) -> str:
    """What was given, or where that is - the first line of standard input, which nobody else sees."""
    return sys.stdin.readline().strip() if text == "-" else text


def shown(value: Any) -> str:
    """A value for people."""
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
    """The fields of a license with the days on which it begins and ends, where it does so with a day."""
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
    """What changed, a line for each field; days of a license are those of the time zone."""
    after = in_days(after, time_zone)
    if before is None:
        return [f"{name}: {shown(value)}" for name, value in after.items()]
    before = in_days(before, time_zone)
    return [f"{name}: {shown(before.get(name))} → {shown(value)}" for name, value in after.items()]


def print_fields(row: Mapping[str, Any]) -> None:
    """One thing, a line for each field."""
    for name, value in row.items():
        click.echo(f"{name:<18} {shown(value)}")


def print_history(changes: Sequence[RegistryChange], as_json: bool, time_zone: str = "UTC") -> None:
    if as_json:
        told = ("changed_at", "actor", "reason", "before", "after")
        print_json({"changes": [{name: getattr(change, name) for name in told} for change in changes]})
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
