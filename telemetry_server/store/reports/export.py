"""What there is as files: CSV, NDJSON and Parquet, streamed as PostgreSQL makes it, however much it is.

Each file holds the rows of one moment, in no order. PostgreSQL writes the lines itself; nothing is held in
memory but what is on its way.
"""

import asyncio
import codecs
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, ClassVar, NamedTuple, TypeAlias

from telemetry_server.check.filters import filter_fields
from telemetry_server.check.filters.filter_fields import Fields
from telemetry_server.check.filters.parser import parse_filter
from telemetry_server.check.filters.terms import EVERYTHING, Filter
from telemetry_server.errors import BadRequest, TooManyRequests
from telemetry_server.model import NONE
from telemetry_server.store.connection_budget import MOST_EXPORTS
from telemetry_server.store.database import Connection, connect, translated
from telemetry_server.store.filtering import LICENSES, NOW, Columns, condition
from telemetry_server.store.queries import fill, load
from telemetry_server.store.registry.products import product_by_slug
from telemetry_server.store.reports import parquet

SQL = load(__name__)

Sink: TypeAlias = Callable[[bytes], Awaitable[None]]

ALL = "all"
_BETWEEN = {"directories": "; "}
_TOLD_IF_EMPTY = {"free_environments"}
"""An import takes an empty cell for what is usual."""
_SECONDS = 3_600
_COME_BACK_SECONDS = 30
_SMALL_PIECE_BYTES, _REST_SECONDS = 65_536, 0.001


class What(StrEnum):
    """What can be exported: a view each; of licenses also what is known of their customers."""

    LICENSES = "licenses"
    INSTALLATIONS = "installations"
    PINGS = "pings"
    CHANGES = "changes"
    INSTALLATION_DAYS = "installation-days"
    FLEET_DAYS = "fleet-days"
    FEATURE_DAYS = "feature-days"
    COHORT_WEEKS = "cohort-weeks"


_STATEMENTS = {
    What.LICENSES: "licenses",
    What.INSTALLATIONS: "installations",
    What.PINGS: "pings",
    What.CHANGES: "changes",
    What.INSTALLATION_DAYS: "installation_days",
    What.FLEET_DAYS: "fleet_days",
    What.FEATURE_DAYS: "feature_days",
    What.COHORT_WEEKS: "cohort_weeks",
}


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
"""What most readers want, and none of it needs states to be read; of everything else, every column."""


class _Filtered(NamedTuple):
    """What an export is filtered by: fields, their columns, and the statement that finds the ids."""

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
"""Counts are of no installation."""
_EXPECTED = {What.INSTALLATIONS: "expected_installations", What.PINGS: "expected_pings"}


class Form(StrEnum):
    """The forms an export may have."""

    NDJSON = "ndjson"
    CSV = "csv"
    PARQUET = "parquet"


class NoSuchColumn(BadRequest):
    """There is no such column to export."""

    exit_code: ClassVar[int] = 2


class NothingToFilter(BadRequest):
    """A filter finds installations; this export has none. Name a product instead."""

    exit_code: ClassVar[int] = 2


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which rows: those that the filter wants, of one product or all, since a moment or ever.

    `columns`: none for the default ones, or "all". `mark`: CSV begins with a byte order mark, without which
    Excel takes its letters for those of Windows-1252.
    """

    what: What
    form: Form = Form.NDJSON
    filter: Filter = EVERYTHING
    product: str | None = None
    since: datetime | None = None
    columns: tuple[str, ...] = ()
    mark: bool = True


def filter_for(what: What, text: str) -> Filter:
    """The filter of such an export that `text` is. Raises BadFilter, or NothingToFilter."""
    return parse_filter(text, _filtered(what).fields) if text else EVERYTHING


async def export(connection: Connection, wanted: Wanted, sink: Sink, *, now: datetime) -> int:
    """Hands the file to `sink`, piece by piece, and gives how many rows it has.

    What cannot be done is raised before the first piece: NoSuchProduct, NoSuchColumn, NothingToFilter,
    BadFilter, ParquetMissing. The connection is for exports alone; where the file breaks off, it is gone.
    """
    if wanted.form is Form.PARQUET:
        parquet.demand()
    await connection.execute(SQL["begin"])
    if wanted.product is not None:
        await product_by_slug(connection, wanted.product)
    rows, values = await _rows(connection, wanted, now)
    columns = await _columns(connection, rows, wanted)
    copying = _Copying(connection, _lines(rows, columns, wanted.form), values)
    match wanted.form:
        case Form.CSV:
            return await copying.csv(_marked(sink) if wanted.mark else sink)
        case Form.PARQUET:
            return await parquet.write(copying.csv, columns, sink)
    return await copying.plain(sink)


async def expected(connection: Connection, wanted: Wanted) -> int | None:
    """A guess at how many rows there are; None where there is none."""
    if wanted.what not in _EXPECTED or wanted.product or wanted.filter.terms:
        return None
    statement = await connection.prepare(SQL[_EXPECTED[wanted.what]])
    [explained] = await statement.explain(wanted.since)
    return int(explained["Plan"]["Plan Rows"])


class Exports:
    """Connections for those who export over HTTP: their own, for that takes long; few at a time, one each."""

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
                    yield connection
                finally:
                    await connection.close(timeout=5)
        finally:
            self._open.remove(who)


# ── rows ────────────────────────────────────────────────────────────────────────────────────


async def _rows(connection: Connection, wanted: Wanted, now: datetime) -> tuple[str, tuple[Any, ...]]:
    """The rows as a query, and its values."""
    name = _STATEMENTS[wanted.what]
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
    """The types of the columns to write, by name. Raises NoSuchColumn."""
    statement = await connection.prepare(rows)
    known = {attribute.name: attribute.type.name for attribute in statement.get_attributes()}
    names = wanted.columns or DEFAULT_COLUMNS.get(wanted.what, (ALL,))
    if names == (ALL,):
        return known
    if unknown := [name for name in names if name not in known]:
        raise NoSuchColumn(f"{wanted.what} has no column {unknown[0]!r:.40}; it has {', '.join(known)}.")
    return {name: known[name] for name in names}


# ── lines ───────────────────────────────────────────────────────────────────────────────────


def _lines(rows: str, columns: dict[str, str], form: Form) -> str:
    """The query whose text is the file's: so flat that each of PostgreSQL's processes makes whole lines."""
    if form is Form.NDJSON:
        chosen = ", ".join(f'r."{name}"' for name in columns)
        return f"SELECT row_to_json(r)::text FROM (SELECT {chosen} FROM ({rows}) AS r) AS r"  # noqa: S608
    cells = ", ".join(_cell(name, type_, form) for name, type_ in columns.items())
    return f"SELECT {cells} FROM ({rows}) AS r"  # noqa: S608  columns of our views


def _cell(name: str, type_: str, form: Form) -> str:
    value = f'r."{name}"'
    if type_.endswith("[]"):
        value = f"array_to_string({value}, '{_BETWEEN.get(name, ' ')}')"
        value = f"coalesce(nullif({value}, ''), '{NONE}')" if name in _TOLD_IF_EMPTY else value
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
    """A query as COPY writes it. COPY takes no parameters: PostgreSQL itself quotes the values into it."""

    connection: Connection
    query: str
    values: tuple[Any, ...]

    async def csv(self, sink: Sink) -> int:
        """Nothing at all is an empty cell; an empty text is quoted."""
        return await self._copy(sink, format="csv", header=True)

    async def plain(self, sink: Sink) -> int:
        """One column as it is: JSON has neither of these characters, so that nothing is quoted."""
        return await self._copy(sink, format="csv", delimiter="\x01", quote="\x02")

    async def _copy(self, sink: Sink, **options: Any) -> int:
        """Where the sink gives up on the last piece, the driver would wait for an end that has been."""

        # PostgreSQL sends 8 KiB at a time, and a piece costs about the same whatever its size: after a small
        # one, the next has a moment to grow. It halves this process's time for each row.
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
