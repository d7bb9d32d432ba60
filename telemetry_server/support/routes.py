"""The pages of the support team."""

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from aiohttp import web
from msgspec import Struct

from telemetry_server import app_keys
from telemetry_server.errors import BadRequest, NotFound
from telemetry_server.permissions import Permission
from telemetry_server.routing import HTML, Parameter, Route, get
from telemetry_server.show.access.forms import read_form_as
from telemetry_server.show.access.notices import link_to
from telemetry_server.show.access.sign_in import FORM_ERRORS
from telemetry_server.show.query import read_query, text
from telemetry_server.show.recorded_views import network
from telemetry_server.show.render import page
from telemetry_server.show.responses import see_other
from telemetry_server.show.viewer import VIEWER
from telemetry_server.store.access import audit
from telemetry_server.store.database import translated
from telemetry_server.support import opening, store
from telemetry_server.support.customer_routes import SUPPORT_KEYS
from telemetry_server.support.grant_upload import CaseId
from telemetry_server.text import hidden_in


class NewCase(Struct):
    """A case to begin; `two_persons` is "yes" or not there."""

    csrf_token: str
    case_id: CaseId
    title: str = ""
    two_persons: str = ""


class Opening(Struct):
    """The opening of a case. `public_key`: the engineer's, for sign-in by certificate."""

    csrf_token: str
    reason: str = ""
    public_key: str = ""


class Approving(Struct):
    """The request to approve."""

    csrf_token: str
    approval_id: str


class LinkMade(Struct):
    """The product, by its slug, whose customer gets a link."""

    csrf_token: str
    product: str


class Closing(Struct):
    """The end of a case."""

    csrf_token: str


@dataclass(frozen=True, slots=True)
class _OfACase:
    """What the page of a case shows."""

    case: store.Case
    grants: list[store.Grant]
    approvals: list[store.Approval]
    openings: list[audit.Recorded]


async def show_cases(request: web.Request) -> web.Response:
    read_query(request, ())
    return await _cases_page(request)


async def _cases_page(request: web.Request, problem: str | None = None) -> web.Response:
    now = datetime.now(UTC)
    async with translated(), request.app[app_keys.POOL].acquire() as connection:
        cases = await store.list_cases(connection)
        valid = await store.count_valid_grants(connection, now)
    unknown = sorted(set(valid) - {each.case_id for each in cases})
    signed = await asyncio.to_thread(request.app[SUPPORT_KEYS].signed_list)
    return page(
        request,
        "support/cases.html",
        status=422 if problem else 200,
        cases=cases,
        valid=valid,
        unknown=unknown,
        is_signed=signed is not None,
        problem=problem,
    )


async def begin(request: web.Request) -> web.Response:
    form, now = await read_form_as(request, NewCase), datetime.now(UTC)
    title = opening.checked_title(form.title)
    async with translated(), request.app[app_keys.POOL].acquire() as connection:
        begun = await store.begin_case(
            connection,
            form.case_id,
            title,
            two_persons=form.two_persons == "yes",
            by=_entry(request, "support_case.begin", form.case_id),
            now=now,
        )
    if not begun:
        return await _cases_page(request, f"The case {form.case_id} is open already.")
    return see_other(f"/support/{form.case_id}")


async def show_case(request: web.Request) -> web.Response:
    read_query(request, ())
    return await _case_page(request)


async def open_case(request: web.Request) -> web.Response:
    """Shows the content of all valid grants, once; it is in no other page."""
    form, now = await read_form_as(request, Opening), datetime.now(UTC)
    by = opening.Opener(
        request[VIEWER].recorded_as, form.reason, network(request), form.public_key.strip() or None
    )
    try:
        async with translated(), request.app[app_keys.POOL].acquire() as connection:
            keys = request.app[SUPPORT_KEYS]
            opened = await opening.open_case(connection, keys, _case_id(request), by, now)
    except (BadRequest, opening.ApprovalNeeded) as error:
        return await _case_page(request, problem=error.detail, status=error.status)
    return await _case_page(request, opened=opened)


async def approve(request: web.Request) -> web.Response:
    form, case_id, now = await read_form_as(request, Approving), _case_id(request), datetime.now(UTC)
    try:
        approval_id = UUID(form.approval_id)
    except ValueError:
        raise BadRequest("approval_id must be a UUID.") from None
    by = _entry(request, "support_case.approve", case_id)
    async with translated(), request.app[app_keys.POOL].acquire() as connection:
        approved = await store.approve(connection, case_id, approval_id, by=by, now=now)
    if not approved:
        raise BadRequest("There is nothing to approve: another person has to, and within an hour.")
    return see_other(f"/support/{case_id}")


async def make_link(request: web.Request) -> web.Response:
    """Shows the link, once."""
    form, case_id, now = await read_form_as(request, LinkMade), _case_id(request), datetime.now(UTC)
    if hidden_in(form.product):
        raise BadRequest("product must be the slug of one.")
    by = _entry(request, "support_case.link", case_id)
    async with translated(), request.app[app_keys.POOL].acquire() as connection:
        secret = await store.make_link(connection, case_id, form.product, by=by, now=now)
    if secret is None:
        raise NotFound("There is no such open case or product.")
    return await _case_page(request, link=link_to(request, "/grant", secret))


async def close(request: web.Request) -> web.Response:
    await read_form_as(request, Closing)
    case_id, now = _case_id(request), datetime.now(UTC)
    async with translated(), request.app[app_keys.POOL].acquire() as connection:
        by = _entry(request, "support_case.close", case_id)
        await store.close_case(connection, case_id, by=by, now=now)
    return see_other(f"/support/{case_id}")


async def _case_page(
    request: web.Request,
    *,
    opened: list[opening.Opened] | None = None,
    link: str | None = None,
    problem: str | None = None,
    status: int = 200,
) -> web.Response:
    case_id, now = _case_id(request), datetime.now(UTC)
    async with translated(), request.app[app_keys.POOL].acquire() as connection:
        case = await store.find_case(connection, case_id)
        if case is None:
            raise opening.NoSuchCase
        wanted = audit.AuditFilter(
            subject_kind="support_case", subject_id=case_id, action="support_case.open"
        )
        found = _OfACase(
            case,
            await store.grants_of(connection, case_id, now),
            await store.list_approvals(connection, case_id, now),
            await audit.find(connection, wanted, limit=50),
        )
        products = await store.product_slugs(connection)
    return page(
        request,
        "support/case.html",
        status=status,
        found=found,
        opened=opened,
        flattened=opening.flattened,
        link=link,
        products=products,
        problem=problem,
        me=request[VIEWER].recorded_as,
        no_installation=store.NO_INSTALLATION,
        longest_reason=opening.LONGEST_REASON,
    )


def _case_id(request: web.Request) -> str:
    """The name in the path. Raises NoSuchCase for what is none."""
    name = request.match_info["support_case_id"]
    if not store.CASE_ID.fullmatch(name):
        raise opening.NoSuchCase
    return name


def _entry(request: web.Request, action: str, case_id: str) -> audit.Entry:
    return audit.Entry(
        actor=request[VIEWER].recorded_as,
        action=action,
        subject_kind="support_case",
        subject_id=case_id,
        network=network(request),
    )


# ── the table ────────────────────────────────────────────────────────────────────────────────

_ID = Parameter("support_case_id", "Its name.", text(), where="path", required=True)
_ON_PAGES: dict[str, Any] = {"permission": Permission.SUPPORT, "audited": "support_case"}


def _form(path: str, handler: Any, summary: str, body: type, *errors: Any, **more: Any) -> Route:
    answers = more.pop("answers", {303: ""})
    parameters = (_ID,) if "{" in path else ()
    return Route(
        "POST",
        path,
        handler,
        summary,
        page=True,
        body=body,
        parameters=parameters,
        answers=answers,
        errors=(*FORM_ERRORS, *errors),
        **_ON_PAGES,
        **more,
    )


ROUTES: tuple[Route, ...] = (
    get("/support", show_cases, "Support cases", HTML, **_ON_PAGES),
    _form("/support", begin, "Begin a support case", NewCase, answers={303: "", 422: HTML}),
    get(
        "/support/{support_case_id}",
        show_case,
        "One support case",
        HTML,
        (_ID,),
        errors=(NotFound,),
        **_ON_PAGES,
    ),
    _form(
        "/support/{support_case_id}/open",
        open_case,
        "Open the grants of a case",
        Opening,
        NotFound,
        opening.CaseClosed,
        step_up=True,
        answers={200: HTML, 303: "", 403: HTML},
    ),
    _form(
        "/support/{support_case_id}/approve", approve, "Approve an opening", Approving, NotFound, step_up=True
    ),
    _form(
        "/support/{support_case_id}/link",
        make_link,
        "Make a link for a customer",
        LinkMade,
        NotFound,
        answers={200: HTML},
    ),
    _form("/support/{support_case_id}/close", close, "Close a support case", Closing, NotFound),
)
