"""The commands "privacy request …"."""

from collections.abc import Awaitable, Callable
from datetime import UTC, date, datetime
from typing import Any
from uuid import UUID

import click

from telemetry_server.check.fields import load_registry
from telemetry_server.check.licenses.columns import OF_THE_CUSTOMER, customer_patch
from telemetry_server.cli.invocation import Group, Invocation
from telemetry_server.cli.output import as_json, print_json, print_table, say
from telemetry_server.cli.registry_options import by_whom, print_fields, with_fields
from telemetry_server.cli.session import ask
from telemetry_server.cli.subject_options import about, subject_of
from telemetry_server.model import Author, CustomerPatch
from telemetry_server.privacy import fulfilment, letters
from telemetry_server.privacy.store import requests
from telemetry_server.privacy.store.requests import RequestKind, RequestState, SubjectRequest
from telemetry_server.store.database import Connection

ID = click.argument("request_id", type=click.UUID, metavar="ID")


@click.group(cls=Group)
def request() -> None:
    """Requests of data subjects: with a due date, an owner, a history and the draft of an answer.

    Requests that installations and customers carry out themselves are listed, too.
    """


@request.command("add")
@click.argument("kind", type=click.Choice([kind.value for kind in RequestKind]))
@about
@click.option(
    "--received",
    type=click.DateTime(["%Y-%m-%d"]),
    metavar="DAY",
    help="When it was received. [default: today]",
)
@click.option("--purpose", metavar="NAME", help="Of an objection: to what; limits what is kept, at once.")
@by_whom
@as_json
@click.pass_obj
def add(
    invocation: Invocation,
    /,
    *,
    kind: str,
    installation_id: UUID | None,
    customer: str | None,
    received: datetime | None,
    purpose: str | None,
    by: Author,
    as_json: bool,
) -> None:
    """File a request, due a calendar month after it was received."""
    now, wanted = datetime.now(UTC), RequestKind(kind)

    async def file(connection: Connection) -> SubjectRequest:
        subject = await subject_of(connection, installation_id, customer)
        received_on = received.date() if received else None
        async with connection.transaction():
            request_id = await requests.file(
                connection, wanted, subject, by=by, now=now, received_on=received_on, purpose=purpose
            )
            found = await requests.request(connection, request_id)
            if purpose is not None:
                await fulfilment.object_to(connection, found, load_registry(), by=by, now=now)
        return found

    _print(ask(invocation.settings(), file), as_json)


@request.command("list")
@click.option("--closed", is_flag=True, help="Those that were answered or refused, the newest first.")
@as_json
@click.pass_obj
def list_requests(invocation: Invocation, closed: bool, as_json: bool) -> None:
    """List the unanswered requests, the one that is due first at the top."""
    found = ask(invocation.settings(), requests.closed if closed else requests.unanswered)
    if as_json:
        print_json({"requests": [_row(each) for each in found]})
        return
    columns = ("id", "kind", "subject", "received", "due", "state", "owner")
    print_table(columns, (_cells(each) for each in found))


@request.command("show")
@ID
@as_json
@click.pass_obj
def show(invocation: Invocation, request_id: UUID, as_json: bool) -> None:
    """Show a request and its history."""

    async def look(connection: Connection) -> tuple[SubjectRequest, list[requests.Step]]:
        return await requests.request(connection, request_id), await requests.steps_of(connection, request_id)

    found, steps = ask(invocation.settings(), look)
    if as_json:
        print_json({**_row(found), "history": steps})
        return
    print_fields(_row(found))
    rows = ((f"{each.at:%Y-%m-%d %H:%M}", each.by, each.step, each.note or "", _said(each)) for each in steps)
    print_table(("when", "who", "step", "note", "what"), rows)


@request.command("owner")
@ID
@click.argument("owner")
@by_whom
@as_json
@click.pass_obj
def set_owner(invocation: Invocation, /, *, request_id: UUID, owner: str, by: Author, as_json: bool) -> None:
    """Name OWNER as the one who answers the request."""

    async def give(connection: Connection) -> None:
        await requests.give_to(connection, request_id, owner, by=by, now=datetime.now(UTC))

    _change(invocation, request_id, give, as_json)


@request.command("extend")
@ID
@by_whom
@as_json
@click.pass_obj
def extend(invocation: Invocation, /, *, request_id: UUID, by: Author, as_json: bool) -> None:
    """Extend the time by two months, once, for the --reason that the answer to the person states."""

    async def longer(connection: Connection) -> date:
        return await requests.extend(connection, request_id, by=by, now=datetime.now(UTC))

    _change(invocation, request_id, longer, as_json)


@request.command("set")
@ID
@click.argument("state", type=click.Choice([state.value for state in RequestState]))
@by_whom
@as_json
@click.pass_obj
def set_state(invocation: Invocation, /, *, request_id: UUID, state: str, by: Author, as_json: bool) -> None:
    """Put the request into STATE; "refused" needs its ground as --reason."""

    async def move(connection: Connection) -> None:
        await requests.move(connection, request_id, RequestState(state), by=by, now=datetime.now(UTC))

    _change(invocation, request_id, move, as_json)


@request.command("correct")
@ID
@with_fields(OF_THE_CUSTOMER, customer_patch)
@by_whom
@as_json
@click.pass_obj
def correct(
    invocation: Invocation, /, *, request_id: UUID, patch: CustomerPatch, by: Author, as_json: bool
) -> None:
    """Correct the customer of a rectification; the history keeps what was before and is now."""

    async def change(connection: Connection) -> None:
        found = await requests.request(connection, request_id)
        await fulfilment.correct(connection, found, patch, by=by, now=datetime.now(UTC))

    _change(invocation, request_id, change, as_json)


@request.command("letter")
@ID
@as_json
@click.pass_obj
def print_letter(invocation: Invocation, request_id: UUID, as_json: bool) -> None:
    """Print the draft of the answer; DATA/letters/KIND.txt replaces its text."""
    settings = invocation.settings()

    async def draft(connection: Connection) -> str:
        found = await requests.request(connection, request_id)
        steps, today = await requests.steps_of(connection, request_id), datetime.now(UTC).date()
        return letters.letter(found, steps, today, directory=settings.data / letters.DIRECTORY)

    text = ask(settings, draft)
    if as_json:
        print_json({"request_id": request_id, "letter": text})
    else:
        click.echo(text, nl=False)


def _change(
    invocation: Invocation, request_id: UUID, change: Callable[[Connection], Awaitable[Any]], as_json: bool
) -> None:
    async def carried_out(connection: Connection) -> SubjectRequest:
        await change(connection)
        return await requests.request(connection, request_id)

    _print(ask(invocation.settings(), carried_out), as_json)


def _print(found: SubjectRequest, as_json: bool) -> None:
    if as_json:
        print_json(_row(found))
    else:
        say(f"{found.request_id}: {found.kind}, {found.state}, due {found.due_on}")


def _row(found: SubjectRequest) -> dict[str, Any]:
    return {
        "request_id": found.request_id,
        "kind": found.kind,
        "subject_kind": found.subject.kind,
        "subject_id": found.subject.id,
        "name": found.name,
        "purpose": found.purpose,
        "received_on": found.received_on,
        "due_on": found.due_on,
        "extended": found.extended,
        "overdue": found.is_overdue(datetime.now(UTC).date()),
        "owner": found.owner,
        "state": found.state,
        "filed_by": found.filed_by,
        "closed_at": found.closed_at,
    }


def _cells(found: SubjectRequest) -> tuple[Any, ...]:
    late = " (overdue)" if found.is_overdue(datetime.now(UTC).date()) else ""
    subject = f"{found.subject.kind} {found.name}"
    due = f"{found.due_on}{late}"
    return found.request_id, found.kind, subject, found.received_on, due, found.state, found.owner or ""


def _said(step: requests.Step) -> str:
    return " ".join(f"{name}={value}" for name, value in step.details.items())
