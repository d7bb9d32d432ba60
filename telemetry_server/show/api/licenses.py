"""The registry's licenses in the API: read by viewers, changed by admins."""

import io
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import UTC, date, datetime
from operator import attrgetter
from typing import Annotated, Any, TypeAlias, get_type_hints
from uuid import UUID

from aiohttp import web
from msgspec import UNSET, Meta, Struct, defstruct, structs

from telemetry_server import app_keys, model
from telemetry_server.check.days import first_day, last_day
from telemetry_server.check.licenses.cells import LONGEST_KEY
from telemetry_server.check.licenses.cells import key as license_key
from telemetry_server.check.licenses.columns import OF_THE_LICENSE, license_patch
from telemetry_server.check.licenses.files import LicenseFile
from telemetry_server.check.licenses.rows import RowFormat, RowProblem
from telemetry_server.enrich.verdict import never_matching
from telemetry_server.errors import (
    BadRequest,
    FieldProblem,
    Forbidden,
    Malformed,
    NotFound,
    TooLarge,
    Unprocessable,
)
from telemetry_server.model import LicensePatch, LicenseRow, Moment, NonNegative
from telemetry_server.permissions import Permission
from telemetry_server.receive.body import read_body
from telemetry_server.routing import Parameter, Route, get
from telemetry_server.show import filters
from telemetry_server.show.body import LONGEST_REASON, optional, read_object, refuse, take_text
from telemetry_server.show.paging import AFTER_ID, LIMIT, Page, page
from telemetry_server.show.query import IDENTIFIER, one_of, read_path, read_query, text
from telemetry_server.show.recorded_views import author, record
from telemetry_server.show.responses import json_response
from telemetry_server.show.viewer import VIEWER, Viewer
from telemetry_server.store.database import Connection, translated
from telemetry_server.store.reading import reading
from telemetry_server.store.registry import history
from telemetry_server.store.registry.history import ChangeOutcome, Entity, RegistryChange
from telemetry_server.store.registry.license_changes import change_license, create_license, keep_licenses
from telemetry_server.store.registry.license_plan import Kept
from telemetry_server.store.registry.licenses import (
    LicenseExists,
    NoSuchLicense,
    WrongLicense,
    key_hashes,
    license_by_id,
    list_licenses,
)
from telemetry_server.store.registry.products import NoSuchProduct
from telemetry_server.uuid7 import LOWEST

PARAMETERS = (*filters.LICENSES.parameters, LIMIT, AFTER_ID)
IMPORT_PARAMETERS = (
    Parameter("product", "The product's slug.", text(), required=True),
    Parameter("format", "What the body is.", one_of(*RowFormat) | {"default": "ndjson"}),
    Parameter(
        "dry_run", "true: report only, change nothing.", one_of("true", "false") | {"default": "false"}
    ),
    Parameter("reason", "Why, for the history.", text()),
)
_ID = Parameter("license_id", "Its id.", IDENTIFIER, where="path", required=True)


_DAYS = (
    ("first_day", Annotated[date | None, Meta(description="The day it starts.")]),
    ("last_day", Annotated[date | None, Meta(description="The last day on which it is good.")]),
)
_SHOWN = {
    name: kind
    for name, kind in get_type_hints(model.License, include_extras=True).items()
    if name not in {"key_hash", "stale"}
}
License = defstruct("License", [*_SHOWN.items(), *_DAYS], namespace={"__doc__": "A license of the registry."})


class RegistryEntry(Struct):
    """A change of a license or a customer: the changed fields; `before` is null for a new one."""

    changed_at: Moment
    actor: str
    reason: str | None
    before: Mapping[str, Any] | None
    after: Mapping[str, Any]


RegistryChanges: TypeAlias = Annotated[list[RegistryEntry], Meta(description="The newest hundred.")]


class LicenseDetail(License):  # type: ignore[valid-type, misc]  # made from model.License
    """A license with its history."""

    changes: RegistryChanges


class Licenses(Page[License]):  # type: ignore[valid-type]  # made from model.License
    """Licenses, in order of creation."""


class ImportedLicense(Struct):
    """A license that a row created or changed: the changed fields; `before` is null for a new one."""

    line: int
    license_id: UUID | None
    before: Mapping[str, Any] | None
    after: Mapping[str, Any]


class LicenseImport(Struct):
    """The outcome of an import, in rows."""

    dry_run: bool
    new: NonNegative
    changed: NonNegative
    unchanged: NonNegative
    repeated: NonNegative
    wrong: NonNegative
    never_matching: Annotated[NonNegative, Meta(description="Rows with addresses that no copy can match.")]
    problems: list[RowProblem]
    changes: list[ImportedLicense]


_CHANGEABLE = ["customer_id", *OF_THE_LICENSE, "custom"]
LicenseChange = optional("LicenseChange", License, _CHANGEABLE, reason=str)
NewLicense = defstruct("NewLicense", [("product", str), ("key", str)], bases=(LicenseChange,), kw_only=True)


async def list_page(request: web.Request) -> web.Response:
    asked = read_query(request, PARAMETERS)
    wanted, limit, after = (
        filters.LICENSES.filter(asked, within=request[VIEWER].products),
        asked["limit"],
        asked.get("after", LOWEST),
    )
    async with reading(request.app[app_keys.POOL]) as connection:
        found = await list_licenses(connection, wanted, now=datetime.now(UTC), after=after, limit=limit + 1)
    return page(request, found, limit, license_item, lambda one: one.license_id)


async def one_license(request: web.Request) -> web.Response:
    read_query(request, ())
    license_id = read_path(request, "license_id")
    async with reading(request.app[app_keys.POOL]) as connection:
        found = await find_license(connection, license_id, request[VIEWER])
        changes = await history.history(connection, Entity.LICENSE, str(license_id))
    return json_response(LicenseDetail(**structs.asdict(license_item(found)), changes=entries(changes)))


async def add_license(request: web.Request) -> web.Response:
    read_query(request, ())
    document = await read_object(request)
    by = author(request, take_text(document, "reason", LONGEST_REASON))
    slug, key = take_text(document, "product", 63), take_text(document, "key", LONGEST_KEY)
    patch, problems = license_patch(document)
    try:
        key = key and license_key(key)
    except ValueError as error:
        problems.append(FieldProblem("/key", str(error)))
    missing = [name for name, value in (("product", slug), ("key", key)) if value is None]
    refuse([*(FieldProblem(f"/{name}", "is missing") for name in missing), *problems])
    assert slug is not None
    assert key is not None
    refuse_foreign(request[VIEWER], slug)
    refuse_customers(request[VIEWER], [patch])
    async with translated(), request.app[app_keys.POOL].acquire() as connection:
        hashes = await key_hashes(connection, request.app[app_keys.KEYRING], slug)
        made = await create_license(connection, hashes, key, patch, by=by, now=datetime.now(UTC))
    return json_response(license_item(made), status=201)


async def edit_license(request: web.Request) -> web.Response:
    """A missing field stays unchanged, null clears it."""
    read_query(request, ())
    license_id = read_path(request, "license_id")
    document = await read_object(request)
    by = author(request, take_text(document, "reason", LONGEST_REASON))
    patch, problems = license_patch(document)
    refuse(problems)
    refuse_customers(request[VIEWER], [patch])
    async with translated(), request.app[app_keys.POOL].acquire() as connection:
        await find_license(connection, license_id, request[VIEWER])
        kept, now_is = await change_license(connection, license_id, patch, by=by, now=datetime.now(UTC))
    if kept.outcome is ChangeOutcome.UNCHANGED:
        await record(request.app[app_keys.POOL], request, "license.view", license_id)
    return json_response(license_item(now_is))


async def import_licenses(request: web.Request) -> web.Response:
    """Imports up to 1 MiB of rows; writes those without problems, with dry_run none. Idempotent."""
    asked = read_query(request, IMPORT_PARAMETERS)
    if "product" not in asked:
        raise BadRequest("product is missing: the slug of the product the licenses are for.")
    rows, problems = _rows(await read_body(request), RowFormat(asked["format"]))
    by, dry_run = author(request, asked.get("reason")), asked["dry_run"] == "true"
    refuse_foreign(request[VIEWER], asked["product"])
    refuse_customers(request[VIEWER], [row.patch for row in rows])
    async with translated(), request.app[app_keys.POOL].acquire() as connection:
        hashes = await key_hashes(connection, request.app[app_keys.KEYRING], asked["product"])
        batch = await keep_licenses(connection, hashes, rows, by=by, now=datetime.now(UTC), dry_run=dry_run)
    if dry_run:
        await record(request.app[app_keys.POOL], request, "license.list", None, path=request.path)
    never = sum(bool(never_matching(row.patch.addresses or ())) for row in rows)
    return json_response(_imported(batch.rows, problems, never, dry_run=dry_run))


def refuse_customers(viewer: Viewer, patches: Iterable[LicensePatch]) -> None:
    """Who may not change customers, may not do it by way of their licenses either. Raises Forbidden."""
    names = any(patch.customer is not UNSET or patch.customer_id is not UNSET for patch in patches)
    if names and not viewer.may(Permission.CUSTOMERS_CHANGE):
        raise Forbidden(
            f"The customer of a license can only be named with the permission {Permission.CUSTOMERS_CHANGE}."
        )


def _rows(body: bytes, form: RowFormat) -> tuple[list[LicenseRow], list[RowProblem]]:
    rows: list[LicenseRow] = []
    problems: list[RowProblem] = []
    for found in LicenseFile(io.BytesIO(body), form):
        if isinstance(found, LicenseRow):
            rows.append(found)
        else:
            problems += found
    return rows, problems


def _imported(kept: list[Kept], unread: list[RowProblem], never: int, *, dry_run: bool) -> LicenseImport:
    problems = [*unread, *(row.problem for row in kept if row.problem)]
    counts = Counter(row.outcome for row in kept)
    counts[ChangeOutcome.WRONG] += len({problem.line for problem in unread})
    return LicenseImport(
        dry_run=dry_run,
        **{outcome.value: counts[outcome] for outcome in ChangeOutcome},
        never_matching=never,
        problems=sorted(problems, key=attrgetter("line")),
        changes=[
            ImportedLicense(row.line, row.license_id, row.before, row.after)
            for row in kept
            if row.outcome in {ChangeOutcome.NEW, ChangeOutcome.CHANGED}
        ],
    )


async def find_license(connection: Connection, license_id: UUID, viewer: Viewer) -> model.License:
    """The license, if the viewer may see its product. Raises NotFound."""
    with suppress(NoSuchLicense):
        found = await license_by_id(connection, license_id)
        if viewer.sees(found.product):
            return found
    raise NotFound("There is no license of this id.")


def refuse_foreign(viewer: Viewer, slug: str) -> None:
    """A product that the sender may not see does not exist for it."""
    if not viewer.sees(slug):
        raise NoSuchProduct


def license_item(found: model.License) -> Struct:
    days = first_day(found.starts_at, found.time_zone), last_day(found.expires_at, found.time_zone)
    return License(*(getattr(found, name) for name in _SHOWN), *days)


def entries(changes: Iterable[RegistryChange]) -> RegistryChanges:
    return [RegistryEntry(c.changed_at, c.actor, c.reason, c.before, c.after) for c in changes]


ROUTES = (
    get(
        "/api/v1/licenses",
        list_page,
        "List licenses",
        Licenses,
        PARAMETERS,
        permission=Permission.LICENSES,
        audited="license",
    ),
    get(
        "/api/v1/licenses/{license_id}",
        one_license,
        "One license with its history",
        LicenseDetail,
        (_ID,),
        permission=Permission.LICENSES,
        audited="license",
        errors=(NotFound,),
    ),
    Route(
        "POST",
        "/api/v1/licenses",
        add_license,
        "Add a license",
        permission=Permission.LICENSES_CHANGE,
        audited="license",
        body=NewLicense,
        answers={201: License},
        errors=(Malformed, NoSuchProduct, LicenseExists, TooLarge, Unprocessable),
    ),
    Route(
        "PATCH",
        "/api/v1/licenses/{license_id}",
        edit_license,
        "Change a license",
        permission=Permission.LICENSES_CHANGE,
        audited="license",
        parameters=(_ID,),
        body=LicenseChange,
        answers={200: License},
        errors=(Malformed, NotFound, WrongLicense, TooLarge),
    ),
    Route(
        "POST",
        "/api/v1/licenses/import",
        import_licenses,
        "Import licenses",
        permission=Permission.LICENSES_CHANGE,
        audited="license",
        parameters=IMPORT_PARAMETERS,
        body="LicenseFile",
        answers={200: LicenseImport},
        errors=(NoSuchProduct, TooLarge, Unprocessable),
    ),
)
