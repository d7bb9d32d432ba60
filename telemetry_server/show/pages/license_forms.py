"""Adding and changing a license: a form, the difference that it would make, and only then the change."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from aiohttp import web
from msgspec import UNSET, Struct, UnsetType, defstruct

from telemetry_server import app_keys
from telemetry_server.check.days import shown_beginning, shown_end
from telemetry_server.check.licenses.cells import key as license_key
from telemetry_server.check.licenses.columns import license_patch
from telemetry_server.errors import BadRequest, FieldProblem, NotFound
from telemetry_server.model import (
    License,
    LicensePatch,
    LicenseRow,
    LicenseSource,
    LicenseStatus,
    LicenseType,
    Overage,
)
from telemetry_server.permissions import Permission
from telemetry_server.routing import HTML, Route, get
from telemetry_server.show.access.forms import read_form
from telemetry_server.show.access.sign_in import FORM_ERRORS
from telemetry_server.show.api.licenses import find_license, refuse_customers, refuse_foreign
from telemetry_server.show.differences import LABELS, differences
from telemetry_server.show.pages.license import ID
from telemetry_server.show.query import read_path, read_query
from telemetry_server.show.recorded_views import author
from telemetry_server.show.registry_forms import FormField, Steps, changed_cells, confirm_page, reason_of
from telemetry_server.show.render import page
from telemetry_server.show.responses import see_other
from telemetry_server.show.viewer import VIEWER, Viewer
from telemetry_server.store.database import Connection, translated
from telemetry_server.store.fleet import installations, licensed_copies
from telemetry_server.store.registry.customers import customers_by_id
from telemetry_server.store.registry.history import ChangeOutcome
from telemetry_server.store.registry.license_changes import change_license, create_license, keep_licenses
from telemetry_server.store.registry.license_plan import Kept
from telemetry_server.store.registry.licenses import LicenseExists, WrongLicense, key_hashes
from telemetry_server.store.registry.products import NoSuchProduct

_CHOICES: Mapping[str, Iterable[str]] = {
    "status": LicenseStatus,
    "type": LicenseType,
    "source": ("", *LicenseSource),
    "overage": Overage,
    "addresses_enforced": ("true", "false"),
}
_HINTS = {
    "seats": "empty: unlimited",
    "starts_at": "a day, such as 2027-01-31",
    "expires_at": "a day; the license is good through it",
    "domains": "separated by commas",
    "addresses": "empty: anywhere",
    "free_environments": "they take no seat; none: every copy takes one",
}
_NAMES = (
    *("status", "type", "seats", "overage", "starts_at", "expires_at", "edition", "source", "source_detail"),
    *("order_reference", "customer_email", "free_environments", "domains", "addresses"),
    *("addresses_enforced", "directories"),
)
_NEW: Mapping[str, str] = dict.fromkeys(_NAMES, "") | {
    "status": LicenseStatus.ACTIVE.value,
    "type": LicenseType.PURCHASED.value,
    "overage": Overage.NONE.value,
    "addresses_enforced": "true",
    "free_environments": "development, staging",
}
LicenseForm = defstruct(
    "LicenseForm",
    [
        ("csrf_token", str),
        *((name, str | UnsetType, UNSET) for name in (*_NAMES, "step", "fields", "updated_at", "reason")),
    ],
)
NewLicenseForm = defstruct(
    "NewLicenseForm", [("product", str), ("key", str)], bases=(LicenseForm,), kw_only=True
)


class ChangedMeanwhile(BadRequest):
    """Someone changed this since the page was loaded. Load it again; nothing was changed now."""

    status, code = 409, "changed_meanwhile"


async def edit_form(request: web.Request) -> web.Response:
    read_query(request, ())
    async with translated(), request.app[app_keys.POOL].acquire() as connection:
        found = await find_license(connection, read_path(request, "license_id"), request[VIEWER])
        values = await _texts(connection, found, request[VIEWER])
    return _form_page(request, found, values, ())


async def new_form(request: web.Request) -> web.Response:
    read_query(request, ())
    return await _new_page(request, dict(_NEW), ())


async def change(request: web.Request) -> web.Response:
    """Shows the difference; with `step=save`, makes the change."""
    form, viewer = await read_form(request), request[VIEWER]
    now, reason = datetime.now(UTC), reason_of(form)
    async with translated(), request.app[app_keys.POOL].acquire() as connection:
        found = await find_license(connection, read_path(request, "license_id"), viewer)
        if form.get("updated_at", found.updated_at.isoformat()) != found.updated_at.isoformat():
            raise ChangedMeanwhile
        texts = await _texts(connection, found, viewer)
        cells = changed_cells(form, texts, _allowed(viewer))
        patch, problems = license_patch(cells)
        refuse_customers(viewer, [patch])
        if problems or not cells:
            return _form_page(request, found, texts | cells, problems, unchanged=not cells)
        try:
            if form.get("step") == Steps.SAVE:
                by = author(request, reason)
                await change_license(connection, found.license_id, patch, by=by, now=now)
                return see_other(f"/licenses/{found.license_id}")
            row = LicenseRow(1, None, found.license_id, patch)
            kept = await _planned(request, connection, found.product, row)
        except WrongLicense as wrong:
            return _form_page(request, found, texts | cells, wrong.problems)
        counted = await licensed_copies.copies_by_license(connection, [found.license_id])
    copies = counted.get(found.license_id, licensed_copies.Copies())
    return confirm_page(
        request,
        title=f"License …{found.key_hint}",
        action=f"/licenses/{found.license_id}",
        rows=differences(kept.before, kept.after, found.time_zone),
        cells=cells,
        hidden={"updated_at": found.updated_at.isoformat(), "reason": reason or ""},
        copies=copies.total,
        back=f"/licenses/{found.license_id}",
    )


async def add(request: web.Request) -> web.Response:
    """Shows what would be added; with `step=save`, adds it."""
    form, viewer = await read_form(request), request[VIEWER]
    slug, reason = form.get("product", ""), reason_of(form)
    refuse_foreign(viewer, slug)
    cells = changed_cells(form, _NEW, _allowed(viewer))
    patch, problems = license_patch(cells)
    key = form.get("key", "")
    try:
        key = license_key(key)
    except ValueError as error:
        problems = [FieldProblem("/key", str(error)), *problems]
    entered = {**_NEW, **cells, "product": slug, "key": key}
    refuse_customers(viewer, [patch])
    if problems:
        return await _new_page(request, entered, problems)
    try:
        async with translated(), request.app[app_keys.POOL].acquire() as connection:
            if form.get("step") == Steps.SAVE:
                made = await _create(request, connection, slug, key, patch=patch, reason=reason)
                return see_other(f"/licenses/{made.license_id}")
            kept = await _planned(request, connection, slug, LicenseRow(1, key, None, patch))
    except (LicenseExists, NoSuchProduct, WrongLicense) as wrong:
        pointer = "/product" if isinstance(wrong, NoSuchProduct) else "/key"
        return await _new_page(request, entered, wrong.problems or [FieldProblem(pointer, wrong.detail)])
    return confirm_page(
        request,
        title=f"New license for {slug}",
        action="/licenses/new",
        rows=differences(None, kept.after),
        cells=cells,
        hidden={"product": slug, "key": key, "reason": reason or ""},
        back="/licenses/new",
    )


async def _create(
    request: web.Request,
    connection: Connection,
    slug: str,
    key: str,
    *,
    patch: LicensePatch,
    reason: str | None,
) -> License:
    hashes = await key_hashes(connection, request.app[app_keys.KEYRING], slug)
    by = author(request, reason)
    return await create_license(connection, hashes, key, patch, by=by, now=datetime.now(UTC))


async def _planned(request: web.Request, connection: Connection, slug: str, row: LicenseRow) -> Kept:
    """What the row would change. Raises WrongLicense, or LicenseExists for the key of another license."""
    hashes = await key_hashes(connection, request.app[app_keys.KEYRING], slug)
    by = author(request, None)
    batch = await keep_licenses(connection, hashes, [row], by=by, now=datetime.now(UTC), dry_run=True)
    [kept] = batch.rows
    if wrong := kept.problem:
        raise WrongLicense(wrong.detail, problems=[FieldProblem(f"/{wrong.column}", wrong.detail)])
    if row.key is not None and kept.outcome is not ChangeOutcome.NEW:
        raise LicenseExists("A license of this key exists already.")
    return kept


def _allowed(viewer: Viewer) -> tuple[str, ...]:
    """The fields that the viewer may fill in."""
    may = viewer.may(Permission.CUSTOMERS_CHANGE)
    return tuple(name for name in _NAMES if may or name != "customer_email")


async def _texts(connection: Connection, found: License, viewer: Viewer) -> dict[str, str]:
    """The fields of the license as the form shows them."""
    email = ""
    if found.customer_id is not None and viewer.may(Permission.CUSTOMERS_CHANGE):
        owners = await customers_by_id(connection, [found.customer_id])
        email = owners[found.customer_id].email or ""
    texts: dict[str, Any] = {name: getattr(found, name, None) for name in _NAMES}
    texts |= {
        "customer_email": email,
        "addresses_enforced": str(found.addresses_enforced).lower(),
        "free_environments": ", ".join(found.free_environments) or "none",
        "domains": ", ".join(found.domains),
        "addresses": ", ".join(found.addresses),
        "directories": "\n".join(found.directories),
        "starts_at": found.starts_at and shown_beginning(found.starts_at, found.time_zone).isoformat(),
        "expires_at": found.expires_at and shown_end(found.expires_at, found.time_zone).isoformat(),
    }
    return {name: "" if value is None else str(value) for name, value in texts.items()}


def _fields(viewer: Viewer, values: Mapping[str, str], problems: Iterable[FieldProblem]) -> list[FormField]:
    wrong = {each.pointer.removeprefix("/"): each.detail for each in problems}
    return [
        FormField(
            name,
            LABELS[name],
            values.get(name, ""),
            tuple(map(str, _CHOICES.get(name, ()))),
            _HINTS.get(name),
            wrong.get(name),
            long=name == "directories",
        )
        for name in _allowed(viewer)
    ]


def _form_page(
    request: web.Request,
    found: License,
    values: Mapping[str, str],
    problems: Iterable[FieldProblem],
    *,
    unchanged: bool = False,
) -> web.Response:
    return page(
        request,
        "license_form.html",
        status=422 if problems else 200,
        license=found,
        action=f"/licenses/{found.license_id}",
        fields=_fields(request[VIEWER], values, problems),
        problems=list(problems),
        unchanged=unchanged and request.method == "POST",
    )


async def _new_page(
    request: web.Request, values: Mapping[str, str], problems: Iterable[FieldProblem]
) -> web.Response:
    products = await installations.product_names(request.app[app_keys.POOL])
    return page(
        request,
        "license_form.html",
        status=422 if problems else 200,
        license=None,
        action="/licenses/new",
        fields=_fields(request[VIEWER], values, problems),
        problems=list(problems),
        unchanged=False,
        products=[each for each in products if request[VIEWER].sees(each["slug"])],
        product=values.get("product", ""),
        key=values.get("key", ""),
    )


def _route(path: str, handler: Any, summary: str, body: type[Struct], *errors: Any, **more: Any) -> Route:
    return Route(
        "POST",
        path,
        handler,
        summary,
        permission=Permission.LICENSES_CHANGE,
        page=True,
        audited="license",
        body=body,
        answers={200: HTML, 303: "", 422: HTML},
        errors=(*FORM_ERRORS, *errors),
        **more,
    )


_OF_ONE: dict[str, Any] = {"permission": Permission.LICENSES_CHANGE, "audited": "license"}

ROUTES = (
    get("/licenses/new", new_form, "Form for a new license", HTML, **_OF_ONE),
    _route("/licenses/new", add, "Add a license, by a form", NewLicenseForm, NoSuchProduct),
    get(
        "/licenses/{license_id}/edit",
        edit_form,
        "Form of a license",
        HTML,
        (ID,),
        errors=(NotFound,),
        **_OF_ONE,
    ),
    _route(
        "/licenses/{license_id}",
        change,
        "Change a license, by a form",
        LicenseForm,
        NotFound,
        ChangedMeanwhile,
        parameters=(ID,),
    ),
)
