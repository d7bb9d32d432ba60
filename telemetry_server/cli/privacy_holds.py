"""The commands "privacy hold …"."""

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import click
import orjson

from telemetry_server import durable
from telemetry_server.cli.export import Moment
from telemetry_server.cli.invocation import Group, Invocation
from telemetry_server.cli.output import as_json, print_json, print_table, say
from telemetry_server.cli.recorded_commands import operating_user, user_of_process
from telemetry_server.cli.registry_options import LONGEST_ACTOR, Command
from telemetry_server.cli.session import ask
from telemetry_server.cli.subject_options import about, subject_of
from telemetry_server.errors import OperatorError
from telemetry_server.privacy.store import holds
from telemetry_server.privacy.store.holds import Hold, Scope
from telemetry_server.store.access import audit
from telemetry_server.store.database import Connection

ID = click.argument("hold_id", type=click.UUID, metavar="ID")


def as_person(command: Command) -> Command:
    """Adds --by: the person who proposes, confirms or releases."""
    return click.option(
        "--by",
        "person",
        metavar="NAME",
        default=_person,
        show_default=False,
        help=f"Who you are, in at most {LONGEST_ACTOR} characters. [default: who called sudo, or the user]",
    )(command)


def _person() -> str:
    behind = os.environ.get("SUDO_USER")
    return f"cli:{behind}" if behind else user_of_process()


@click.group(cls=Group)
def hold() -> None:
    """Legal holds: rows that outlive erasure, retention and levels, until a claim is settled.

    One person proposes a hold, another one confirms it.
    """


@hold.command("add")
@about
@click.option("--ground", required=True, metavar="TEXT", help="Why, such as the claim.")
@click.option(
    "--expires", required=True, type=click.DateTime(["%Y-%m-%d"]), metavar="DAY", help="Its last day."
)
@click.option("--case", "case_reference", metavar="TEXT", help="The case that it is for.")
@click.option(
    "--table", "tables", multiple=True, metavar="NAME", help="Only rows of this table. [default: all]"
)
@click.option("--field", "fields", multiple=True, metavar="NAME", help="Only this column. [default: all]")
@click.option("--from", "since", type=Moment(), metavar="TIME", help="Only rows from then on.")
@click.option("--until", type=Moment(), metavar="TIME", help="Only rows before that.")
@as_person
@as_json
@click.pass_obj
def add(
    invocation: Invocation,
    /,
    *,
    installation_id: UUID | None,
    customer: str | None,
    ground: str,
    expires: datetime,
    case_reference: str | None,
    tables: tuple[str, ...],
    fields: tuple[str, ...],
    since: datetime | None,
    until: datetime | None,
    person: str,
    as_json: bool,
) -> None:
    """Propose a hold; another person puts it into force with "privacy hold confirm"."""

    async def propose(connection: Connection) -> UUID:
        scope = Scope(
            subject=await subject_of(connection, installation_id, customer),
            tables=tables or holds.HOLDABLE,
            fields=fields or None,
            since=since,
            until=until,
        )
        return await holds.propose(
            connection,
            scope,
            ground=ground,
            expires_on=expires.date(),
            case_reference=case_reference,
            person=person[:LONGEST_ACTOR],
            by=operating_user(),
            now=datetime.now(UTC),
        )

    hold_id = ask(invocation.settings(), propose)
    if as_json:
        print_json({"hold_id": hold_id, "state": "proposed"})
    else:
        say(f"{hold_id}: proposed. Another person runs: telemetry-server privacy hold confirm {hold_id}")


@hold.command("confirm")
@ID
@as_person
@as_json
@click.pass_obj
def confirm(invocation: Invocation, /, *, hold_id: UUID, person: str, as_json: bool) -> None:
    """Put a hold into force that another person proposed, and copy its rows."""

    async def carry_out(connection: Connection) -> Hold:
        now, by = datetime.now(UTC), operating_user()
        await holds.confirm(connection, hold_id, person=person[:LONGEST_ACTOR], by=by, now=now)
        return await holds.hold(connection, hold_id)

    _print(ask(invocation.settings(), carry_out), as_json)


@hold.command("release")
@ID
@click.option("--reason", required=True, metavar="TEXT", help="Why it ends.")
@as_person
@as_json
@click.pass_obj
def release(invocation: Invocation, /, *, hold_id: UUID, reason: str, person: str, as_json: bool) -> None:
    """End a hold; its copies are deleted within a minute, and erasures that waited are completed."""

    async def carry_out(connection: Connection) -> Hold:
        now, by, who = datetime.now(UTC), operating_user(), person[:LONGEST_ACTOR]
        await holds.release(connection, hold_id, reason=reason, person=who, by=by, now=now)
        return await holds.hold(connection, hold_id)

    _print(ask(invocation.settings(), carry_out), as_json)


@hold.command("list")
@as_json
@click.pass_obj
def list_holds(invocation: Invocation, as_json: bool) -> None:
    """List holds, those in force or proposed first."""
    today = datetime.now(UTC).date()
    found = ask(invocation.settings(), lambda connection: holds.holds(connection, today))
    if as_json:
        print_json({"holds": [_row(each) for each in found]})
        return
    columns = ("id", "subject", "state", "until", "rows", "ground")
    rows = (
        (
            each.hold_id,
            f"{each.scope.subject.kind} {each.scope.subject.id}",
            each.state(today),
            each.expires_on,
            each.rows,
            each.ground,
        )
        for each in found
    )
    print_table(columns, rows)


@hold.command("export")
@ID
@click.option(
    "--to", "directory", required=True, type=click.Path(file_okay=False, path_type=Path), metavar="DIR"
)
@as_json
@click.pass_obj
def export(invocation: Invocation, hold_id: UUID, directory: Path, as_json: bool) -> None:
    """Write the rows that a hold keeps to DIR, one file in JSON for each table."""
    if directory.exists() and any(directory.iterdir()):
        raise OperatorError(f"{directory} is not empty.")

    async def read(connection: Connection) -> dict[str, list[dict[str, Any]]]:
        await holds.hold(connection, hold_id)
        entry = audit.Entry(
            actor=operating_user(), action="hold.export", subject_kind="hold", subject_id=str(hold_id)
        )
        await audit.record(connection, entry)
        return await holds.held_rows(connection, hold_id)

    rows = ask(invocation.settings(), read)
    durable.make_directory(directory)
    for table, found in rows.items():
        content = orjson.dumps(found, option=orjson.OPT_INDENT_2)
        durable.write(directory / f"{table}.json", content, replace=False)
    counts = {table: len(found) for table, found in rows.items()}
    if as_json:
        print_json({"directory": directory, "hold_id": hold_id, "rows": counts})
    else:
        print_table(("table", "rows"), counts.items())


def _print(found: Hold, as_json: bool) -> None:
    if as_json:
        print_json(_row(found))
    else:
        state = found.state(datetime.now(UTC).date())
        say(f"{found.hold_id}: {state}, until {found.expires_on}, {found.rows} rows")


def _row(found: Hold) -> dict[str, Any]:
    return {
        "hold_id": found.hold_id,
        "state": found.state(datetime.now(UTC).date()),
        "subject_kind": found.scope.subject.kind,
        "subject_id": found.scope.subject.id,
        "tables": found.scope.tables,
        "fields": found.scope.fields,
        "from": found.scope.since,
        "until": found.scope.until,
        "case": found.case_reference,
        "ground": found.ground,
        "expires_on": found.expires_on,
        "proposed_by": found.proposed_by,
        "confirmed_by": found.confirmed_by,
        "released_by": found.released_by,
        "release_reason": found.release_reason,
        "rows": found.rows,
    }
