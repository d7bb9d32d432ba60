"""Rows of a case as NDJSON and CSV, and what the report counts of them while they are written."""

import csv
import io
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, Self

import orjson

from telemetry_server.check.licenses.rows import guarded
from telemetry_server.investigate.bag import Bag
from telemetry_server.investigate.redaction import Redactor

NO_NOTICE = ""
_SHOWN = 100
_TIME_OF = {"pings": "received_at", "forks": "received_at", "changes": "changed_at"}


_REPORTED = {
    "pings": (
        *("received_at", "installation_id", "sequence", "verdict", "license_status", "license_source"),
        *("service_version", "client_address", "country", "organisation", "privacy_notice_version"),
    ),
    "licenses": ("license_id", "key_hint", "status", "type", "source", "seats", "expires_at", "edition"),
}
"""The columns that the report shows; of other tables all."""


@dataclass(slots=True)
class Span:
    """The rows of one installation: how many, and the first and last day (UTC)."""

    count: int
    first: str
    last: str
    days: set[str] = field(default_factory=set)


@dataclass(slots=True)
class Tally:
    """What was written of a table. `by_day` and `spans`: of rows with a time; `shown`: its first rows."""

    name: str
    columns: Sequence[str]
    count: int = 0
    by_day: Counter[str] = field(default_factory=Counter)
    spans: dict[str, Span] = field(default_factory=dict)
    notices: Counter[str] = field(default_factory=Counter)
    shown: list[list[str]] = field(default_factory=list)

    @property
    def shown_columns(self) -> Sequence[str]:
        """The columns of the rows in `shown`."""
        return [name for name in _REPORTED.get(self.name, self.columns) if name in self.columns]

    def note(self, row: Mapping[str, Any]) -> None:
        """Counts a row."""
        self.count += 1
        if len(self.shown) < _SHOWN:
            self.shown.append([_text(row.get(column)) for column in self.shown_columns])
        if self.name == "pings":
            self.notices[row.get("privacy_notice_version") or NO_NOTICE] += 1
        if (time := _TIME_OF.get(self.name)) is None:
            return
        self.add(str(row["installation_id"]), str(row[time])[:10], 1)

    def add(self, copy: str, day: str, count: int) -> None:
        """Counts rows of an installation on a day."""
        self.by_day[day] += count
        span = self.spans.setdefault(copy, Span(0, day, day))
        span.count, span.first, span.last = span.count + count, min(span.first, day), max(span.last, day)
        span.days.add(day)


class TableWriter:
    """Writes data/rows/NAME.ndjson and data/rows/NAME.csv; a context manager. Blocks.

    `columns` are those of the CSV; NDJSON has the rows as they are. Both are redacted alike.
    """

    def __init__(self, bag: Bag, name: str, columns: Sequence[str], redactor: Redactor) -> None:
        self.tally = Tally(name, columns)
        self._bag, self._redactor = bag, redactor
        self._files = ExitStack()

    def __enter__(self) -> Self:
        path = f"data/rows/{self.tally.name}"
        self._lines = self._files.enter_context(self._bag.file(f"{path}.ndjson"))
        self._cells = self._files.enter_context(self._bag.file(f"{path}.csv"))
        self._cells.write(_csv([self.tally.columns]))
        return self

    def __exit__(self, *_: object) -> None:
        self._files.close()

    def write(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Writes some rows."""
        kept = [self._redactor.row(row) for row in rows]
        written = [[_cell(row.get(column)) for column in self.tally.columns] for row in kept]
        self._lines.write(b"".join(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE) for row in kept))
        self._cells.write(_csv(written))
        for row in kept:
            self.tally.note(row)


def _csv(rows: Iterable[Sequence[str]]) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue().encode()


def _cell(value: Any) -> str:
    return guarded(_text(value))


def _text(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else orjson.dumps(value).decode()
