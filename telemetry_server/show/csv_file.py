"""Rows of a list as a CSV file that no spreadsheet runs."""

import asyncio
import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from typing import Any

from aiohttp import web

from telemetry_server.check.licenses.rows import guarded
from telemetry_server.errors import BadRequest

MOST_ROWS = 100_000


async def csv_file(
    name: str, columns: Sequence[str], rows: Iterable[Mapping[str, Any]], now: datetime
) -> web.Response:
    """The download of the rows; times are in ISO 8601, an empty cell is NULL.

    Written in a thread: a hundred thousand rows take seconds, in which no ping would be answered. Raises
    BadRequest for more than MOST_ROWS: a file without its end looks like a whole one.
    """
    text = await asyncio.to_thread(_written, columns, rows)
    headers = {
        "Content-Disposition": f'attachment; filename="{name}-{now:%Y-%m-%d}.csv"',
        "Cache-Control": "no-store",
        "X-Content-Type-Options": "nosniff",
    }
    return web.Response(text=text, content_type="text/csv", charset="utf-8", headers=headers)


def _written(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> str:
    file = io.StringIO()
    writer = csv.writer(file)
    writer.writerow(columns)
    for number, row in enumerate(rows):
        if number == MOST_ROWS:
            raise BadRequest(f"These are more than {MOST_ROWS:,} rows: narrow them down.")
        writer.writerow([_cell(row[column]) for column in columns])
    return file.getvalue()


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return guarded(value.isoformat() if isinstance(value, date) else str(value))
