"""Rows as text: NDJSON and CSV."""

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any, TypeAlias

import orjson

from telemetry_server.check.rows import guarded

Row: TypeAlias = Mapping[str, Any]


class Format(StrEnum):
    """The forms an export may have."""

    NDJSON = "ndjson"
    CSV = "csv"


def head(form: Format, columns: tuple[str, ...]) -> bytes:
    """What stands before the first row."""
    return _csv_line(columns) if form is Format.CSV else b""


def writer(form: Format, nested: frozenset[str]) -> Callable[[Row], bytes]:
    """Makes a row a line; `nested` are the columns whose values are JSON text already."""
    if form is Format.CSV:
        return lambda row: _csv_line(map(cell, row.values()))
    return lambda row: _json_line(row, nested)


def cell(value: Any) -> str:
    """A value as text in a spreadsheet: never a formula, whoever wrote it.

    What a program would take for the beginning of a formula gets a quote in front.
    """
    match value:
        case None:
            return ""
        case str():
            return guarded(value)
        case bool():
            return "true" if value else "false"
        case int() | float():
            return str(value)
        case datetime():
            return value.isoformat().replace("+00:00", "Z")
    return cell(str(value))


def _csv_line(cells: Iterable[str]) -> bytes:
    """RFC 4180, every cell quoted."""
    quoted = ('"' + text.replace('"', '""') + '"' for text in cells)
    return (",".join(quoted) + "\r\n").encode()


def _json_line(row: Row, nested: frozenset[str]) -> bytes:
    document = {
        name: orjson.Fragment(value) if name in nested and value is not None else value
        for name, value in row.items()
    }
    return orjson.dumps(document, default=str, option=orjson.OPT_UTC_Z | orjson.OPT_APPEND_NEWLINE)
