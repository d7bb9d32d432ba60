"""A whole file of licenses: from its bytes to rows that can be stored. Pure but for the file handed in."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from difflib import get_close_matches

from telemetry_server.check.licenses.columns import CUSTOM, KEY, LICENSE_ID, PARSERS, license_row
from telemetry_server.check.licenses.leftovers import cleaned
from telemetry_server.check.licenses.mappings import (
    MAPPINGS,
    Asked,
    MappingName,
    WrongCell,
    left_out,
    mapped,
    our_columns,
)
from telemetry_server.check.licenses.rows import (
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

ONLY_IN_EXPORTS = frozenset(
    {
        *("product", "simulated", "key_hint", "customer_id", "seats_used", "created_at", "updated_at"),
        *("first_day", "last_day", "over_since"),
    }
)
"""Columns of an export that an import cannot take: they are ignored in a file with license_id."""

KNOWN = frozenset(PARSERS)

ENOUGH_COLUMNS = 2
"""Number of columns known only to another system from which a file is taken for one of that system."""


class LicenseFile:
    """The rows of a file, each valid or with its problems; `left_out` are the columns that a mapping ignored.

    A mapping needs `today`; with `enforce_addresses`, the networks of the other system are enforced.
    """

    def __init__(
        self,
        file: Readable,
        form: RowFormat,
        mapping: MappingName | None = None,
        *,
        today: date = date.max,
        enforce_addresses: bool = False,
    ) -> None:
        self._file = file
        self._form = form
        self._mapping = None if mapping is None else MAPPINGS[mapping]
        self._asked = Asked(today, enforce_addresses)
        self.left_out: list[str] = []

    def __iter__(self) -> Iterator[LicenseRow | list[RowProblem]]:
        """Raises WrongFile, before the first valid row, if the columns are wrong."""
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
        cells, follows = row.cells, False
        if self._form is RowFormat.CSV and self._mapping is None:
            cells = {_our_name(name): cell for name, cell in cells.items()}
        if LICENSE_ID in cells:
            cells = {name: cell for name, cell in cells.items() if name not in ONLY_IN_EXPORTS}
            if self._form is RowFormat.CSV:
                cells = {name: unguarded(cell) for name, cell in cells.items()}
        elif self._form is RowFormat.CSV:
            cells, problems = _cleaned(row.line, cells)
            if problems:
                return problems
        try:
            if self._mapping is not None:
                cells, follows = mapped(self._mapping, cells, KNOWN, self._asked)
        except WrongCell as wrong:
            return [RowProblem(row.line, wrong.column, str(wrong))]
        found = license_row(row.line, cells)
        return replace(found, follows=True) if follows and isinstance(found, LicenseRow) else found

    def _look_at(self, cells: Cells) -> None:
        """Checks the columns, which all rows of a CSV file share."""
        columns = [_our_name(name) for name in cells]
        if self._mapping is not None:
            self.left_out = left_out(self._mapping, cells, KNOWN)
            columns = our_columns(self._mapping, cells)
        if self._form is RowFormat.NDJSON:
            return
        ignored = ONLY_IN_EXPORTS if LICENSE_ID in columns else frozenset()
        unknown = [name for name in columns if not _is_known(name) and name not in ignored]
        if unknown and self._mapping is None:
            raise WrongFile(f"There is no column {_with_advice(unknown)}; {_where_to_look(columns)}")
        if (KEY in columns) == (LICENSE_ID in columns):
            raise WrongFile("The head must name key, or in an edited export license_id, and not both.")


def _our_name(name: str) -> str:
    """The canonical name of a column, in lower case; names of custom fields keep their case."""
    if name.startswith(NAMELESS.format("")):
        return name
    prefix, dot, own = name.partition(".")
    return f"{CUSTOM}{own}" if dot and prefix.lower() == "custom" else name.lower().replace(" ", "_")


def _cleaned(line: int, cells: Cells) -> tuple[Cells, list[RowProblem]]:
    """The cells without artefacts of spreadsheets and databases, and the cells that lost their values."""
    clean: Cells = {}
    problems: list[RowProblem] = []
    for name, cell in cells.items():
        try:
            clean[name] = cleaned(cell)
        except ValueError as error:
            problems.append(RowProblem(line, name, str(error)))
    return clean, problems


def _is_known(name: str) -> bool:
    return name in KNOWN or name.startswith((CUSTOM, NAMELESS.format("")))


def _where_to_look(columns: list[str]) -> str:
    for name, mapping in MAPPINGS.items():
        if sum(column in mapping.columns and not _is_known(column) for column in columns) >= ENOUGH_COLUMNS:
            return f"if the file is from {name.value}, import it with --mapping {name.value}."
    return "docs/licenses.md describes the columns."


def _with_advice(unknown: list[str]) -> str:
    close = {
        # `license_key` and the like mean `key`, and are more similar to `license_id`.
        name: [KEY] if name.endswith(KEY) else get_close_matches(name, KNOWN - {LICENSE_ID}, n=1)
        for name in unknown
    }
    return ", ".join(f"{name} (did you mean {found[0]}?)" if found else name for name, found in close.items())
