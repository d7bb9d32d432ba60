"""The command `telemetry-server`. Each subcommand is a module of this folder, imported when it is called.

A subcommand reads its settings with `context.obj.settings()`, opens the database with `session` and prints
with `output`. `failures` turns its errors into a sentence and an exit code.
"""

import sys
from importlib import import_module
from io import TextIOWrapper

import click

from telemetry_server.cli.invocation import Group, with_data
from telemetry_server.version import version

COMMANDS = {
    "serve": ("serve:serve", "Receive pings and show pages, until SIGTERM or Ctrl-C."),
    "migrate": ("migrate:migrate", "Bring the database to this version."),
    "product": ("product:product", "Products and their keys."),
    "license": ("licenses:license", "The license registry: who may run what."),
    "customer": ("customers:customer", "Customers, who own licenses."),
    "edition": ("releases:edition", "Editions of products."),
    "release": ("releases:release", "Released versions of products and their builds."),
    "user": ("user:user", "People with accounts."),
    "token": ("tokens:token", "API tokens."),
    "audit": ("audit:audit", "The audit log: who saw or changed what, and whether the log is intact."),
    "investigate": ("investigate:investigate", "Leads to copies that should not exist, and their cases."),
    "privacy": ("privacy:privacy", "The privacy policy, kept: notices, levels, and the rights of subjects."),
    "sign-in": ("sign_in:sign_in", "Print a one-time link that signs a browser in."),
    "enroll": ("enroll:enroll", "Create enrolment files for copies of PRODUCT without network access."),
    "import": (
        "uploads:import_uploads",
        'Send the FILEs that "license-telemetry export FILE" (without --to) wrote to the running server.',
    ),
    "bundle": ("bundle:bundle", "Bundles of copies behind an air gap, and their receipts."),
    "export": ("export:export", "Write installations, pings, licenses or counts as NDJSON, CSV or Parquet."),
    "geoip": ("geoip:geoip", "Country, city and network operator of addresses."),
    "run": ("run:run", "Run a background JOB now, e.g.: telemetry-server run make partitions"),
    "simulate": (
        "simulate:simulate",
        "Create a simulated product with a fleet, for demonstrations and measurements.",
    ),
    "rollup": ("rollup:rollup", "The counts of pings."),
    "doctor": ("doctor:doctor", "Check everything within 20 seconds, with advice."),
    "config": ("config:config", "The settings in force."),
    "keyring": ("keyring:keyring", "The master keys, which are stored outside the database."),
    "support": (
        "support:support",
        "Support cases, the access that customers grant for them, and its opening.",
    ),
    "cluster": ("cluster:cluster", "A database over several machines, with Citus."),
    "db": ("db:db", "The whole database: dump, restore, upgrade, psql, read-only roles."),
}
"""The object of each command, and its line in --help, which imports none of them."""


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


def _print_version(context: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted and not context.resilient_parsing:
        click.echo(f"telemetry-server {version()}")
        context.exit()


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Each setting is also an environment variable: telemetry-server config show.",
)
@click.option("--debug", is_flag=True, help="Print the traceback of an error.")
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

    All commands work beside a running "serve" on the same data directory, and with an external PostgreSQL.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(
                errors="replace"
            )  # characters that a terminal cannot show must not fail a command
