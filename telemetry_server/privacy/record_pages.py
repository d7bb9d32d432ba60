"""The pages of the privacy officer that account for the data: disclosures, processing, and the breach kit."""

import io
import zipfile
from datetime import UTC, date, datetime, time
from typing import Annotated
from uuid import UUID

from aiohttp import web
from msgspec import Meta, Struct

from telemetry_server import app_keys
from telemetry_server.check.fields import load_registry
from telemetry_server.errors import BadRequest, TelemetryError
from telemetry_server.permissions import Permission
from telemetry_server.privacy import breach_kit, letters, processing
from telemetry_server.privacy.store import breach
from telemetry_server.routing import FILE, HTML, Route, get
from telemetry_server.settings import Settings
from telemetry_server.show.access.forms import read_form_as
from telemetry_server.show.access.sign_in import FORM_ERRORS
from telemetry_server.show.query import read_query
from telemetry_server.show.recorded_views import network
from telemetry_server.show.render import page
from telemetry_server.show.responses import json_response, see_other
from telemetry_server.show.viewer import VIEWER
from telemetry_server.store.access import disclosures
from telemetry_server.store.database import translated

_OFFICE = "/privacy/office"
_Words = Annotated[str, Meta(max_length=1000)]


class NewDisclosure(Struct):
    """A disclosure: to whom, whose data, which, on what ground, and what the recipient is bound to."""

    csrf_token: str
    recipient: Annotated[str, Meta(max_length=300)]
    subjects: _Words
    fields: _Words
    ground: _Words
    duty: _Words
    day: str = ""


class BreachWindow(Struct):
    """From when until when (UTC), and by whom; names are separated by spaces."""

    csrf_token: str
    since: str
    until: str
    persons: _Words = ""
    tokens: _Words = ""
    keys: _Words = ""


async def show_disclosures(request: web.Request) -> web.Response:
    read_query(request, ())
    return await _disclosures(request)


async def add_disclosure(request: web.Request) -> web.Response:
    """Adds a disclosure to the register."""
    form, now = await read_form_as(request, NewDisclosure), datetime.now(UTC)
    what = disclosures.What(
        recipient=form.recipient,
        subjects=form.subjects,
        fields=form.fields,
        ground=form.ground,
        duty=form.duty,
    )
    try:
        at = datetime.combine(date.fromisoformat(form.day.strip()), time(), UTC) if form.day.strip() else None
        by = request[VIEWER].recorded_as
        async with translated(), request.app[app_keys.POOL].acquire() as connection:
            await disclosures.add(connection, what, by=by, now=now, at=at, network=network(request))
    except ValueError:
        return await _disclosures(request, BadRequest("A day is written like 2026-12-01."), form)
    except disclosures.WrongDisclosure as problem:
        return await _disclosures(request, problem, form)
    return see_other(f"{_OFFICE}/disclosures")


async def _disclosures(
    request: web.Request, problem: TelemetryError | None = None, filled: NewDisclosure | None = None
) -> web.Response:
    async with translated(), request.app[app_keys.POOL].acquire() as connection:
        found = await disclosures.disclosures(connection)
    return page(
        request,
        "privacy/disclosures.html",
        status=422 if problem else 200,
        disclosures=found,
        problem=problem and problem.detail,
        filled=filled,
    )


async def show_processing(request: web.Request) -> web.Response:
    """The register of processing activities."""
    read_query(request, ())
    found = processing_register(request.app[app_keys.SETTINGS])
    return page(request, "privacy/processing.html", register=found)


async def processing_json(request: web.Request) -> web.Response:
    """The same as JSON."""
    read_query(request, ())
    return json_response(processing_register(request.app[app_keys.SETTINGS]))


def processing_register(settings: Settings) -> dict[str, object]:
    """The register with the settings of this server."""
    return processing.register(
        load_registry().keeping(settings.retention_days),
        controller=letters.own_text(settings.data / letters.DIRECTORY, processing.CONTROLLER),
        address_days=settings.address_retention_days,
        audit_days=settings.audit_retention_days,
        backup_days=settings.backup_retention_days,
    )


async def show_breach(request: web.Request) -> web.Response:
    read_query(request, ())
    return _breach(request)


async def breach_files(request: web.Request) -> web.Response:
    """The kit as one ZIP file."""
    form, now = await read_form_as(request, BreachWindow), datetime.now(UTC)
    try:
        window = _window(form)
    except BadRequest as problem:
        return _breach(request, problem, form)
    async with translated(), request.app[app_keys.POOL].acquire() as connection:
        found = await breach.seen(connection, window)
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content in breach_kit.files(window, found, load_registry(), aware=now):
            packed.writestr(name, content)
    headers = {
        "Content-Disposition": f'attachment; filename="breach-{now:%Y-%m-%d}.zip"',
        "Cache-Control": "no-store",
    }
    return web.Response(body=file.getvalue(), content_type="application/zip", headers=headers)


def _breach(
    request: web.Request, problem: TelemetryError | None = None, filled: BreachWindow | None = None
) -> web.Response:
    return page(
        request,
        "privacy/breach.html",
        status=422 if problem else 200,
        hours=breach_kit.HOURS,
        problem=problem and problem.detail,
        filled=filled,
    )


def _window(form: BreachWindow) -> breach.Window:
    try:
        since, until = (datetime.fromisoformat(each) for each in (form.since, form.until))
        tokens = tuple(UUID(each) for each in form.tokens.split())
    except ValueError:
        raise BadRequest("Name the times as 2026-12-01T08:00, and tokens by their ids.") from None
    since, until = (each if each.tzinfo else each.replace(tzinfo=UTC) for each in (since, until))
    if since >= until:
        raise BadRequest("The window ends before it begins.")
    return breach.Window(since, until, tuple(form.persons.split()), tokens, tuple(form.keys.split()))


ROUTES = (
    get(
        f"{_OFFICE}/disclosures",
        show_disclosures,
        "The register of disclosures",
        HTML,
        permission=Permission.PRIVACY,
        audited="disclosure",
    ),
    Route(
        "POST",
        f"{_OFFICE}/disclosures",
        add_disclosure,
        "Add a disclosure",
        permission=Permission.PRIVACY,
        page=True,
        audited="disclosure",
        body=NewDisclosure,
        answers={303: "", 422: HTML},
        errors=FORM_ERRORS,
    ),
    get(
        f"{_OFFICE}/processing",
        show_processing,
        "The register of processing activities",
        HTML,
        permission=Permission.PRIVACY,
        audited="privacy",
    ),
    get(
        f"{_OFFICE}/processing.json",
        processing_json,
        "The register of processing activities as JSON",
        "application/json",
        permission=Permission.PRIVACY,
        audited="privacy",
    ),
    get(
        f"{_OFFICE}/breach",
        show_breach,
        "The breach kit",
        HTML,
        permission=Permission.PRIVACY,
        audited="privacy",
    ),
    Route(
        "POST",
        f"{_OFFICE}/breach",
        breach_files,
        "Download the breach kit of a window of time",
        permission=Permission.PRIVACY,
        step_up=True,
        page=True,
        audited="privacy",
        body=BreachWindow,
        answers={200: FILE, 422: HTML},
        errors=FORM_ERRORS,
    ),
)
