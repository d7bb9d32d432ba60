"""All routes of the wing, in the order of the OpenAPI document."""

from datetime import UTC, datetime

from aiohttp import web
from msgspec import Struct

from telemetry_server import app_keys
from telemetry_server.errors import NotFound
from telemetry_server.permissions import Permission
from telemetry_server.privacy import fetching, figures, hold_pages, pages, record_pages, request_pages
from telemetry_server.receive.notice import NoticeText
from telemetry_server.routing import HTML, Access, Route, get
from telemetry_server.show.access.sign_in import FORM_ERRORS
from telemetry_server.show.query import read_query
from telemetry_server.show.responses import json_response
from telemetry_server.store.database import translated
from telemetry_server.store.ingest.privacy_cache import all_notices, in_force


class Notices(Struct):
    """All versions of the notice, and the number of the one in force; null before the first."""

    in_force: str | None
    notices: list[NoticeText]


async def list_notices(request: web.Request) -> web.Response:
    read_query(request, ())
    base_url = request.app[app_keys.SETTINGS].base_url
    async with translated(), request.app[app_keys.POOL].acquire() as connection:
        found = await all_notices(connection, base_url)
    current = in_force(found, datetime.now(UTC))
    return json_response(Notices(current[0].version if current else None, found))


ROUTES = (
    get(
        "/privacy",
        pages.public_page,
        "The privacy notice in force, the fields and the levels",
        HTML,
        (pages.LANGUAGE,),
        access=Access.PUBLIC,
    ),
    get(
        "/privacy/notices/{version}",
        pages.public_version,
        "A version of the privacy notice",
        HTML,
        (pages.VERSION, pages.LANGUAGE),
        access=Access.PUBLIC,
        errors=(NotFound,),
    ),
    get(
        "/api/v1/notices",
        list_notices,
        "List the versions of the privacy notice",
        Notices,
        access=Access.PUBLIC,
    ),
    get(
        "/privacy/office",
        pages.office,
        "Notices and levels",
        HTML,
        permission=Permission.PRIVACY,
        audited="privacy",
    ),
    Route(
        "POST",
        "/privacy/office/notices",
        pages.add_notice,
        "Add a version of the notice",
        permission=Permission.PRIVACY,
        step_up=True,
        page=True,
        files=True,
        audited="privacy",
        body=pages.NewNotice,
        answers={303: "", 422: HTML},
        errors=FORM_ERRORS,
    ),
    Route(
        "POST",
        "/privacy/office/levels",
        pages.set_level,
        "Limit what is kept of an installation or a customer",
        permission=Permission.PRIVACY,
        page=True,
        audited="privacy",
        body=pages.NewLevel,
        answers={303: "", 422: HTML},
        errors=FORM_ERRORS,
    ),
    Route(
        "POST",
        "/privacy/office/erasures",
        pages.ask_for_erasure,
        "Erase an installation, or a customer with all installations on its licenses",
        permission=Permission.PRIVACY,
        step_up=True,
        page=True,
        audited="privacy",
        body=pages.NewErasure,
        answers={303: "", 422: HTML},
        errors=FORM_ERRORS,
    ),
    get(
        "/privacy/office/erasures/{erasure_id}",
        pages.certificate,
        "The certificate of an erasure",
        "text/plain",
        (pages.ERASURE,),
        permission=Permission.PRIVACY,
        audited="erasure",
        errors=(NotFound,),
    ),
    *fetching.ROUTES,
    *request_pages.ROUTES,
    *hold_pages.ROUTES,
    *record_pages.ROUTES,
    *figures.ROUTES,
)
