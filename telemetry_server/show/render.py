"""Pages: Jinja templates, always escaped, without inline script or style."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

import jinja2
from aiohttp import web
from msgspec.structs import astuple

from telemetry_server import app_keys
from telemetry_server.errors import TelemetryError
from telemetry_server.middleware import when_to_come_back
from telemetry_server.permissions import Permission
from telemetry_server.show import formatting
from telemetry_server.show.chart_axes import short
from telemetry_server.show.charts_small import Seats
from telemetry_server.show.compression import compressed
from telemetry_server.show.frame import rail
from telemetry_server.show.links import link
from telemetry_server.show.saved_views import SAVED_VIEWS
from telemetry_server.show.static_files import static_path
from telemetry_server.show.time_zone import short_time, zone_of
from telemetry_server.show.verdict_groups import GROUPS, group_of
from telemetry_server.show.verdicts import verdict
from telemetry_server.show.viewer import SHARED, VIEWER, Viewer
from telemetry_server.text import written_out
from telemetry_server.version import version

if TYPE_CHECKING:
    from telemetry_server.show.scope import Scope

_HEADINGS = {
    400: "That address is not quite right",
    401: "Please sign in",
    403: "That is not allowed",
    404: "Nothing here",
    503: "Not just now",
}


@dataclass(frozen=True, slots=True)
class SearchBox:
    """The search box of a page: where it leads, what is in it, and what it sends along."""

    path: str
    name: str
    placeholder: str = "Find a copy, key, customer, address…"
    value: str = ""
    problem: str | None = None
    hidden: Sequence[tuple[str, str]] = ()


def page(
    request: web.Request,
    template: str,
    *,
    status: int = 200,
    scope: "Scope | None" = None,
    scope_time: bool | Literal["range"] = False,
    search: SearchBox | None = None,
    **context: Any,
) -> web.Response:
    """The rendered template in the frame of all pages.

    With a `scope`, its links carry it, and the bar has its product; with `scope_time` also its time, of which
    "range" leaves out comparison and step.
    `context` is extended by those of the frame: now, path, saved_as (the path with its query), shared,
    viewer (None: not signed in), zone, rail, version.
    """
    viewer = request.get(VIEWER)
    body = (
        _environment()
        .get_template(template)
        .render(
            now=datetime.now(UTC),
            path=request.path,
            saved_as=request.path_qs,
            shared=request.get(SHARED, ""),
            viewer=viewer,
            version=version(),
            zone=zone_of(request),
            scope=scope,
            scope_time=scope_time,
            search=search or _search_box(viewer, scope),
            **_frame(request, viewer, scope),
            **context,
        )
    )
    answer = web.Response(
        text=body, status=status, content_type="text/html", headers={"Cache-Control": "no-store"}
    )
    return compressed(request, answer)


def fragment(request: web.Request, template: str, **context: Any) -> str:
    """A part of a page, for a stream; `context` is extended by now and zone."""
    rendered = _environment().get_template(template)
    return rendered.render(now=datetime.now(UTC), zone=zone_of(request), **context)


def document(template: str, **context: Any) -> str:
    """A file of its own, outside of the frame of the pages."""
    return _environment().get_template(template).render(**context)


def _frame(request: web.Request, viewer: Viewer | None, scope: "Scope | None") -> dict[str, Any]:
    if viewer is None:
        return {"rail": (), "shortcuts": False, "all_products": False}
    linked, routes = scope.link if scope else link, request.app[app_keys.ROUTES]
    return {
        "rail": rail(routes, viewer, request.path_qs, linked, request.get(SAVED_VIEWS, ())),
        "shortcuts": viewer.person is None or viewer.person.shortcuts,
        "all_products": viewer.products is None,
    }


def _search_box(viewer: Viewer | None, scope: "Scope | None") -> SearchBox | None:
    """Searches everything, within the scope; None for who may not search."""
    if viewer is None or not viewer.may(Permission.INSTALLATIONS):
        return None
    return SearchBox("/search", "q", hidden=scope.hidden("filter") if scope else ())


def error_page(request: web.Request, error: TelemetryError) -> web.Response:
    """The error as a page."""
    heading = _HEADINGS.get(error.status, "That did not work")
    answer = page(request, "error.html", status=error.status, heading=heading, detail=error.detail)
    answer.headers.update(when_to_come_back(error))
    return answer


def attributions(request: web.Request) -> Sequence[tuple[str, str]]:
    """The attributions to be shown beside places: text and URL each."""
    return request.app[app_keys.ATLAS].attributions


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
    environment.globals.update(
        static_path=static_path,
        link=link,
        share=formatting.share,
        percent=formatting.percent,
        short_time=short_time,
        group_of=group_of,
        GROUPS=GROUPS,
        seats_bar=Seats,
    )
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
    environment.filters["short"] = short
    environment.filters["verdict"] = verdict
    environment.filters["values"] = astuple
    return environment
