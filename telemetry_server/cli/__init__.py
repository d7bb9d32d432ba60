"""The command `telemetry-server`. Each command is a module of this folder, loaded when it is asked for.

A command reads its settings with `context.obj.settings()`, opens the database with `session`, prints
with `output`, and raises: `failures` turns what it raises into a sentence and an exit code.
"""

import sys
from importlib import import_module
from io import TextIOWrapper

import click

from telemetry_server.cli.invocation import Group, with_data

COMMANDS = {
    "serve": ("serve:serve", "Receive pings and show pages, until SIGTERM or Ctrl-C."),
    "migrate": ("migrate:migrate", "Bring the database to this version."),
    "product": ("product:product", "Products and their keys."),
    "license": ("licenses:license", "The license registry: who may run what."),
    "customer": ("customers:customer", "Customers, who own licenses."),
    "edition": ("releases:edition", "Editions of products."),
    "release": ("releases:release", "Released versions of products and their builds."),
    "token": ("tokens:token", "API tokens."),
    "sign-in": ("sign_in:sign_in", "Print a one-time link that signs a browser in."),
    "enroll": ("enroll:enroll", "Make enrolment files for copies of PRODUCT that may not go online."),
    "import": (
        "uploads:import_uploads",
        'Hand the running server the FILEs that "license-telemetry export" wrote.',
    ),
    "export": ("export:export", "Write installations, pings, licenses or counts as NDJSON, CSV or Parquet."),
    "geoip": ("geoip:geoip", "Country, city and network operator of addresses."),
    "run": ("run:run", "Run a background JOB now, e.g.: telemetry-server run make partitions"),
    "simulate": ("simulate:simulate", "Make up a product with a fleet, to look at and to measure with."),
    "rollup": ("rollup:rollup", "The counts made of the pings."),
    "doctor": ("doctor:doctor", "Check everything within 20 seconds, and say what to do."),
    "config": ("config:config", "The settings in force."),
    "keyring": ("keyring:keyring", "The master keys, which live outside the database."),
    "db": ("db:db", "The database as a whole: dump, restore, upgrade, psql, roles that read."),
}
"""Each command's object, and its line in the help, which thus needs no import."""


class LazyGroup(Group):
    """Imports a command when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  click's signature
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name][0].partition(":")
        command: click.Command = getattr(import_module(f"{__name__}.{module}"), name)
        return with_data(command)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version  # noqa: PLC0415  as slow as all of --help

    try:
        return version("license-telemetry-server")
    except PackageNotFoundError:  # run from a source tree
        return "unreleased"


def _print_version(context: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted and not context.resilient_parsing:
        click.echo(f"telemetry-server {_version()}")
        context.exit()


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Every setting is an environment variable too: telemetry-server config show.",
)
@click.option("--debug", is_flag=True, help="Show where an error came from.")
@click.option(
    "--version",
    is_flag=True,
    expose_value=False,
    is_eager=True,
    callback=_print_version,
    help="Print the version.",
)
def main(debug: bool) -> None:  # noqa: ARG001  Group.invoke asks for it
    """The self-hosted license telemetry server.

    All commands work beside a running "serve" on the same data directory, and on your own PostgreSQL.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")  # what a terminal cannot show must not end a command
