"""GET /api/v1/export/…: files, streamed with back-pressure in bounded memory.

Errors are reported before the first byte. A file that breaks off later lacks the last chunk of its transfer,
so no client takes it as complete. HTTP/1.0 has no chunks, and so gets no file.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from aiohttp import HttpVersion11, hdrs, web

from telemetry_server import app_keys
from telemetry_server.check.filters.terms import Filter
from telemetry_server.errors import BadRequest, NotFound, TooManyRequests
from telemetry_server.logs import log
from telemetry_server.permissions import Permission
from telemetry_server.receive.connections import PatientHandler
from telemetry_server.routing import FILE, Parameter, get
from telemetry_server.show.access.guard import NotRecent, is_recent
from telemetry_server.show.filters import FILTERS, LICENSES, chosen_product, filter_from
from telemetry_server.show.query import MOMENT, one_of, read_query, text
from telemetry_server.show.viewer import VIEWER, Viewer
from telemetry_server.store.registry.products import NoSuchProduct
from telemetry_server.store.reports.export import (
    PERSONAL_COLUMNS,
    Form,
    Wanted,
    What,
    export,
    has_personal_columns,
    is_filtered,
)
from telemetry_server.store.reports.parquet import ParquetMissing

STALLED_SECONDS = 60.0
_LOOK_SECONDS = 1.0
_MEDIA_TYPES = {
    Form.NDJSON: "application/x-ndjson",
    Form.CSV: "text/csv; charset=utf-8; header=present",
    Form.PARQUET: "application/vnd.apache.parquet",
}
_LONGEST_LIST = 2_000

_OF_THE_FLEET = [what.value for what in What if what is not What.LICENSES]
_FORMAT = Parameter("format", "What kind of file.", {**one_of(*Form), "default": Form.NDJSON})
_BOM = Parameter(
    "bom",
    "false: CSV for a program, without the byte order mark that Excel needs.",
    one_of("true", "false") | {"default": "true"},
)
_LIST = text() | {"maxLength": _LONGEST_LIST}

PARAMETERS = (
    _FORMAT,
    _BOM,
    *FILTERS,
    Parameter("since", "Received since then.", MOMENT),
    Parameter(
        "columns",
        "Names, separated by commas; all: every column. Default: see docs/reporting.md.",
        _LIST,
    ),
)
LICENSE_PARAMETERS = (
    _FORMAT,
    _BOM,
    *LICENSES.parameters,
    Parameter("since", "Changed since then.", MOMENT),
    Parameter("columns", "Names, separated by commas. Default: all.", _LIST),
)


class Download:
    """The download of a file; its response starts with the first piece."""

    def __init__(self, request: web.Request, name: str, media_type: str) -> None:
        self._request = request
        self._headers = {
            "Content-Type": media_type,
            "Content-Disposition": f'attachment; filename="{name}"',
            "Cache-Control": "no-store",
            "X-Content-Type-Options": "nosniff",
        }
        self._response: web.StreamResponse | None = None

    async def write(self, piece: bytes) -> None:
        """Returns when there is room for more. Raises TimeoutError if the client stops reading."""
        response = await self._begun()
        async with asyncio.timeout(STALLED_SECONDS):
            await response.write(piece)

    async def end(self) -> web.StreamResponse:
        response = await self._begun()
        await response.write_eof()
        return response

    def break_off(self) -> None:
        """Cuts the connection if the response has started, so that no client takes the file as complete."""
        if self._response is not None and self._request.transport is not None:
            self._request.transport.abort()

    @property
    def has_begun(self) -> bool:
        return self._response is not None

    async def _begun(self) -> web.StreamResponse:
        if self._response is None:
            self._response = web.StreamResponse(headers=self._headers)
            await self._response.prepare(self._request)
        return self._response


async def download(request: web.Request) -> web.StreamResponse:
    """Rows of one snapshot, in no particular order."""
    asked, now = read_query(request, PARAMETERS), datetime.now(UTC)
    if (name := request.match_info["what"]) not in _OF_THE_FLEET:
        raise NotFound(f"There is no export of that name; there are {', '.join(What)}.")
    what = What(name)
    # The product is passed apart from the filters: counts have products, too, and take no other filter.
    viewer = request[VIEWER]
    product = _product_of(viewer, asked.get("product"))
    others = {name: value for name, value in asked.items() if name != "product"}
    within = viewer.products if is_filtered(what) else None
    asked_for = filter_from(others, now, within=within, addresses=viewer.may(Permission.ADDRESSES))
    wanted = _wanted(what, asked, asked_for, product)
    if not viewer.may(Permission.ADDRESSES):
        wanted = replace(wanted, without=PERSONAL_COLUMNS)
    elif not is_recent(viewer) and has_personal_columns(wanted):
        raise NotRecent
    return await _download(request, asked, wanted, now)


async def download_licenses(request: web.Request) -> web.StreamResponse:
    """Licenses with their customers, in the columns of an import, without the keys."""
    asked, now = read_query(request, LICENSE_PARAMETERS), datetime.now(UTC)
    wanted = _wanted(What.LICENSES, asked, LICENSES.filter(asked, within=request[VIEWER].products))
    return await _download(request, asked, wanted, now)


def _product_of(viewer: Viewer, asked: str | None) -> str | None:
    """The product to export; people who may see some products name one."""
    if viewer.products is None:
        return asked
    if asked is None and len(viewer.products) != 1:
        raise BadRequest(
            f"Name one of your products: {', '.join(sorted(viewer.products)) or 'you have none'}."
        )
    return chosen_product(asked, viewer.products)


async def _download(
    request: web.Request, asked: Mapping[str, Any], wanted: Wanted, now: datetime
) -> web.StreamResponse:
    if request.version < HttpVersion11:
        raise BadRequest(
            "Use HTTP/1.1 (behind nginx: proxy_http_version 1.1): with HTTP/1.0, a cut file looks complete."
        )
    file = Download(request, f"{wanted.what}-{now:%Y-%m-%d}.{wanted.form}", _MEDIA_TYPES[wanted.form])
    if request.method == hdrs.METH_HEAD:
        return await file.end()
    rows = None
    try:
        async with (
            _while_there(request),
            request.app[app_keys.EXPORTS].connection(request[VIEWER].who) as connection,
        ):
            rows = await export(connection, wanted, file.write, now=now)
    finally:
        if rows is None:
            file.break_off()
        if rows is not None or file.has_begun:
            _note(request, wanted, asked, rows)
    return await file.end()


@asynccontextmanager
async def _while_there(request: web.Request) -> AsyncIterator[None]:
    """Ends the block with TimeoutError soon after the client disconnected, even before the first row.

    A half-closed connection counts as disconnected: before the first row the two cannot be distinguished,
    and a query would run on for no one.
    """
    loop = asyncio.get_running_loop()
    next_look: asyncio.TimerHandle
    async with asyncio.timeout(None) as limit:

        def look() -> None:
            nonlocal next_look
            half_closed = isinstance(request.protocol, PatientHandler) and request.protocol.half_closed
            if request.transport is None or request.transport.is_closing() or half_closed:
                limit.reschedule(loop.time())
            else:
                next_look = loop.call_later(_LOOK_SECONDS, look)

        next_look = loop.call_later(_LOOK_SECONDS, look)
        try:
            yield
        finally:
            next_look.cancel()


def _note(request: web.Request, wanted: Wanted, asked: Mapping[str, Any], rows: int | None) -> None:
    """Logs the export of personal data; `rows` is None if the file broke off.

    Of filters of licenses only the fields: a value may be the end of a key, or an order reference.
    """
    query = dict(asked)
    if wanted.what is What.LICENSES:
        query = {"format": wanted.form, "filter": " ".join(sorted(wanted.filter.fields))}
    log("exported", what=wanted.what, **query, rows=rows, by=request[VIEWER].who)


def _wanted(what: What, asked: Mapping[str, Any], wanted: Filter, product: str | None = None) -> Wanted:
    return Wanted(
        what,
        Form(asked["format"]),
        wanted,
        product,
        asked.get("since"),
        tuple(name for name in asked.get("columns", "").split(",") if name),
        mark=asked["bom"] == "true",
    )


_WHAT = Parameter("what", "What is exported.", one_of(*_OF_THE_FLEET), where="path", required=True)

ROUTES = (
    get(
        "/api/v1/export/licenses",
        download_licenses,
        "Export licenses as a file",
        FILE,
        LICENSE_PARAMETERS,
        permission=Permission.CUSTOMERS,
        step_up=True,
        audited="license",
        errors=(TooManyRequests, ParquetMissing),
    ),
    get(
        "/api/v1/export/{what}",
        download,
        "Export as a file",
        FILE,
        (_WHAT, *PARAMETERS),
        permission=Permission.EXPORT,
        audited="installation",
        errors=(NotFound, NoSuchProduct, TooManyRequests, ParquetMissing),
    ),
)
