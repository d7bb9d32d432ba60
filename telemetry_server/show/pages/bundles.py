"""The pages that take a bundle of a copy behind an air gap, and give its receipts: for people, for anyone."""

from base64 import b64encode
from typing import Any

from aiohttp import web
from msgspec import Struct

from telemetry_server import app_keys
from telemetry_server.errors import Malformed, TooLarge, TooManyRequests, Unauthenticated
from telemetry_server.permissions import Permission
from telemetry_server.receive.bundles import BUNDLES, LARGEST_BUNDLE, MEDIA_TYPE, Receipts, outcome_of
from telemetry_server.routing import HTML, Access, Route, get
from telemetry_server.show.access.forms import UPLOADED, read_form
from telemetry_server.show.access.sign_in import FORM_ERRORS
from telemetry_server.show.query import read_query
from telemetry_server.show.recorded_views import record
from telemetry_server.show.render import page

LARGEST_FORM = LARGEST_BUNDLE + 4096
_DONE = {
    "/v1/enroll": "Identity issued",
    "/v1/forget": "Request to be forgotten",
    "/v1/support-grants": "Support access granted",
    "/v1/support-grants/revoke": "Support access revoked",
}


class BundleForm(Struct):
    """The file of a bundle, in a form of several parts."""

    csrf_token: str = ""


async def form_for_people(request: web.Request) -> web.Response:
    read_query(request, ())
    return _page(request, "/bundles")


async def take_for_people(request: web.Request) -> web.Response:
    """Takes a bundle that a person of the vendor uploads, and records who did."""
    return await _take(request, "/bundles")


async def form_for_anyone(request: web.Request) -> web.Response:
    read_query(request, ())
    return _page(request, "/bundle")


async def take_for_anyone(request: web.Request) -> web.Response:
    """Takes a bundle that a customer uploads: its requests are signed, so that no account is needed."""
    request.app[BUNDLES].admit(request)
    await read_form(request, files=True, largest=LARGEST_FORM)
    return await _take(request, "/bundle")


async def _take(request: web.Request, action: str) -> web.Response:
    if UPLOADED not in request:
        problem = "Choose the file that license-telemetry export --to FILE wrote."
        return _page(request, action, problem=problem)
    try:
        bundles = request.app[BUNDLES]
        taken = await bundles.take(request[UPLOADED].content, bundles.network(request))
    except (Malformed, TooLarge, Unauthenticated) as error:
        return _page(request, action, problem=error.detail)
    if action == "/bundles":
        about = {"bundle": taken.bundle_id}
        pool = request.app[app_keys.POOL]
        await record(pool, request, "installation.bundle", taken.installation_id, **about)
    return _page(request, action, taken=taken)


def _page(
    request: web.Request, action: str, *, problem: str | None = None, taken: Receipts | None = None
) -> web.Response:
    result: dict[str, Any] = {}
    if taken:
        pings, others = outcome_of(taken.content)
        result = {
            "pings": sorted(pings.items()),
            "others": [(_DONE.get(path, "An upload"), status) for path, status in others],
            "receipts": f"data:{MEDIA_TYPE};base64,{b64encode(taken.content).decode()}",
            "installation_id": taken.installation_id,
        }
    shown = page(
        request,
        "bundle.html",
        status=422 if problem else 200,
        action=action,
        problem=problem,
        result=result,
        largest=f"{LARGEST_BUNDLE // 2**20} MiB",
    )
    shown.headers["Cache-Control"] = "no-store"  # receipts may have the secret of a new identity
    return shown


ROUTES = (
    get(
        "/bundles",
        form_for_people,
        "Form to upload a bundle",
        HTML,
        permission=Permission.INSTALLATIONS,
        audited="installation",
    ),
    Route(
        "POST",
        "/bundles",
        take_for_people,
        "Take a bundle that was carried over an air gap, by a form",
        permission=Permission.INSTALLATIONS,
        page=True,
        files=True,
        largest_form=LARGEST_FORM,
        audited="installation",
        body=BundleForm,
        answers={200: HTML, 422: HTML},
        errors=FORM_ERRORS,
    ),
    get(
        "/bundle", form_for_anyone, "Form to upload a bundle, without an account", HTML, access=Access.PUBLIC
    ),
    Route(
        "POST",
        "/bundle",
        take_for_anyone,
        "Take a bundle that was carried over an air gap, without an account",
        Access.PUBLIC,
        page=True,
        files=True,
        largest_form=LARGEST_FORM,
        body=BundleForm,
        answers={200: HTML, 422: HTML},
        errors=(*FORM_ERRORS, TooManyRequests),
    ),
)
