"""The commands "audit …"."""

import asyncio
import base64
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import click
import orjson

from telemetry_server.cli.export import Moment
from telemetry_server.cli.invocation import Group, Invocation
from telemetry_server.cli.output import as_json, print_json, print_table, say
from telemetry_server.cli.registry_options import MOST_LISTED
from telemetry_server.cli.session import ask
from telemetry_server.errors import OperatorError
from telemetry_server.settings import Settings
from telemetry_server.signed_note import Checkpoint, NoteSigner
from telemetry_server.store.access import audit as log
from telemetry_server.store.access.audit_check import BadEntry, Verification
from telemetry_server.store.access.audit_check import verify as verify_log
from telemetry_server.store.access.audit_checkpoints import checkpoints_in, signer_of, write_checkpoint
from telemetry_server.store.access.audit_log import number_entries, prove, size_of
from telemetry_server.store.access.audit_witness import Witnessed, cosigner_of, kept
from telemetry_server.store.access.keyring_check import keyring_of
from telemetry_server.store.database import Connection

NOT_INTACT = 3
"""The exit code of "audit verify" if the log is not intact."""


class EntryId(click.ParamType[UUID | int]):
    """The id of an entry, or its number."""

    name = "entry"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> UUID | int:
        try:
            return int(value) if value.isdecimal() and len(value) < len(str(2**63)) else UUID(value)
        except ValueError:
            self.fail(f"{value!r} is neither the number nor the id of an entry.", param, ctx)


@click.group(cls=Group)
def audit() -> None:
    """The audit log: who saw or changed what, and whether the log is intact.

    docs/audit.md describes the entries and the proofs.
    """


@audit.command("list")
@click.option("--actor", metavar="TEXT", help="How the actor begins, e.g. cli:root.")
@click.option("--action", metavar="TEXT", help="E.g. customer.view, or customer for all of them.")
@click.option("--subject-kind", metavar="TEXT", help="E.g. installation, license, customer.")
@click.option("--subject-id", metavar="TEXT", help="About this subject only.")
@click.option("--product", metavar="SLUG", help="About this product only.")
@click.option("--since", type=Moment(), metavar="TIME", help="Recorded at TIME or later.")
@click.option("--until", type=Moment(), metavar="TIME", help="Recorded before TIME.")
@click.option("--limit", type=click.IntRange(1, MOST_LISTED), default=100, show_default=True)
@as_json
@click.pass_obj
def list_all(invocation: Invocation, /, *, limit: int, as_json: bool, **wanted: Any) -> None:
    """List entries, the newest first."""
    asked = log.AuditFilter(**wanted)
    found = ask(invocation.settings(), lambda connection: log.find(connection, asked, limit=limit))
    if as_json:
        print_json({"entries": [asdict(each) for each in found]})
        return
    columns = ("entry", "recorded at", "actor", "action", "subject", "from", "reason")
    print_table(columns, (_row(each) for each in found))
    if len(found) == limit:
        say(f"There may be more: --until {found[-1].recorded_at:%Y-%m-%dT%H:%M:%S.%fZ}")


@audit.command()
@click.option(
    "--checkpoint",
    "files",
    type=click.Path(exists=True, path_type=Path),
    multiple=True,
    metavar="FILE",
    help="Also compare with the checkpoints in FILE, an e-mail or a directory; repeatable.",
)
@as_json
@click.pass_obj
def verify(invocation: Invocation, files: tuple[Path, ...], as_json: bool) -> None:
    """Check the whole log; exits with 0 if it is intact, else with 3 and names the first bad entry.

    Compares it with the checkpoints in the database and in TELEMETRY_AUDIT_CHECKPOINTS. Only a checkpoint
    from outside the database shows that the log was rewritten as a whole.
    """
    settings = invocation.settings()

    async def check(connection: Connection) -> tuple[NoteSigner, Verification]:
        signer = await _signer(connection, settings)
        places = [*files, *filter(None, [settings.audit_directory])]
        outside = await asyncio.to_thread(_checkpoints, places, signer)
        return signer, await verify_log(connection, signer.verifier, outside)

    signer, result = ask(settings, check)
    if as_json:
        about = {"intact": result.intact, **asdict(result), "first_bad": _about(result.first_bad)}
        print_json(about | {"root": _base64(result.root), "key": signer.verifier.key})
    else:
        click.echo(_sentence(result))
    if not result.intact:
        raise click.exceptions.Exit(NOT_INTACT)


@audit.command("prove")
@click.argument("entry", type=EntryId())
@as_json
@click.pass_obj
def prove_entry(invocation: Invocation, entry: UUID | int, as_json: bool) -> None:
    """Prove to others that ENTRY, an id or a number, is in the log, without showing other entries.

    Prints the proof in the format of c2sp.org/tlog-proof; docs/audit.md says how to check it.
    """
    settings, now = invocation.settings(), datetime.now(UTC)

    async def make(connection: Connection) -> dict[str, Any]:
        signer = await _signer(connection, settings)
        note = await write_checkpoint(connection, signer, settings.audit_directory, now)
        proof = await prove(connection, entry, await size_of(connection))
        return {
            "entry_id": proof.entry_id,
            "leaf": proof.leaf,
            "entry": orjson.loads(proof.content),
            "checkpoint": note,
            "key": signer.verifier.key,
            "proof": proof.with_checkpoint(note or ""),
        }

    made = ask(settings, make)
    if as_json:
        print_json(made)
    else:
        click.echo(made["proof"], nl=False)
        say(f"The public key of the log is {made['key']}")


@audit.command()
@as_json
@click.pass_obj
def checkpoint(invocation: Invocation, as_json: bool) -> None:
    """Sign the present state of the log and print the checkpoint, to be stored outside of this server."""
    settings, now = invocation.settings(), datetime.now(UTC)

    async def make(connection: Connection) -> tuple[str | None, NoteSigner]:
        signer = await _signer(connection, settings)
        return await write_checkpoint(connection, signer, settings.audit_directory, now), signer

    note, signer = ask(settings, make)
    if note is None:
        raise OperatorError("The audit log is empty.")
    signed = signer.verifier.open(note)
    if as_json:
        about = {"size": signed.size, "root": _base64(signed.root), "key": signer.verifier.key}
        print_json(about | {"checkpoint": note})
    else:
        click.echo(note, nl=False)
        say(f"The public key of the log is {signer.verifier.key}")


@audit.command()
@click.option("--origin", metavar="NAME", help="Of this log only: the first line of its checkpoints.")
@click.option("--limit", type=click.IntRange(1, MOST_LISTED), default=100, show_default=True)
@as_json
@click.pass_obj
def witnessed(invocation: Invocation, origin: str | None, limit: int, as_json: bool) -> None:
    """Print the newest checkpoints that this server keeps, as a witness, for other servers.

    For "audit verify --checkpoint FILE" of the other server. They have the cosignature of this one.
    """
    settings = invocation.settings()

    async def find(connection: Connection) -> tuple[list[Witnessed], str]:
        cosigner = cosigner_of(await keyring_of(connection, settings.keyring))
        return await kept(connection, origin, limit), cosigner.verifier.key

    found, key = ask(settings, find)
    if as_json:
        print_json({"checkpoints": [asdict(each) for each in found], "key": key})
    else:
        click.echo("\n".join(each.note for each in found), nl=False)
        say(f"The public key of this witness is {key}")


@audit.command("witness-restored")
@click.argument("origin")
@click.option("--reason", required=True, help="E.g. the ticket of the restore.")
@click.pass_obj
def witness_restored(invocation: Invocation, origin: str, reason: str) -> None:
    """Say that the log ORIGIN of another server was restored from a backup.

    This witness takes its next checkpoint in any case. What it has is kept, and shows what was lost.
    """

    async def look(connection: Connection) -> None:
        if not await kept(connection, origin, 1):
            raise OperatorError(f'No checkpoint of {origin} is here; "audit witnessed" shows all.')

    ask(invocation.settings(), look)
    click.echo(f"The next checkpoint of {origin} begins anew ({reason}).")


async def _signer(connection: Connection, settings: Settings) -> NoteSigner:
    """The signer of the log, once the entries that wait are in the tree."""
    signer = signer_of(await keyring_of(connection, settings.keyring))
    await number_entries(connection)
    return signer


def _checkpoints(places: list[Path], signer: NoteSigner) -> list[Checkpoint]:
    return [each for place in places for each in checkpoints_in(place, signer.verifier)]


def _about(bad: BadEntry | None) -> dict[str, Any] | None:
    return None if bad is None else bad._asdict()


def _sentence(result: Verification) -> str:
    bad = result.first_bad
    if bad is None:
        waiting = f", {result.waiting} wait for their number" if result.waiting else ""
        return (
            f"The audit log is intact: {result.entries} entries ({result.erased} erased{waiting}), "
            f"{result.checkpoints} checkpoints."
        )
    if bad.leaf is None:
        which = f"entry {bad.entry_id}: " if bad.entry_id else ""
    else:
        which = f"entry {bad.leaf}: " if bad.last is None else f"entries {bad.leaf} to {bad.last}: "
    return f"The audit log is not intact. First bad {which}{bad.problem}."


def _row(each: log.Recorded) -> list[object]:
    subject = " ".join(filter(None, (each.subject_kind, each.subject_id)))
    when = f"{each.recorded_at:%Y-%m-%d %H:%M:%S}"
    return [each.leaf, when, each.actor, each.action, subject, each.network, each.reason]


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
