"""How people get the data about a subject: the privacy officer by a form, a customer by a one-time link."""

import asyncio
from datetime import UTC, datetime
from typing import Any

from aiohttp import web
from msgspec import Struct, json

from telemetry_server import app_keys
from telemetry_server.check.fields import load_registry
from telemetry_server.errors import NotFound, Unprocessable
from telemetry_server.model import Author
from telemetry_server.permissions import Permission
from telemetry_server.privacy.files import Rows, archive
from telemetry_server.privacy.store import requests, subject_export
from telemetry_server.privacy.store.level_limits import subject_named
from telemetry_server.privacy.store.requests import RequestKind
from telemetry_server.privacy.subjects import Subject
from telemetry_server.routing import FILE, HTML, Access, Parameter, Route, get
from telemetry_server.show.access.forms import read_form_as
from telemetry_server.show.access.guard import refuse_foreign
from telemetry_server.show.access.notices import link_to
from telemetry_server.show.access.sign_in import FORM_ERRORS
from telemetry_server.show.query import read_query, text
from telemetry_server.show.recorded_views import author, network
from telemetry_server.show.render import page
from telemetry_server.show.viewer import VIEWER
from telemetry_server.store.access import disclosures
from telemetry_server.store.database import Connection, translated
from telemetry_server.store.registry.customers import NoSuchCustomer

TOKEN = Parameter("token", "The token of the link.", text())


class Wanted(Struct):
    """Whose data: an installation by its id, or a customer by e-mail or id. Of a link: how, and to whom."""

    csrf_token: str
    subject: str
    portable: str = ""
    recipient: str = ""


class Link(Struct):
    """The link that is used."""

    token: str = ""


async def download(request: web.Request) -> web.Response:
    """All data about a subject, for the privacy officer."""
    form = await read_form_as(request, Wanted)
    async with translated(), request.app[app_keys.POOL].acquire() as connection:
        subject = await _named(connection, form.subject)
        by = request[VIEWER].recorded_as
        await subject_export.record_access(connection, subject, by=by, network=network(request))
        rows = await subject_export.whole(connection, subject)
    return await _archive(request, subject, rows)


async def make_link(request: web.Request) -> web.Response:
    """A one-time link for a customer, shown once."""
    form = await read_form_as(request, Wanted)
    async with translated(), request.app[app_keys.POOL].acquire() as connection:
        subject = await _named(connection, form.subject)
        if subject.kind != "customer":
            raise NotFound("A link is for a customer; an installation asks with its secret.")
        by, now = author(request, None), datetime.now(UTC)
        recipient = form.recipient.strip()[:300] or None
        portable = form.portable == "yes"
        secret = await subject_export.make_link(
            connection, subject.id, by=by, now=now, portable=portable, recipient=recipient
        )
    return page(
        request,
        "privacy/link.html",
        link=link_to(request, "/privacy/access", secret),
        days=subject_export.LINK_DAYS,
        subject=form.subject,
    )


async def show_link(request: web.Request) -> web.Response:
    """The page of a link; looking at it does not use it up."""
    token = read_query(request, (TOKEN,)).get("token", "")
    async with translated(), request.app[app_keys.POOL].acquire() as connection:
        await subject_export.customer_of_link(connection, token, datetime.now(UTC), use=False)
    return page(request, "privacy/access.html", token=token)


async def use_link(request: web.Request) -> web.Response:
    """The data about the customer of the link, once."""
    refuse_foreign(request)
    form = await read_form_as(request, Link)
    async with translated(), request.app[app_keys.POOL].acquire() as connection:
        now = datetime.now(UTC)
        link = await subject_export.customer_of_link(connection, form.token, now, use=False)
        subject, by = link.subject, Author("customer", network=network(request))
        rows = await subject_export.whole(connection, subject, without=subject_export.UNREVIEWED)
        answer = _portable(rows, now) if link.portable else await _archive(request, subject, rows)
        async with connection.transaction():
            await subject_export.customer_of_link(connection, form.token, now, use=True)
            await subject_export.record_access(
                connection, subject, by=by.actor, network=by.network, how="link"
            )
            kind = RequestKind.PORTABILITY if link.portable else RequestKind.ACCESS
            await requests.ensure(connection, kind, subject, by=by, now=now)
            await requests.answer_unanswered(connection, kind, subject.id, by=by, now=now)
            if link.recipient:
                what = transmitted(subject, link.recipient)
                await disclosures.add(connection, what, by=by.actor, now=now, network=by.network)
    return answer


def transmitted(subject: Subject, recipient: str) -> disclosures.What:
    """The disclosure to another controller that a customer wants the data to go to."""
    return disclosures.What(
        recipient=recipient,
        subjects="one customer",
        fields="all that is stored about it",
        ground="request for data portability (Article 20 GDPR)",
        duty="its own, as a controller",
        subject=(subject.kind, subject.id),
    )


def _portable(rows: Rows, now: datetime) -> web.Response:
    """One JSON object: a list of rows for each kind of data."""
    headers = {
        "Content-Disposition": f'attachment; filename="data-{now:%Y-%m-%d}.json"',
        "Cache-Control": "no-store",
    }
    return web.Response(body=json.encode(rows), content_type="application/json", headers=headers)


async def _named(connection: Connection, words: str) -> Subject:
    try:
        return await subject_named(connection, words.strip())
    except NoSuchCustomer as problem:
        raise NotFound(problem.detail) from None


async def _archive(request: web.Request, subject: Subject, rows: Rows) -> web.Response:
    registry = load_registry().keeping(request.app[app_keys.SETTINGS].retention_days)
    now = datetime.now(UTC)
    body = await asyncio.to_thread(archive, subject, rows, registry, now)
    name = f"data-of-{subject.kind}-{now:%Y-%m-%d}.zip"
    headers = {"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "no-store"}
    return web.Response(body=body, content_type="application/zip", headers=headers)


def _route(path: str, handler: Any, summary: str, **more: Any) -> Route:
    return Route(
        "POST",
        path,
        handler,
        summary,
        permission=Permission.PRIVACY,
        step_up=True,
        page=True,
        audited="privacy",
        body=Wanted,
        errors=(*FORM_ERRORS, NotFound, Unprocessable),
        **more,
    )


ROUTES = (
    _route("/privacy/office/access", download, "Download all data about a subject", answers={200: FILE}),
    _route("/privacy/office/links", make_link, "Make a one-time link for a customer", answers={200: HTML}),
    get(
        "/privacy/access",
        show_link,
        "The page of a one-time link",
        HTML,
        (TOKEN,),
        access=Access.PUBLIC,
        errors=(NotFound,),
    ),
    Route(
        "POST",
        "/privacy/access",
        use_link,
        "Download all data about the customer of a one-time link",
        Access.PUBLIC,
        page=True,
        body=Link,
        answers={200: FILE},
        errors=(*FORM_ERRORS, NotFound, Unprocessable),
    ),
)
