"""The commands "privacy …"."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import click

from telemetry_server import durable
from telemetry_server.check.fields import Level, load_registry
from telemetry_server.cli.export import Moment
from telemetry_server.cli.invocation import Group, Invocation
from telemetry_server.cli.output import as_json, print_json, print_table
from telemetry_server.cli.privacy_holds import hold
from telemetry_server.cli.privacy_records import breach, disclosures, register
from telemetry_server.cli.privacy_requests import request
from telemetry_server.cli.privacy_restrictions import list_restrictions, restrict, unrestrict
from telemetry_server.cli.recorded_commands import operating_user
from telemetry_server.cli.registry_options import by_whom
from telemetry_server.cli.session import ask
from telemetry_server.cli.subject_options import about, subject_of
from telemetry_server.errors import OperatorError
from telemetry_server.model import Author
from telemetry_server.privacy.files import files
from telemetry_server.privacy.jobs import erase as carry_out_erasure
from telemetry_server.privacy.store import erasing, level_limits, notice_versions, subject_export
from telemetry_server.privacy.store.notice_versions import NoticeVersion
from telemetry_server.privacy.subjects import Subject
from telemetry_server.signed_note import WrongNote
from telemetry_server.store.access.audit_checkpoints import signer_of
from telemetry_server.store.access.keyring_check import keyring_of
from telemetry_server.store.database import Connection
from telemetry_server.text import decoded


@click.group(cls=Group)
def privacy() -> None:
    """The privacy policy, kept: notices, levels, and the rights of subjects.

    docs/privacy.md describes them.
    """


_OTHERS = (request, hold, restrict, unrestrict, list_restrictions, disclosures, register, breach)
for _command in _OTHERS:
    privacy.add_command(_command)


@privacy.group(cls=Group)
def notice() -> None:
    """Versions of the privacy notice."""


@notice.command("add")
@click.argument("version")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--language", default="en", show_default=True, metavar="TAG", help="E.g. en, de or pt-BR.")
@click.option("--valid-from", type=Moment(), metavar="TIME", help="When it comes into force. [default: now]")
@by_whom
@as_json
@click.pass_obj
def add_notice(
    invocation: Invocation,
    /,
    *,
    version: str,
    file: Path,
    language: str,
    valid_from: datetime | None,
    by: Author,
    as_json: bool,
) -> None:
    """Add VERSION of the notice, or one more language of it; FILE has its text.

    From the first version on, a ping that names none of them keeps its fields of the level "license" only. A
    version is never changed or removed.
    """
    try:
        text = decoded(file.read_bytes())
    except UnicodeDecodeError as error:
        raise OperatorError(f"{file} is no text in UTF-8.") from error

    async def add(connection: Connection) -> NoticeVersion:
        now = datetime.now(UTC)
        return await notice_versions.add_notice(
            connection, version, text, language=language, valid_from=valid_from, by=by, now=now
        )

    _print_notices([ask(invocation.settings(), add)], as_json)


@notice.command("list")
@as_json
@click.pass_obj
def list_notices(invocation: Invocation, as_json: bool) -> None:
    """List all versions, the newest first."""
    _print_notices(ask(invocation.settings(), notice_versions.notices), as_json)


@notice.command("show")
@click.argument("version")
@click.option("--language", metavar="TAG", help="E.g. de. [default: the first that was added]")
@click.pass_obj
def show_notice(invocation: Invocation, version: str, language: str | None) -> None:
    """Print the text of a version."""
    settings = invocation.settings()
    found = ask(settings, lambda connection: notice_versions.notice(connection, version, language))
    click.echo(found.text, nl=False)


def _print_notices(found: list[NoticeVersion], as_json: bool) -> None:
    rows = [
        {
            "version": each.version,
            "language": each.language,
            "sha256": each.sha256.hex(),
            "valid_from": each.valid_from,
            "added_at": each.added_at,
            "added_by": each.added_by,
        }
        for each in found
    ]
    if as_json:
        print_json({"notices": rows})
        return
    columns = ("version", "language", "sha256", "valid from", "added by")
    print_table(
        columns,
        (
            (
                row["version"],
                row["language"],
                row["sha256"],
                f"{row['valid_from']:%Y-%m-%d %H:%M}",
                row["added_by"],
            )
            for row in rows
        ),
    )


@privacy.command("level")
@click.argument("level", type=click.Choice([level.value for level in Level]))
@about
@by_whom
@as_json
@click.pass_obj
def set_level(
    invocation: Invocation,
    /,
    *,
    level: str,
    installation_id: UUID | None,
    customer: str | None,
    by: Author,
    as_json: bool,
) -> None:
    """Keep no more than LEVEL of an installation, or of all with a license of a customer.

    Regardless of what the copies send. "usage" removes the limit. What was kept above it is removed within
    three hours.
    """

    async def limit(connection: Connection) -> str:
        subject = await subject_of(connection, installation_id, customer)
        now = datetime.now(UTC)
        await level_limits.set_limit(connection, subject, Level(level), by=by, now=now)
        return str(subject.id)

    subject_id = ask(invocation.settings(), limit)
    if as_json:
        print_json({"subject_id": subject_id, "level": level})
    else:
        click.echo(f"{subject_id}: {level}")


@privacy.command("levels")
@as_json
@click.pass_obj
def list_levels(invocation: Invocation, as_json: bool) -> None:
    """List the limits of installations and customers."""
    found = ask(invocation.settings(), level_limits.limits)
    rows = [
        {
            "kind": each.subject.kind,
            "id": each.subject.id,
            "name": each.name,
            "level": each.level,
            "set_at": each.set_at,
            "reduced_at": each.reduced_at,
        }
        for each in found
    ]
    if as_json:
        print_json({"levels": rows})
    else:
        print_table(
            ("kind", "id", "name", "level", "set at"),
            (
                (row["kind"], row["id"], row["name"], row["level"], f"{row['set_at']:%Y-%m-%d %H:%M}")
                for row in rows
            ),
        )


@privacy.command()
@about
@click.option("--reason", required=True, metavar="TEXT", help="Why, for the record.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@as_json
@click.pass_obj
def erase(
    invocation: Invocation,
    /,
    *,
    installation_id: UUID | None,
    customer: str | None,
    reason: str,
    yes: bool,
    as_json: bool,
) -> None:
    """Erase an installation, or a customer with all installations on its licenses; prints the certificate.

    From then on, their uploads are answered with 410 and not stored. The counts keep their numbers. The
    entries of the audit log about them are erased, too. It cannot be undone.
    """
    settings = invocation.settings()
    if not yes:
        click.confirm(f"Erase {installation_id or customer} for good?", abort=True, err=True)

    async def carry_out(connection: Connection) -> tuple[UUID, str]:
        now = datetime.now(UTC)
        subject = await subject_of(connection, installation_id, customer)
        signer = signer_of(await keyring_of(connection, settings.keyring))
        asked = await erasing.ask(connection, subject, by=operating_user(), reason=reason.strip(), now=now)
        try:
            return asked, await erasing.certificate_of(connection, asked)
        except erasing.NoSuchErasure:
            wanted = await erasing.erasure(connection, asked)
        registry, days = load_registry().keeping(settings.retention_days), settings.backup_retention_days
        return asked, await carry_out_erasure(connection, wanted, registry, signer, backup_days=days, now=now)

    asked, text = ask(settings, carry_out)
    if as_json:
        print_json({"erasure_id": asked, "certificate": text})
    else:
        click.echo(text, nl=False)


@privacy.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.pass_obj
def verify(invocation: Invocation, file: Path) -> None:
    """Check the signature of a certificate of erasure in FILE; prints its text, or exits with 1."""
    settings, note = invocation.settings(), decoded(file.read_bytes(), errors="replace")

    async def read(connection: Connection) -> str:
        signer = signer_of(await keyring_of(connection, settings.keyring))
        try:
            return signer.verifier.text_of(note)
        except WrongNote as problem:
            raise OperatorError(f"{file} is no certificate of this server. {problem}") from None

    click.echo(ask(settings, read), nl=False)


@privacy.command()
@about
@click.option(
    "--to", "directory", required=True, type=click.Path(file_okay=False, path_type=Path), metavar="DIR"
)
@as_json
@click.pass_obj
def access(
    invocation: Invocation,
    /,
    *,
    installation_id: UUID | None,
    customer: str | None,
    directory: Path,
    as_json: bool,
) -> None:
    """Write everything stored about an installation or a customer to DIR, as JSON and CSV.

    DIR must be new or empty. Its files can be read by you alone.
    """
    settings, now = invocation.settings(), datetime.now(UTC)
    if directory.exists() and any(directory.iterdir()):
        raise OperatorError(f"{directory} is not empty.")
    registry = load_registry().keeping(settings.retention_days)

    async def read(connection: Connection) -> tuple[Subject, dict[str, list[dict[str, Any]]]]:
        subject = await subject_of(connection, installation_id, customer)
        await subject_export.record_access(connection, subject, by=operating_user(), how="privacy access")
        return subject, await subject_export.whole(connection, subject, most=None)

    subject, rows = ask(settings, read)
    durable.make_directory(directory)
    for name, content in files(subject, rows, registry, now):
        durable.write(directory / name, content, replace=False)
    counts = {table: len(found) for table, found in rows.items()}
    if as_json:
        print_json({"directory": directory, "subject_id": subject.id, "rows": counts})
    else:
        print_table(("table", "rows"), counts.items())


@privacy.command()
@click.option("--customer", required=True, metavar="EMAIL|ID", help="Whose data it is.")
@click.option("--portable", is_flag=True, help="As one JSON file, for data portability.")
@click.option("--recipient", metavar="NAME", help="Another controller that the customer wants it to go to.")
@by_whom
@as_json
@click.pass_obj
def link(
    invocation: Invocation,
    /,
    *,
    customer: str,
    portable: bool,
    recipient: str | None,
    by: Author,
    as_json: bool,
) -> None:
    """Print a one-time link with which a customer downloads the data about them, valid for a week."""
    settings = invocation.settings()

    async def make(connection: Connection) -> str:
        subject = await subject_of(connection, None, customer)
        now = datetime.now(UTC)
        return await subject_export.make_link(
            connection, subject.id, by=by, now=now, portable=portable, recipient=recipient
        )

    url = f"{settings.base_url}/privacy/access?token={ask(settings, make)}"
    if as_json:
        print_json({"url": url, "valid_days": subject_export.LINK_DAYS})
    else:
        click.echo(url)
