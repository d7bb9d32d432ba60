"""Links to hand over, and e-mail that announces changes of an account to its person."""

from aiohttp import web

from telemetry_server import app_keys
from telemetry_server.mailer import Mailer

MAILER = web.AppKey("mailer", Mailer)


def address_to(request: web.Request, path: str) -> str:
    """The address of a path, as people reach this server."""
    settings = request.app[app_keys.SETTINGS]
    return f"{settings.base_url}{path}"


def link_to(request: web.Request, path: str, secret: str) -> str:
    """The URL of a page with a token."""
    return f"{request.app[app_keys.SETTINGS].base_url}{path}?token={secret}"


async def announce(request: web.Request, email: str, what: str) -> None:
    """Sends the person what was changed, where SMTP is configured; a failure does not undo the change."""
    text = f"{what}\n\nIf you do not expect this, write to your administrator.\n{_site(request)}\n"
    await request.app[MAILER].send(email, "Your account was changed", text)


def _site(request: web.Request) -> str:
    return request.app[app_keys.SETTINGS].base_url
