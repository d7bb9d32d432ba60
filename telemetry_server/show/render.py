"""Pages: Jinja templates, always escaped, without inline script or style."""

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cache
from typing import Any
from urllib.parse import urlencode

import jinja2
from aiohttp import web
from msgspec.structs import astuple

from telemetry_server import app_keys
from telemetry_server.errors import TelemetryError
from telemetry_server.middleware import when_to_come_back
from telemetry_server.show import formatting
from telemetry_server.show.charts import stack
from telemetry_server.show.static_files import static_path
from telemetry_server.show.verdicts import verdict
from telemetry_server.show.viewer import VIEWER
from telemetry_server.text import written_out
from telemetry_server.version import version

_HEADINGS = {
    400: "That address is not quite right",
    401: "Please sign in",
    403: "That is not allowed",
    404: "Nothing here",
    503: "Not just now",
}


def page(request: web.Request, template: str, *, status: int = 200, **context: Any) -> web.Response:
    """The rendered template; `context` is extended by now, path, version and viewer (None: not signed in)."""
    body = (
        _environment()
        .get_template(template)
        .render(
            now=datetime.now(UTC),
            path=request.path,
            viewer=request.get(VIEWER),
            version=version(),
            **context,
        )
    )
    return web.Response(
        text=body, status=status, content_type="text/html", headers={"Cache-Control": "no-store"}
    )


def error_page(request: web.Request, error: TelemetryError) -> web.Response:
    """The error as a page."""
    heading = _HEADINGS.get(error.status, "That did not work")
    answer = page(request, "error.html", status=error.status, heading=heading, detail=error.detail)
    answer.headers.update(when_to_come_back(error))
    return answer


def attributions(request: web.Request) -> Sequence[tuple[str, str]]:
    """The attributions to be shown beside places: text and URL each."""
    return request.app[app_keys.ATLAS].attributions


def link(path: str, **parameters: Any) -> str:
    """`path` with a query of the parameters that are not empty."""
    query = urlencode({name: value for name, value in parameters.items() if value not in {None, ""}})
    return f"{path}?{query}" if query else path


def _without_steering(value: object) -> object:
    """Query parameters are shown on pages, too, and are not checked elsewhere."""
    return written_out(value, lines=True) if type(value) is str else value


def compile_templates() -> None:
    """Compiles all templates, so that no page waits for it."""
    for name in _environment().list_templates():
        _environment().get_template(name)


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("telemetry_server.show"),
        autoescape=True,
        finalize=_without_steering,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(static_path=static_path, link=link, share=formatting.share, stack=stack)
    for name in (
        "number",
        "plural",
        "stamp",
        "until",
        "day",
        "ago",
        "span",
        "inert",
        "short_id",
        "country",
        "approximate",
        "numbers",
    ):
        environment.filters[name] = getattr(formatting, name)
    environment.filters["verdict"] = verdict
    environment.filters["values"] = astuple
    return environment
