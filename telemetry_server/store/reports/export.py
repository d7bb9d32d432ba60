"""Exports as CSV, NDJSON and Parquet, streamed from PostgreSQL, in bounded memory for any number of rows.

Each file has the rows of one moment, in no order. PostgreSQL writes the lines itself.
"""

import asyncio
import codecs
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, NamedTuple

from telemetry_server.check.filters import filter_fields
from telemetry_server.check.filters.filter_fields import Fields
from telemetry_server.check.filters.parser import parse_filter
from telemetry_server.check.filters.terms import EVERYTHING, Filter
from telemetry_server.errors import BadRequest, TooManyRequests
from telemetry_server.model import NONE
from telemetry_server.store.connection_budget import MOST_EXPORTS
from telemetry_server.store.database import Connection, connect, translated
from telemetry_server.store.distribution import has_citus
from telemetry_server.store.filtering import LICENSES, NOW, Columns, condition
from telemetry_server.store.queries import fill, load
from telemetry_server.store.registry.products import product_by_slug
from telemetry_server.store.reports import parquet
from telemetry_server.store.reports.parquet import Sink
from telemetry_server.store.visible import show_what_may_be_seen

SQL = load(__name__)

ALL = "all"
_SEPARATORS = {"directories": "; "}
_NONE_IF_EMPTY = {"free_environments"}
"""For an import, an empty cell means the default."""
_SECONDS = 3_600
_COME_BACK_SECONDS = 30
_SMALL_PIECE_BYTES, _REST_SECONDS = 65_536, 0.001


class What(StrEnum):
    """The exports: one view each; licenses with the data of their customers."""

    LICENSES = "licenses"
    INSTALLATIONS = "installations"
    PINGS = "pings"
    CHANGES = "changes"
    INSTALLATION_DAYS = "installation-days"
    FLEET_DAYS = "fleet-days"
    FEATURE_DAYS = "feature-days"
    COHORT_WEEKS = "cohort-weeks"


DEFAULT_COLUMNS: Mapping[What, tuple[str, ...]] = {
    What.INSTALLATIONS: (
        *("installation_id", "product", "simulated", "first_received_at", "last_received_at"),
        *("client_address", "license_status", "license_source", "license_edition", "service_version"),
        *("service_environment", "os_name", "virtualization_vm", "virtualization_container"),
        *("virtualization_cloud", "country", "asn", "hosting", "verdict", "claim_mismatch"),
        *("source_mismatch", "judged_at", "license_id", "life"),
    ),
    What.PINGS: (
        *("received_at", "installation_id", "product", "simulated", "sequence", "ping_id"),
        *("occurred_at", "time_suspect", "client_address", "reason", "features", "verdict"),
        *("claim_mismatch", "source_mismatch"),
    ),
}
"""The most useful columns, for which states are not read; other exports have all columns by default."""


PERSONAL_COLUMNS = frozenset({"client_address", "hostname"})
"""Of installations and pings."""


class _Filtered(NamedTuple):
    """How an export is filtered: fields, their columns, the statement that finds ids, the id's column."""

    fields: Fields
    columns: Columns
    statement: str
    id: str


_BY_LICENSE = _Filtered(filter_fields.LICENSES, LICENSES, "wanted_licenses", "license_id")
_BY_INSTALLATION = _Filtered(filter_fields.INSTALLATIONS, NOW, "wanted_installations", "installation_id")
_FILTERED = {
    What.LICENSES: _BY_LICENSE,
    **dict.fromkeys((What.INSTALLATIONS, What.PINGS, What.CHANGES, What.INSTALLATION_DAYS), _BY_INSTALLATION),
}
"""Counts have no installation and cannot be filtered."""
_EXPECTED = {What.INSTALLATIONS: "expected_installations", What.PINGS: "expected_pings"}


class Form(StrEnum):
    """The formats of an export."""

    NDJSON = "ndjson"
    CSV = "csv"
    PARQUET = "parquet"


class NoSuchColumn(BadRequest):
    """There is no such column to export."""

    exit_code = 2


class NothingToFilter(BadRequest):
    """A filter finds installations; this export has none. Name a product instead."""

    exit_code = 2


@dataclass(frozen=True, slots=True)
class Wanted:
    """The rows of an export: by filter, of one product or all, since a moment or from the beginning.

    `columns`: empty for the default ones, or "all". `mark`: CSV begins with a byte order mark, without which
    Excel decodes it as Windows-1252. `without`: columns that do not exist for who asks.
    """

    what: What
    form: Form = Form.NDJSON
    filter: Filter = EVERYTHING
    product: str | None = None
    since: datetime | None = None
    columns: tuple[str, ...] = ()
    mark: bool = True
    without: frozenset[str] = frozenset()


def has_personal_columns(wanted: Wanted) -> bool:
    """Whether the file may have full addresses: in columns of their own, or as what changed."""
    if wanted.what is What.CHANGES:
        return True
    names = wanted.columns or DEFAULT_COLUMNS.get(wanted.what, (ALL,))
    return wanted.what in _FILTERED and (names == (ALL,) or not PERSONAL_COLUMNS.isdisjoint(names))


def is_filtered(what: What) -> bool:
    """Whether the export takes a filter; counts take a product only."""
    return what in _FILTERED


def filter_for(what: What, text: str) -> Filter:
    """Parses the filter of an export. Raises BadFilter, or NothingToFilter."""
    return parse_filter(text, _filtered(what).fields) if text else EVERYTHING


async def export(connection: Connection, wanted: Wanted, sink: Sink, *, now: datetime) -> int:
    """Writes the file to `sink`, piece by piece, and returns the number of rows.

    Raises NoSuchProduct, NoSuchColumn, NothingToFilter, BadFilter or ParquetMissing before the first piece.
    The connection is for exports only; it is terminated if the file is not completed.
    """
    if wanted.form is Form.PARQUET:
        parquet.demand()
    await connection.execute(SQL["begin"])
    if wanted.product is not None:
        await product_by_slug(connection, wanted.product)
    rows, values = await _rows(connection, wanted, now)
    columns = await _columns(connection, rows, wanted)
    apart = " OFFSET 0" if await has_citus(connection) else ""
    copying = _Copying(connection, _lines(rows, columns, wanted.form, apart), values)
    match wanted.form:
        case Form.CSV:
            return await copying.csv(_marked(sink) if wanted.mark else sink)
        case Form.PARQUET:
            return await parquet.write(copying.csv, columns, sink)
    return await copying.plain(sink)


async def expected(connection: Connection, wanted: Wanted) -> int | None:
    """An estimate of the number of rows; None if there is none."""
    if wanted.what not in _EXPECTED or wanted.product or wanted.filter.terms:
        return None
    statement = await connection.prepare(SQL[_EXPECTED[wanted.what]])
    [explained] = await statement.explain(wanted.since)
    return int(explained["Plan"]["Plan Rows"])


class Exports:
    """Connections for exports over HTTP, apart from others as they take long: one per user, few in all."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._open: set[str] = set()

    @asynccontextmanager
    async def connection(self, who: str) -> AsyncIterator[Connection]:
        """Raises TooManyRequests, or Unavailable where PostgreSQL is away."""
        if who in self._open:
            raise TooManyRequests(
                "An export of yours is running; wait for it to end.", retry_after=_COME_BACK_SECONDS
            )
        if len(self._open) == MOST_EXPORTS:
            raise TooManyRequests(
                f"{MOST_EXPORTS} exports are running; wait for one to end.", retry_after=_COME_BACK_SECONDS
            )
        self._open.add(who)
        try:
            async with translated():
                connection = await connect(self._dsn)
                try:
                    await show_what_may_be_seen(connection)
                    yield connection
                finally:
                    await connection.close(timeout=5)
        finally:
            self._open.remove(who)


# ── rows ────────────────────────────────────────────────────────────────────────────────────


async def _rows(connection: Connection, wanted: Wanted, now: datetime) -> tuple[str, tuple[Any, ...]]:
    """The rows as a query, and its values."""
    name = wanted.what.replace("-", "_")
    if wanted.what is What.CHANGES and "client_address" in wanted.without:
        name = "changes_but_addresses"
    values: tuple[Any, ...] = (wanted.product, wanted.since)
    if not wanted.filter.terms:
        return fill(_within(name), wanted="TRUE"), values
    by = _filtered(wanted.what)
    asked = await condition(connection, wanted.filter, by.columns, now=now, first=len(values) + 1)
    ids = fill(_within(by.statement), filter=asked.sql)
    return fill(_within(name), wanted=f"v.{by.id} IN ({ids})"), values + asked.values


def _filtered(what: What) -> _Filtered:
    if what not in _FILTERED:
        raise NothingToFilter(f"A filter finds installations, and {what} has none. Name a product instead.")
    return _FILTERED[what]


def _within(name: str) -> str:
    return SQL[name].removesuffix(";")


async def _columns(connection: Connection, rows: str, wanted: Wanted) -> dict[str, str]:
    """The types of the columns to export by name. Raises NoSuchColumn."""
    statement = await connection.prepare(rows)
    known = {
        attribute.name: attribute.type.name
        for attribute in statement.get_attributes()
        if attribute.name not in wanted.without
    }
    names = wanted.columns or DEFAULT_COLUMNS.get(wanted.what, (ALL,))
    if names == (ALL,):
        return known
    if not wanted.columns:
        names = tuple(name for name in names if name not in wanted.without)
    if unknown := [name for name in names if name not in known]:
        raise NoSuchColumn(f"{wanted.what} has no column {unknown[0]!r:.40}; it has {', '.join(known)}.")
    return {name: known[name] for name in names}


# ── lines ───────────────────────────────────────────────────────────────────────────────────


def _lines(rows: str, columns: dict[str, str], form: Form, apart: str = "") -> str:
    """The query whose output is the file: flat, so that parallel workers of PostgreSQL build whole lines.

    `apart` ends the query of the rows: of one that is not kept apart, Citus loses the names of the columns.
    """
    if form is Form.NDJSON:
        chosen = ", ".join(f'r."{name}"' for name in columns)
        return f"SELECT row_to_json(r)::text FROM (SELECT {chosen} FROM ({rows}) AS r{apart}) AS r"  # noqa: S608
    cells = ", ".join(_cell(name, type_, form) for name, type_ in columns.items())
    return f"SELECT {cells} FROM ({rows}) AS r"  # noqa: S608  columns of our views


def _cell(name: str, type_: str, form: Form) -> str:
    value = f'r."{name}"'
    if type_.endswith("[]"):
        value = f"array_to_string({value}, '{_SEPARATORS.get(name, ' ')}')"
        value = f"coalesce(nullif({value}, ''), '{NONE}')" if name in _NONE_IF_EMPTY else value
    elif type_ in {"bool", "jsonb"}:
        value += "::text"
    if form is Form.CSV and (type_ in {"text", "jsonb"} or type_.endswith("[]")):
        value = f"spreadsheet_text({value})"
    return f'{value} AS "{name}"'


def _marked(sink: Sink) -> Sink:
    """A sink whose first piece begins with a byte order mark."""
    mark = codecs.BOM_UTF8

    async def write(piece: bytes) -> None:
        nonlocal mark
        await sink(mark + piece)
        mark = b""

    return write


@dataclass(frozen=True, slots=True)
class _Copying:
    """A query as the output of COPY, which has no parameters: PostgreSQL quotes the values into the query."""

    connection: Connection
    query: str
    values: tuple[Any, ...]

    async def csv(self, sink: Sink) -> int:
        """NULL is an empty cell; an empty text is quoted."""
        return await self._copy(sink, format="csv", header=True)

    async def plain(self, sink: Sink) -> int:
        """One column without quotes: JSON has neither of these control characters."""
        return await self._copy(sink, format="csv", delimiter="\x01", quote="\x02")

    async def _copy(self, sink: Sink, **options: Any) -> int:
        """Terminates the connection on errors: after one on the last piece the driver would wait for ever."""

        # PostgreSQL sends 8 KiB at a time, and the cost of a piece hardly depends on its size: after a small
        # one, the next has a moment to grow. That halves the time per row in this process.
        async def take(piece: bytes) -> None:
            await sink(piece)
            if len(piece) < _SMALL_PIECE_BYTES:
                await asyncio.sleep(_REST_SECONDS)

        status = ""
        try:
            status = await self.connection.copy_from_query(
                self.query, *self.values, output=take, timeout=_SECONDS, **options
            )
        finally:
            if not status:
                self.connection.terminate()
        return int(status.rpartition(" ")[2])
