"""The registry's licenses in the API: read by everybody who may look, changed by admins."""

import io
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from operator import attrgetter
from typing import Any
from uuid import UUID

from aiohttp import web

from telemetry_server import app_keys
from telemetry_server.check.days import first_day, last_day
from telemetry_server.check.licenses.cells import LONGEST_KEY
from telemetry_server.check.licenses.cells import key as license_key
from telemetry_server.check.licenses.columns import license_patch
from telemetry_server.check.licenses.files import LicenseFile
from telemetry_server.check.licenses.rows import RowFormat, RowProblem
from telemetry_server.enrich.verdict import never_matching
from telemetry_server.errors import (
    BadRequest,
    FieldProblem,
    Malformed,
    NotFound,
    TooLarge,
    Unavailable,
    Unprocessable,
)
from telemetry_server.model import Author, License, LicenseRow, Role
from telemetry_server.receive.body import read_body
from telemetry_server.routing import Access, Parameter, Route
from telemetry_server.show import filters
from telemetry_server.show.body import LONGEST_REASON, read_object, refuse, take_text
from telemetry_server.show.paging import AFTER_ID, LIMIT, page
from telemetry_server.show.query import IDENTIFIER, one_of, read_path, read_query, text
from telemetry_server.show.responses import json_response
from telemetry_server.show.viewer import VIEWER
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

_CHANGES = 100
_HIDDEN = {"key_hash", "stale"}  # how the server recognises a key is nobody's business

PARAMETERS = (
    *filters.LICENSES.parameters,
    LIMIT,
    AFTER_ID,
)
IMPORT_PARAMETERS = (
    Parameter("product", "The product's slug.", text(), required=True),
    Parameter("format", "What the body is.", one_of(*RowFormat) | {"default": "ndjson"}),
    Parameter(
        "dry_run", "true: only tell what would change.", one_of("true", "false") | {"default": "false"}
    ),
    Parameter("reason", "Why, for the history.", text()),
)
_ID = Parameter("license_id", "Its id.", IDENTIFIER, where="path", required=True)


async def list_page(request: web.Request) -> web.Response:
    """In the order they came."""
    asked = read_query(request, PARAMETERS)
    wanted, limit, after = filters.LICENSES.filter(asked), asked["limit"], asked.get("after", LOWEST)
    async with reading(request.app[app_keys.POOL]) as connection:
        found = await list_licenses(connection, wanted, now=datetime.now(UTC), after=after, limit=limit + 1)
    return page(request, found, limit, license_item, lambda one: one.license_id)


async def one_license(request: web.Request) -> web.Response:
    read_query(request, ())
    license_id = read_path(request, "license_id")
    async with reading(request.app[app_keys.POOL]) as connection:
        found = await _found(connection, license_id)
        changes = await history.history(connection, Entity.LICENSE, str(license_id), limit=_CHANGES)
    return json_response({**license_item(found), "changes": [change_item(change) for change in changes]})


async def add_license(request: web.Request) -> web.Response:
    read_query(request, ())
    document = await read_object(request)
    by = Author(request[VIEWER].actor, take_text(document, "reason", LONGEST_REASON))
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
    async with translated(), request.app[app_keys.POOL].acquire() as connection:
        hashes = await key_hashes(connection, request.app[app_keys.KEYRING], slug)
        made = await create_license(connection, hashes, key, patch, by=by, now=datetime.now(UTC))
    return json_response(license_item(made), status=201)


async def edit_license(request: web.Request) -> web.Response:
    """A field that isn't there stays as it is, null clears it."""
    read_query(request, ())
    license_id = read_path(request, "license_id")
    document = await read_object(request)
    by = Author(request[VIEWER].actor, take_text(document, "reason", LONGEST_REASON))
    patch, problems = license_patch(document)
    refuse(problems)
    async with translated(), request.app[app_keys.POOL].acquire() as connection:
        await _found(connection, license_id)
        _, now_is = await change_license(connection, license_id, patch, by=by, now=datetime.now(UTC))
    return json_response(license_item(now_is))


async def import_licenses(request: web.Request) -> web.Response:
    """Takes up to 1 MiB of rows, all of the good ones or, with dry_run, none; safe to repeat."""
    asked = read_query(request, IMPORT_PARAMETERS)
    if "product" not in asked:
        raise BadRequest("product is missing: the slug of the product the licenses are for.")
    rows, problems = _rows(await read_body(request), RowFormat(asked["format"]))
    by = Author(request[VIEWER].actor, asked.get("reason"))
    async with translated(), request.app[app_keys.POOL].acquire() as connection:
        hashes = await key_hashes(connection, request.app[app_keys.KEYRING], asked["product"])
        batch = await keep_licenses(
            connection, hashes, rows, by=by, now=datetime.now(UTC), dry_run=asked["dry_run"] == "true"
        )
    never = sum(bool(never_matching(row.patch.addresses or ())) for row in rows)
    return json_response(_imported(batch.rows, problems, never, dry_run=asked["dry_run"] == "true"))


def _rows(body: bytes, form: RowFormat) -> tuple[list[LicenseRow], list[RowProblem]]:
    rows: list[LicenseRow] = []
    problems: list[RowProblem] = []
    for found in LicenseFile(io.BytesIO(body), form):
        if isinstance(found, LicenseRow):
            rows.append(found)
        else:
            problems += found
    return rows, problems


def _imported(kept: list[Kept], unread: list[RowProblem], never: int, *, dry_run: bool) -> dict[str, Any]:
    problems = [*unread, *(row.problem for row in kept if row.problem)]
    counts = Counter(row.outcome for row in kept)
    counts[ChangeOutcome.WRONG] += len({problem.line for problem in unread})
    return {
        "dry_run": dry_run,
        **{outcome.value: counts[outcome] for outcome in ChangeOutcome},
        "never_matching": never,
        "problems": [
            {"line": each.line, "column": each.column, "detail": each.detail}
            for each in sorted(problems, key=attrgetter("line"))
        ],
        "changes": [
            {"line": row.line, "license_id": row.license_id, "before": row.before, "after": row.after}
            for row in kept
            if row.outcome in {ChangeOutcome.NEW, ChangeOutcome.CHANGED}
        ],
    }


async def _found(connection: Connection, license_id: UUID) -> License:
    try:
        return await license_by_id(connection, license_id)
    except NoSuchLicense:
        raise NotFound("There is no license of this id.") from None


def license_item(found: License) -> dict[str, Any]:
    fields = {name: value for name, value in asdict(found).items() if name not in _HIDDEN}
    return fields | {
        "first_day": first_day(found.starts_at, found.time_zone),
        "last_day": last_day(found.expires_at, found.time_zone),
    }


def change_item(change: RegistryChange) -> Mapping[str, Any]:
    return {
        "changed_at": change.changed_at,
        "actor": change.actor,
        "reason": change.reason,
        "before": change.before,
        "after": change.after,
    }


ROUTES = (
    Route(
        "GET",
        "/api/v1/licenses",
        list_page,
        "List licenses",
        Access.PERSON,
        parameters=PARAMETERS,
        answers={200: "Licenses"},
        errors=(BadRequest, Unavailable),
    ),
    Route(
        "GET",
        "/api/v1/licenses/{license_id}",
        one_license,
        "One license with its history",
        Access.PERSON,
        parameters=(_ID,),
        answers={200: "LicenseDetail"},
        errors=(BadRequest, NotFound, Unavailable),
    ),
    Route(
        "POST",
        "/api/v1/licenses",
        add_license,
        "Add a license",
        Access.PERSON,
        Role.ADMIN,
        body="NewLicense",
        answers={201: "License"},
        errors=(BadRequest, Malformed, NoSuchProduct, LicenseExists, TooLarge, Unprocessable, Unavailable),
    ),
    Route(
        "PATCH",
        "/api/v1/licenses/{license_id}",
        edit_license,
        "Change a license",
        Access.PERSON,
        Role.ADMIN,
        parameters=(_ID,),
        body="LicenseChange",
        answers={200: "License"},
        errors=(BadRequest, Malformed, NotFound, WrongLicense, TooLarge, Unavailable),
    ),
    Route(
        "POST",
        "/api/v1/licenses/import",
        import_licenses,
        "Import licenses",
        Access.PERSON,
        Role.ADMIN,
        parameters=IMPORT_PARAMETERS,
        body="LicenseFile",
        answers={200: "LicenseImport"},
        errors=(BadRequest, NoSuchProduct, TooLarge, Unprocessable, Unavailable),
    ),
)
