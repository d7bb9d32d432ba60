"""docs/commands.md is written from the commands and the settings. UPDATE=1 (make fields) writes it anew.

Kept as it is: the introduction, but for the table of settings, and what lies between the marks.
"""

import dataclasses
import inspect
import os
import re

import click
from places import ROOT

from telemetry_server.cli import main
from telemetry_server.cli.config import _row
from telemetry_server.settings import PREFIX, Settings

PAGE = ROOT / "docs" / "commands.md"
KEPT, END = "<!-- kept by make fields -->", "<!-- end -->"
SETTINGS = re.compile(r"(\| variable \| default \| meaning \|\n\| --- \| --- \| --- \|\n)(?:\|.*\n)*")
HEADING = re.compile(r"^##+ `(.+)`$", re.MULTILINE)


def every_command(command=main, path=""):
    """Each command by its path, groups too, in the order of the help."""
    context = click.Context(command, info_name=path)
    found = {path: command} if path else {}
    for name in command.list_commands(context) if isinstance(command, click.Group) else ():
        found |= every_command(command.get_command(context, name), f"{path} {name}".strip())
    return found


EVERY = every_command()


def kept_in(page):
    """The introduction, under the empty path, and the text between the marks by the path of its command."""
    introduction, *sections = HEADING.split(page)
    kept = {"": introduction}
    for heading, section in zip(sections[::2], sections[1::2], strict=True):
        if found := re.search(f"{re.escape(KEPT)}\n(.+?)\n{re.escape(END)}", section, re.DOTALL):
            kept[
                max(
                    (path for path in EVERY if f"{heading} ".startswith(f"{path} ")), key=len, default=heading
                )
            ] = found[1]
    return kept


def section(path, command, kept):
    context = click.Context(command, info_name=path)
    arguments = [each.make_metavar(context) for each in command.params if isinstance(each, click.Argument)]
    parts = [f"##{'#' * path.count(' ')} `{' '.join([path, *arguments])}`", _text(command)]
    if path in kept:
        parts.append(f"{KEPT}\n{kept[path]}\n{END}")
    if options := "\n".join(_option(each, context) for each in command.params if _is_its_own(each)):
        parts.append(options)
    return "\n\n".join(parts)


def _text(command):
    return re.sub(r"\bdocs/(\w+\.md)", r"[\1](\1)", inspect.cleandoc(command.help))


def _is_its_own(parameter):
    return isinstance(parameter, click.Option) and "--data" not in parameter.opts


def _option(option, context):
    usage, text = option.get_help_record(context)
    return f"- `{usage}`: {' '.join(text.split())}" if text.strip() else f"- `{usage}`"


def settings_table():
    rows = [_row(setting, Settings(), {}) for setting in dataclasses.fields(Settings)]
    shown = [f" `{row['value']}`" if row["value"] != "" else "" for row in rows]
    return "".join(
        f"| `{row['name']}` |{default} | {row['text']} |\n" for row, default in zip(rows, shown, strict=True)
    )


def commands_page(kept):
    introduction = SETTINGS.sub(lambda found: found[1] + settings_table(), kept[""])
    sections = [section(path, command, kept) for path, command in EVERY.items()]
    return "\n\n".join([introduction.strip(), *sections]) + "\n"


def test_the_page_of_commands_is_up_to_date():
    kept = kept_in(PAGE.read_text("utf-8"))
    if os.environ.get("UPDATE"):
        PAGE.write_text(commands_page(kept), "utf-8")
    assert PAGE.read_text("utf-8") == commands_page(kept), "run: make fields"


def test_what_is_kept_belongs_to_a_command():
    assert kept_in(PAGE.read_text("utf-8")).keys() - EVERY.keys() == {""}


def test_what_is_kept_outlives_another_argument_of_the_command():
    page = commands_page({"": "# Commands", "token revoke": "Kept."})
    assert kept_in(page.replace("token revoke ID", "token revoke NAME"))["token revoke"] == "Kept."
    assert kept_in(page.replace("token revoke ID", "no such"))["no such"] == "Kept."


def test_the_introduction_names_the_options_of_all_commands():
    named = set(re.findall(r"--[a-z]+", kept_in(PAGE.read_text("utf-8"))[""]))
    assert {name for parameter in main.params for name in parameter.opts} | {"--data", "--help"} <= named


def test_every_setting_has_its_row():
    rows = re.findall(r"^\| `(TELEMETRY_\w+)` \|", PAGE.read_text("utf-8"), re.MULTILINE)
    assert rows == [f"{PREFIX}{setting.name.upper()}" for setting in dataclasses.fields(Settings)]


def test_every_command_has_help_and_an_option_of_its_own_is_on_the_page():
    assert [path for path, command in EVERY.items() if not command.help] == []
    assert "- `--seats TEXT`\n" in PAGE.read_text("utf-8")
    assert "What the person may do; see docs/accounts.md. [required]\n" in PAGE.read_text("utf-8")
