"""The command "investigate export": the evidence of a case."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import click

from telemetry_server.cli.invocation import Invocation
from telemetry_server.cli.output import as_json, print_json, say
from telemetry_server.cli.registry_options import by_whom
from telemetry_server.cli.session import connection
from telemetry_server.investigate.export import Exported, Wanted, export_case
from telemetry_server.investigate.redaction import Profile
from telemetry_server.model import Author
from telemetry_server.store.access.audit_checkpoints import signer_of
from telemetry_server.store.access.keyring_check import keyring_of


@click.command("export")
@click.argument("case_id", metavar="CASE", type=click.UUID)
@click.option(
    "--to",
    type=click.Path(file_okay=False, path_type=Path),
    required=True,
    metavar="DIR",
    help="A new folder.",
)
@click.option(
    "--purpose", required=True, metavar="TEXT", help="What for, and for whom; part of the evidence."
)
@click.option(
    "--redact",
    type=click.Choice([each.value for each in Profile]),
    default=Profile.NOTHING.value,
    show_default=True,
    help="What to leave out.",
)
@by_whom
@as_json
@click.pass_obj
def export(
    invocation: Invocation,
    /,
    *,
    case_id: UUID,
    to: Path,
    purpose: str,
    redact: str,
    by: Author,
    as_json: bool,
) -> None:
    """Write the evidence of CASE into the folder DIR, signed. docs/evidence.md says how others check it.

    The export is in the audit log, and in the history of the case.
    """
    settings, now = invocation.settings(), datetime.now(UTC)
    wanted = Wanted(case_id=case_id, purpose=purpose, profile=Profile(redact))

    async def write() -> tuple[Exported, str]:
        async with connection(settings) as opened:
            signer = signer_of(await keyring_of(opened, settings.keyring))
            done = await export_case(opened, to, wanted, settings=settings, signer=signer, by=by, now=now)
            return done, signer.verifier.key

    done, key = asyncio.run(write())
    if as_json:
        print_json(
            {
                "directory": to,
                "rows": done.rows,
                "statement": done.statement,
                "key": key,
                "no_timestamp": done.no_timestamp,
            }
        )
        return
    click.echo(f"{done.rows} rows written to {to}.")
    if done.no_timestamp:
        say(f"Without a time stamp: {done.no_timestamp}")
    say(f"Whoever checks it needs the public key, on another way: {key}")
