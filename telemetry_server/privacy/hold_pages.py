"""The page of the privacy officer about legal holds and restrictions."""

from datetime import UTC, date, datetime, time, timedelta
from typing import Annotated, Literal

from aiohttp import web
from msgspec import Meta, Struct

from telemetry_server import app_keys
from telemetry_server.errors import BadRequest, TelemetryError
from telemetry_server.permissions import Permission
from telemetry_server.privacy.store import holds, level_limits, restrictions
from telemetry_server.privacy.store.holds import Scope
from telemetry_server.routing import HTML, Parameter, Route, get
from telemetry_server.show.access.forms import names_in, read_form_as
from telemetry_server.show.access.sign_in import FORM_ERRORS
from telemetry_server.show.query import IDENTIFIER, read_path, read_query
from telemetry_server.show.recorded_views import author
from telemetry_server.show.render import page
from telemetry_server.show.responses import see_other
from telemetry_server.show.viewer import VIEWER, Viewer
from telemetry_server.store.database import Connection, translated
from telemetry_server.store.registry.customers import NoSuchCustomer
from telemetry_server.store.visible import MayNotHide

HOLD = Parameter("hold_id", "Its id.", IDENTIFIER, where="path", required=True)
_PATH = "/privacy/office/holds"
_WRONG = (
    *(holds.WrongHold, restrictions.WrongRestriction, MayNotHide, BadRequest),
    *(NoSuchCustomer, level_limits.NoSuchInstallation),
)


class NewHold(Struct):
    """A hold: on an installation by its id, or a customer by e-mail or id; empty tables: all."""

    csrf_token: str
    subject: str
    ground: Annotated[str, Meta(max_length=1000)]
    expires: str
    case: Annotated[str, Meta(max_length=200)] = ""
    tables: Annotated[str, Meta(max_length=1000)] = ""
    since: str = ""
    until: str = ""


class HoldStep(Struct):
    """Confirms a hold that another person proposed, or releases one for a reason."""

    csrf_token: str
    step: Literal["confirm", "release"]
    reason: Annotated[str, Meta(max_length=1000)] = ""


class NewRestriction(Struct):
    """Restricts a subject, or shows it again; each has a reason."""

    csrf_token: str
    subject: str
    step: Literal["restrict", "withdraw"]
    reason: Annotated[str, Meta(max_length=1000)]


async def show_holds(request: web.Request) -> web.Response:
    read_query(request, ())
    return await _page(request)


async def propose_hold(request: web.Request) -> web.Response:
    """Proposes a hold, which another person has to confirm."""
    form, who = await read_form_as(request, NewHold), request[VIEWER]
    try:
        expires = _day(form.expires)
        if expires is None:
            raise BadRequest("A hold has a last day.")
        async with translated(), request.app[app_keys.POOL].acquire() as connection:
            await holds.propose(
                connection,
                await _scope(connection, form),
                ground=form.ground,
                expires_on=expires,
                case_reference=form.case.strip() or None,
                person=_person(who),
                by=who.recorded_as,
                now=datetime.now(UTC),
            )
    except _WRONG as problem:
        return await _page(request, hold_problem=problem, filled=form)
    return see_other(_PATH)


async def take_step(request: web.Request) -> web.Response:
    """Confirms or releases a hold."""
    form, hold_id = await read_form_as(request, HoldStep), read_path(request, "hold_id")
    who, now = request[VIEWER], datetime.now(UTC)
    by = who.recorded_as
    try:
        person = _person(who)
        async with translated(), request.app[app_keys.POOL].acquire() as connection:
            if form.step == "confirm":
                await holds.confirm(connection, hold_id, person=person, by=by, now=now)
            else:
                reason = form.reason
                await holds.release(connection, hold_id, reason=reason, person=person, by=by, now=now)
    except _WRONG as problem:
        return await _page(request, hold_problem=problem)
    return see_other(_PATH)


async def restrict(request: web.Request) -> web.Response:
    """Hides a subject from everyone but the privacy officer, or shows it again."""
    form, now = await read_form_as(request, NewRestriction), datetime.now(UTC)
    try:
        async with translated(), request.app[app_keys.POOL].acquire() as connection:
            subject = await level_limits.subject_named(connection, form.subject.strip())
            change = restrictions.begin if form.step == "restrict" else restrictions.withdraw
            await change(connection, subject, by=author(request, form.reason.strip() or None), now=now)
    except _WRONG as problem:
        return await _page(request, problem=problem)
    return see_other(f"{_PATH}#restrictions")


async def _page(
    request: web.Request,
    *,
    hold_problem: TelemetryError | None = None,
    problem: TelemetryError | None = None,
    filled: NewHold | None = None,
) -> web.Response:
    today = datetime.now(UTC).date()
    async with translated(), request.app[app_keys.POOL].acquire() as connection:
        found = await holds.holds(connection, today)
        restricted = await restrictions.in_force(connection)
    return page(
        request,
        "privacy/holds.html",
        status=422 if hold_problem or problem else 200,
        holds=found,
        restrictions=restricted,
        today=today,
        latest=today + timedelta(days=holds.MOST_DAYS),
        tables=holds.HOLDABLE,
        hold_problem=hold_problem and hold_problem.detail,
        problem=problem and problem.detail,
        filled=filled,
    )


def _person(who: Viewer) -> str:
    """The person, by any of its browsers and tokens. Raises WrongHold for who has no account."""
    if who.person is None:
        raise holds.WrongHold("A hold is made by people with accounts: sign in with yours.")
    return who.actor


async def _scope(connection: Connection, form: NewHold) -> Scope:
    since, last = _day(form.since), _day(form.until)
    return Scope(
        subject=await level_limits.subject_named(connection, form.subject.strip()),
        tables=tuple(names_in(form.tables) or holds.HOLDABLE),
        since=datetime.combine(since, time(), UTC) if since else None,
        until=datetime.combine(last + timedelta(days=1), time(), UTC) if last else None,
    )


def _day(words: str) -> date | None:
    try:
        return date.fromisoformat(words.strip()) if words.strip() else None
    except ValueError:
        raise BadRequest("A day is written like 2026-12-01.") from None


ROUTES = (
    get(
        _PATH, show_holds, "Legal holds and restrictions", HTML, permission=Permission.PRIVACY, audited="hold"
    ),
    Route(
        "POST",
        _PATH,
        propose_hold,
        "Propose a legal hold",
        permission=Permission.PRIVACY,
        page=True,
        audited="hold",
        body=NewHold,
        answers={303: "", 422: HTML},
        errors=FORM_ERRORS,
    ),
    Route(
        "POST",
        f"{_PATH}/{{hold_id}}",
        take_step,
        "Confirm or release a legal hold",
        permission=Permission.PRIVACY,
        step_up=True,
        page=True,
        audited="hold",
        parameters=(HOLD,),
        body=HoldStep,
        answers={303: "", 422: HTML},
        errors=(*FORM_ERRORS, holds.NoSuchHold),
    ),
    Route(
        "POST",
        "/privacy/office/restrictions",
        restrict,
        "Restrict a subject, or show it again",
        permission=Permission.PRIVACY,
        page=True,
        audited="restriction",
        body=NewRestriction,
        answers={303: "", 422: HTML},
        errors=FORM_ERRORS,
    ),
)
