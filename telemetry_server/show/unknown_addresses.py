"""Addresses that lead nowhere: people get a page with a search box, programs a problem document."""

import functools

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler

from telemetry_server.errors import NotFound, Unavailable
from telemetry_server.routing import HTML
from telemetry_server.show.access.guard import find_viewer
from telemetry_server.show.render import error_page
from telemetry_server.show.viewer import VIEWER


def with_page_for_people(handler: Handler) -> Handler:
    """The handler of unknown addresses, with a page instead of NotFound for who asks for HTML."""

    @functools.wraps(handler)
    async def wrapped(request: web.Request) -> web.StreamResponse:
        try:
            return await handler(request)
        except NotFound as error:
            if request.method not in {"GET", "HEAD"} or HTML not in request.headers.get(hdrs.ACCEPT, ""):
                raise
            try:
                viewer = await find_viewer(request)
            except Unavailable:
                viewer = None
            if viewer is not None:
                request[VIEWER] = viewer
            return error_page(request, error)

    return wrapped
