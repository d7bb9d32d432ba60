"""The pages of the privacy officer about requests of data subjects."""

from datetime import UTC, date, datetime
from typing import Annotated, Literal

from aiohttp import web
from msgspec import Meta, Struct

from telemetry_server import app_keys
from telemetry_server.check.fields import load_registry
from telemetry_server.check.licenses.columns import OF_THE_CUSTOMER, customer_patch
from telemetry_server.errors import BadRequest, NotFound, TelemetryError
from telemetry_server.model import Customer
from telemetry_server.permissions import Permission
from telemetry_server.privacy import fulfilment, letters
from telemetry_server.privacy.store import level_limits, requests
from telemetry_server.privacy.store.requests import RequestKind, RequestState, SubjectRequest
from telemetry_server.routing import HTML, Parameter, Route, get
from telemetry_server.show.access.forms import read_form, read_form_as
from telemetry_server.show.access.sign_in import FORM_ERRORS
from telemetry_server.show.differences import LABELS
from telemetry_server.show.query import IDENTIFIER, read_path, read_query
from telemetry_server.show.recorded_views import author
from telemetry_server.show.render import page
from telemetry_server.show.responses import see_other
from telemetry_server.store.database import Connection, translated
from telemetry_server.store.registry.customers import (
    CustomerExists,
    CustomerUnnamed,
    NoSuchCustomer,
    customers_by_id,
)

REQUEST = Parameter("request_id", "Its id.", IDENTIFIER, where="path", required=True)
_PATH = "/privacy/office/requests"
_MOST_CLOSED = 50
_WRONG = (requests.WrongRequest, CustomerExists, CustomerUnnamed, NoSuchCustomer, BadRequest)


class NewRequest(Struct):
    """A request: about an installation by its id, or a customer by e-mail or id."""

    csrf_token: str
    kind: RequestKind
    subject: str
    received: str = ""
    purpose: str = ""
    note: Annotated[str, Meta(max_length=1000)] = ""


class RequestStep(Struct):
    """A step of a request. `note`: the reason of an extension, the ground of a refusal, or a remark.

    A correction has the fields of the customer, too.
    """

    csrf_token: str
    step: Literal["owner", "extend", "open", "waiting", "answered", "refused", "correct"]
    owner: Annotated[str, Meta(max_length=300)] = ""
    note: Annotated[str, Meta(max_length=1000)] = ""


async def show_requests(request: web.Request) -> web.Response:
    read_query(request, ())
    return await _list(request)


async def add_request(request: web.Request) -> web.Response:
    """Files a request; an objection sets its limit at once."""
    form, now = await read_form_as(request, NewRequest), datetime.now(UTC)
    try:
        received = _day(form.received)
        async with translated(), request.app[app_keys.POOL].acquire() as connection, connection.transaction():
            subject = await level_limits.subject_named(connection, form.subject.strip())
            by, purpose = author(request, form.note.strip() or None), form.purpose or None
            request_id = await requests.file(
                connection, form.kind, subject, by=by, now=now, received_on=received, purpose=purpose
            )
            if purpose is not None:
                found = await requests.request(connection, request_id)
                await fulfilment.object_to(connection, found, load_registry(), by=by, now=now)
    except _WRONG as problem:
        return await _list(request, problem=problem, filled=form)
    return see_other(f"{_PATH}/{request_id}")


async def show_request(request: web.Request) -> web.Response:
    read_query(request, ())
    return await _one(request)


async def take_step(request: web.Request) -> web.Response:
    """Takes a step; a wrong one is shown with what is wrong."""
    form, request_id = await read_form_as(request, RequestStep), read_path(request, "request_id")
    try:
        async with translated(), request.app[app_keys.POOL].acquire() as connection:
            await _take(connection, request, form, await requests.request(connection, request_id))
    except _WRONG as problem:
        return await _one(request, problem=problem)
    return see_other(f"{_PATH}/{request_id}")


async def _take(
    connection: Connection, request: web.Request, form: RequestStep, found: SubjectRequest
) -> None:
    by, now, one = author(request, form.note.strip() or None), datetime.now(UTC), found.request_id
    match form.step:
        case "owner":
            await requests.give_to(connection, one, form.owner, by=by, now=now)
        case "extend":
            await requests.extend(connection, one, by=by, now=now)
        case "correct":
            given = {
                name: text for name, text in (await read_form(request)).items() if name in OF_THE_CUSTOMER
            }
            patch, problems = customer_patch(given)
            if problems:
                raise BadRequest(" ".join(f"{each.pointer[1:]}: {each.detail}." for each in problems))
            await fulfilment.correct(connection, found, patch, by=by, now=now)
        case state:
            await requests.move(connection, one, RequestState(state), by=by, now=now)


async def _list(
    request: web.Request, *, problem: TelemetryError | None = None, filled: NewRequest | None = None
) -> web.Response:
    async with translated(), request.app[app_keys.POOL].acquire() as connection:
        unanswered = await requests.unanswered(connection)
        closed = await requests.closed(connection, _MOST_CLOSED)
    return page(
        request,
        "privacy/requests.html",
        status=422 if problem else 200,
        unanswered=unanswered,
        closed=closed,
        today=datetime.now(UTC).date(),
        kinds=list(RequestKind),
        purposes=load_registry().purposes,
        problem=problem and problem.detail,
        filled=filled,
    )


async def _one(request: web.Request, *, problem: TelemetryError | None = None) -> web.Response:
    directory, today = request.app[app_keys.SETTINGS].data / letters.DIRECTORY, datetime.now(UTC).date()
    async with translated(), request.app[app_keys.POOL].acquire() as connection:
        found = await requests.request(connection, read_path(request, "request_id"))
        steps = await requests.steps_of(connection, found.request_id)
        customer = await _customer(connection, found)
    return page(
        request,
        "privacy/request.html",
        status=422 if problem else 200,
        one=found,
        steps=steps,
        today=today,
        letter=letters.letter(found, steps, today, directory=directory),
        fields=_fields(customer) if found.kind is RequestKind.RECTIFICATION else [],
        problem=problem and problem.detail,
    )


async def _customer(connection: Connection, found: SubjectRequest) -> Customer | None:
    """The customer of the request; None: an installation, or erased."""
    if found.subject.kind != "customer":
        return None
    return (await customers_by_id(connection, [found.subject.id])).get(found.subject.id)


def _fields(customer: Customer | None) -> list[tuple[str, str, str]]:
    """Name, label and value of what may be corrected."""
    if customer is None:
        return []
    return [(name, LABELS[name], getattr(customer, name) or "") for name in OF_THE_CUSTOMER]


def _day(words: str) -> date | None:
    try:
        return date.fromisoformat(words.strip()) if words.strip() else None
    except ValueError:
        raise BadRequest("Received is a day, like 2026-12-01.") from None


ROUTES = (
    get(
        _PATH,
        show_requests,
        "Requests of data subjects",
        HTML,
        permission=Permission.PRIVACY,
        audited="request",
    ),
    Route(
        "POST",
        _PATH,
        add_request,
        "File a request of a data subject",
        permission=Permission.PRIVACY,
        page=True,
        audited="request",
        body=NewRequest,
        answers={303: "", 422: HTML},
        errors=FORM_ERRORS,
    ),
    get(
        f"{_PATH}/{{request_id}}",
        show_request,
        "A request of a data subject",
        HTML,
        (REQUEST,),
        permission=Permission.PRIVACY,
        audited="request",
        errors=(NotFound,),
    ),
    Route(
        "POST",
        f"{_PATH}/{{request_id}}",
        take_step,
        "Take a step of a request: owner, extension, state, correction",
        permission=Permission.PRIVACY,
        page=True,
        audited="request",
        parameters=(REQUEST,),
        body=RequestStep,
        answers={303: "", 422: HTML},
        errors=(*FORM_ERRORS, NotFound),
    ),
)
