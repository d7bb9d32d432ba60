"""The import of a license file: first a dry run as a table of differences, then the import itself.

Between the two steps the file is in the page, in Base64: the server keeps no license keys.
"""

import asyncio
import io
from base64 import b64decode, b64encode
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from aiohttp import web
from msgspec import Struct

from telemetry_server import app_keys
from telemetry_server.check.licenses.files import LicenseFile
from telemetry_server.check.licenses.mappings import MappingName
from telemetry_server.check.licenses.rows import RowFormat, RowProblem, WrongFile
from telemetry_server.enrich.verdict import never_matching
from telemetry_server.errors import BadRequest, Malformed, TooLarge
from telemetry_server.model import LicenseRow
from telemetry_server.permissions import Permission
from telemetry_server.routing import HTML, Route, get
from telemetry_server.show.access.forms import UPLOADED, UploadedFile, read_form
from telemetry_server.show.access.sign_in import FORM_ERRORS
from telemetry_server.show.api.licenses import refuse_customers, refuse_foreign
from telemetry_server.show.differences import Difference, differences
from telemetry_server.show.query import read_query
from telemetry_server.show.recorded_views import author
from telemetry_server.show.registry_forms import Steps, reason_of
from telemetry_server.show.render import page
from telemetry_server.show.viewer import VIEWER
from telemetry_server.store.database import translated
from telemetry_server.store.fleet import installations
from telemetry_server.store.registry.history import ChangeOutcome
from telemetry_server.store.registry.license_changes import keep_licenses
from telemetry_server.store.registry.license_plan import Batch, Kept, hint_of
from telemetry_server.store.registry.licenses import key_hashes
from telemetry_server.store.registry.products import NoSuchProduct

LARGEST_FILE = 700 * 1024
_SHOWN = 200
_NDJSON = (".ndjson", ".jsonl")


class LicenseUpload(Struct):
    """The form of an import; the file is a part of it, or in the page before, `content` in Base64."""

    csrf_token: str
    product: str
    mapping: str = ""
    enforce_addresses: str = ""
    reason: str = ""
    step: str = Steps.PREVIEW.value
    name: str = ""
    content: str = ""


@dataclass(frozen=True, slots=True)
class ReadFile:
    """The rows of a file, its problems, its columns that are left out, its rows that no copy can match."""

    rows: list[LicenseRow]
    problems: list[RowProblem]
    left_out: list[str]
    never_matching: int


@dataclass(frozen=True, slots=True)
class ShownRow:
    """A row that adds or changes a license."""

    line: int
    outcome: str
    license_id: str | None
    hint: str
    differences: Sequence[Difference]


async def upload_form(request: web.Request) -> web.Response:
    read_query(request, ())
    return await _page(request, {})


async def import_file(request: web.Request) -> web.Response:
    """A dry run; with `step=save`, the import of the rows without problems, in one transaction."""
    form, viewer, now = await read_form(request), request[VIEWER], datetime.now(UTC)
    try:
        file = _file_of(request, form)
        slug, reason = form.get("product", ""), reason_of(form)
        refuse_foreign(viewer, slug)
        async with translated(), request.app[app_keys.POOL].acquire() as connection:
            hashes = await key_hashes(connection, request.app[app_keys.KEYRING], slug)
            read = await asyncio.to_thread(_read, file, form, hashes.product.time_zone)
            refuse_customers(viewer, [row.patch for row in read.rows])
            by, saves = author(request, reason), form.get("step") == Steps.SAVE
            batch = await keep_licenses(connection, hashes, read.rows, by=by, now=now, dry_run=not saves)
    except (WrongFile, TooLarge) as wrong:
        return await _page(request, form, problem=wrong.detail)
    zone = hashes.product.time_zone
    return await _page(
        request,
        form,
        file=file,
        content=b64encode(file.content).decode(),
        saved=saves,
        read=read,
        **_outcome(read, batch, zone),
    )


def _outcome(read: ReadFile, batch: Batch, zone: str) -> dict[str, Any]:
    problems = [*read.problems, *(row.problem for row in batch.rows if row.problem)]
    counts = Counter(row.outcome.value for row in batch.rows if not row.problem)
    hints = {row.line: hint_of(row.key) for row in read.rows if row.key is not None}
    names = {each.uuid: each.fields for each in batch.customers if each.was is None}
    changed = [row for row in batch.rows if row.outcome in {ChangeOutcome.NEW, ChangeOutcome.CHANGED}]
    return {
        "counts": {outcome.value: counts[outcome.value] for outcome in ChangeOutcome},
        "wrong": len({problem.line for problem in problems}),
        "problems": sorted(problems, key=lambda each: each.line)[:_SHOWN],
        "rows": [_shown(row, hints, names, zone) for row in changed[:_SHOWN]],
        "more_rows": max(len(changed) - _SHOWN, 0),
        "new_customers": sum(each.was is None for each in batch.customers),
        "changed_customers": sum(each.outcome is ChangeOutcome.CHANGED for each in batch.customers),
    }


def _shown(row: Kept, hints: Mapping[int, str], new_customers: Mapping[Any, Any], zone: str) -> ShownRow:
    after = dict(row.after)
    if after.get("customer_id") in new_customers:  # of a dry run: that id is stored nowhere
        after["customer_id"] = "a new one"
    known = None if row.outcome is ChangeOutcome.NEW else str(row.license_id)
    return ShownRow(
        row.line, row.outcome.value, known, hints.get(row.line, ""), differences(row.before, after, zone)
    )


def _file_of(request: web.Request, form: Mapping[str, str]) -> UploadedFile:
    """The uploaded file, or that of the page before. Raises BadRequest."""
    file: UploadedFile | None = request.get(UPLOADED)
    if file is None and "content" in form:
        try:
            file = UploadedFile(form.get("name", ""), b64decode(form["content"], validate=True))
        except ValueError:  # not base64, or not even ASCII
            raise Malformed("The file of the page before is damaged; choose it again.") from None
    if file is None:
        raise WrongFile("Choose a file.")
    if len(file.content) > LARGEST_FILE:
        limit = f"{LARGEST_FILE // 1024} KiB"
        raise TooLarge(f"A file may take {limit} here; telemetry-server license import takes any size.")
    return file


def _read(file: UploadedFile, form: Mapping[str, str], time_zone: str) -> ReadFile:
    mapping = form.get("mapping")
    if mapping and mapping not in set(MappingName):
        raise BadRequest("mapping must be the name of a system, or empty.")
    source = LicenseFile(
        io.BytesIO(file.content),
        RowFormat.NDJSON if file.name.lower().endswith(_NDJSON) else RowFormat.CSV,
        MappingName(mapping) if mapping else None,
        today=datetime.now(ZoneInfo(time_zone)).date(),
        enforce_addresses="enforce_addresses" in form,
    )
    rows: list[LicenseRow] = []
    problems: list[RowProblem] = []
    for found in source:
        if isinstance(found, LicenseRow):
            rows.append(found)
        else:
            problems += found
    never = sum(bool(never_matching(row.patch.addresses or ())) for row in rows)
    return ReadFile(rows, problems, source.left_out, never)


async def _page(
    request: web.Request, form: Mapping[str, str], *, problem: str | None = None, **result: Any
) -> web.Response:
    products = await installations.product_names(request.app[app_keys.POOL])
    return page(
        request,
        "license_upload.html",
        status=422 if problem else 200,
        problem=problem,
        form=form,
        result=result,
        mappings=[name.value for name in MappingName],
        products=[each for each in products if request[VIEWER].sees(each["slug"])],
        largest=f"{LARGEST_FILE // 1024} KiB",
    )


ROUTES = (
    get(
        "/licenses/import",
        upload_form,
        "Form to import a license file",
        HTML,
        permission=Permission.LICENSES_CHANGE,
        audited="license",
    ),
    Route(
        "POST",
        "/licenses/import",
        import_file,
        "Import a license file, by a form",
        permission=Permission.LICENSES_CHANGE,
        page=True,
        files=True,
        audited="license",
        body=LicenseUpload,
        answers={200: HTML, 422: HTML},
        errors=(*FORM_ERRORS, NoSuchProduct),
    ),
)
