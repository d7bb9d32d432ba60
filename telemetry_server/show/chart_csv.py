"""The figures of a chart as CSV; text that a spreadsheet would take for a formula is marked as text."""

import csv
import io

from aiohttp import web

from telemetry_server.show.charts_time import TimeChart

_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def chart_csv(chart: TimeChart, name: str) -> web.Response:
    """An answer with a row for each step; an empty cell is not counted."""
    written = io.StringIO()
    writer = csv.writer(written)
    told = ["releases and notes"] if chart.remarks else []
    writer.writerow(["hour" if chart.hourly else "day", *map(_inert, chart.names), *told])
    for start, values in chart.rows:
        remark = [_inert(chart.remarks.get(start, ""))] if told else []
        writer.writerow([chart.when(start), *values, *remark])
    return web.Response(
        text=written.getvalue(),
        content_type="text/csv",
        charset="utf-8",
        headers={"Content-Disposition": f'attachment; filename="{name}.csv"', "Cache-Control": "no-store"},
    )


def _inert(text: str) -> str:
    return f"'{text}" if text.startswith(_FORMULA) else text
