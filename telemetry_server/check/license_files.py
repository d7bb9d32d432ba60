"""A file of licenses, whole: from its bytes to rows that can be kept. Pure but for the file handed in."""

from collections.abc import Iterator
from difflib import get_close_matches

from telemetry_server.check.licenses import CUSTOM, KEY, LICENSE_ID, PARSERS, license_row
from telemetry_server.check.mappings import MAPPINGS, MappingName, WrongCell, left_out, mapped, our_columns
from telemetry_server.check.rows import (
    NAMELESS,
    Cells,
    Readable,
    Row,
    RowFormat,
    RowProblem,
    WrongFile,
    read_rows,
    unguarded,
)
from telemetry_server.model import LicenseRow

TOLD_BY_EXPORTS = frozenset(
    {"product", "simulated", "key_hint", "customer_id", "seats_used", "created_at", "updated_at"}
)
"""Columns of an export that an import cannot take: they are passed over beside license_id."""

KNOWN = frozenset(PARSERS)


class LicenseFile:
    """The rows of a file, each good or with its problems; `left_out` are columns that a mapping ignored."""

    def __init__(self, file: Readable, form: RowFormat, mapping: MappingName | None = None) -> None:
        self._file = file
        self._form = form
        self._mapping = None if mapping is None else MAPPINGS[mapping]
        self.left_out: list[str] = []

    def __iter__(self) -> Iterator[LicenseRow | list[RowProblem]]:
        """Raises WrongFile, before the first good row, where the columns are not what they have to be."""
        seen: frozenset[str] = frozenset()
        for row in read_rows(self._file, self._form):
            if isinstance(row, RowProblem):
                yield [row]
                continue
            if not seen:
                seen = frozenset(row.cells)
                self._look_at(row.cells)
            yield self._row(row)

    def _row(self, row: Row) -> LicenseRow | list[RowProblem]:
        cells = row.cells
        try:
            if self._mapping is not None:
                cells = mapped(self._mapping, cells, KNOWN)
        except WrongCell as wrong:
            return [RowProblem(row.line, wrong.column, str(wrong))]
        if LICENSE_ID in cells:
            cells = {name: cell for name, cell in cells.items() if name not in TOLD_BY_EXPORTS}
            if self._form is RowFormat.CSV:
                cells = {name: unguarded(cell) for name, cell in cells.items()}
        return license_row(row.line, cells)

    def _look_at(self, cells: Cells) -> None:
        """The columns, which all rows of a CSV file have in common."""
        columns = list(cells)
        if self._mapping is not None:
            self.left_out = left_out(self._mapping, cells, KNOWN)
            columns = our_columns(self._mapping, cells)
        if self._form is RowFormat.NDJSON:
            return
        told = TOLD_BY_EXPORTS if LICENSE_ID in columns else frozenset()
        unknown = [name for name in columns if not _is_known(name) and name not in told]
        if unknown and self._mapping is None:
            raise WrongFile(f"There is no column {_with_advice(unknown)}; docs/licenses.md describes them.")
        if (KEY in columns) == (LICENSE_ID in columns):
            raise WrongFile("The head must name key, or in an edited export license_id, and not both.")


def _is_known(name: str) -> bool:
    return name in KNOWN or name.startswith((CUSTOM, NAMELESS.format("")))


def _with_advice(unknown: list[str]) -> str:
    close = {name: get_close_matches(name, KNOWN, n=1) for name in unknown}
    return ", ".join(f"{name} (did you mean {found[0]}?)" if found else name for name, found in close.items())
