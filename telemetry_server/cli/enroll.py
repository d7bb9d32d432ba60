"""The command "enroll": identities for copies without network access."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
from msgspec import json

from telemetry_server import durable
from telemetry_server.cli.invocation import Invocation
from telemetry_server.cli.output import as_json, print_json, print_table, say
from telemetry_server.cli.session import ask
from telemetry_server.errors import OperatorError
from telemetry_server.keyring import Keyring
from telemetry_server.model import Product
from telemetry_server.receive.enroll import Enrolment, new_enrolment
from telemetry_server.receive.notice import Notice
from telemetry_server.settings import Settings
from telemetry_server.store.access.keyring_check import keyring_of
from telemetry_server.store.database import Connection
from telemetry_server.store.ingest.privacy_cache import all_notices, in_force, notice_for_enrolment
from telemetry_server.store.registry.products import product_by_slug

MOST = 10_000


@click.command()
@click.argument("product")
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    default=".",
    metavar="FILE|DIR",
    help="The file, or a directory for files named after their installations. [default: .]",
)
@click.option("--count", type=click.IntRange(1, MOST), default=1, show_default=True, help="Number of copies.")
@as_json
@click.pass_obj
def enroll(invocation: Invocation, product: str, output: Path, count: int, as_json: bool) -> None:
    """Create enrolment files for copies of PRODUCT without network access.

    Each contains the secret of one copy, readable by you alone. The copy imports it with
    "license-telemetry import-enrolment FILE". Nothing is written to the database.
    """
    if count > 1 and not output.is_dir():
        raise click.UsageError(f"--count {count} makes {count} files: --output must be a directory.")
    settings = invocation.settings()
    made = [_write(enrolment, output) for enrolment in _enrolments(settings, product, count)]
    if as_json:
        print_json({"enrolments": made})
    else:
        print_table(("installation", "file"), ([each["installation_id"], each["file"]] for each in made))
        say("Bring each file to one copy, over a secure channel: license-telemetry import-enrolment FILE")


def _enrolments(settings: Settings, slug: str, count: int) -> list[Enrolment]:
    async def known(connection: Connection) -> tuple[Product, Keyring, Notice | None]:
        product = await product_by_slug(connection, slug)
        found = in_force(await all_notices(connection, settings.base_url), datetime.now(UTC))
        notice = notice_for_enrolment(found, settings.notice)
        return product, await keyring_of(connection, settings.keyring), notice

    product, keyring, notice = ask(settings, known)
    return [new_enrolment(keyring, product, notice=notice) for _ in range(count)]


def _write(enrolment: Enrolment, output: Path) -> dict[str, Any]:
    name = f"enrolment-{enrolment.installation_id}.json"
    path = output / name if output.is_dir() else output
    try:
        durable.write(path, json.format(json.encode(enrolment)), replace=False)
    except FileExistsError as error:
        raise OperatorError(f"{path} already exists, and may contain the secret of another copy.") from error
    return {"installation_id": enrolment.installation_id, "file": str(path)}
