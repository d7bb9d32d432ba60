"""Links to hand over, and e-mail that announces changes of an account to its person."""

import asyncio

from aiohttp import web

from telemetry_server import app_keys
from telemetry_server.mailer import Mailer
from telemetry_server.model import Role
from telemetry_server.store.access.people import addresses_with_role

MAILER = web.AppKey("mailer", Mailer)


def address_to(request: web.Request, path: str) -> str:
    """The URL of a path: where the person who sends this request reaches the server."""
    site = request.app[app_keys.SETTINGS].public_url or f"http://{request.host}"
    return f"{site}{path}"


def link_to(request: web.Request, path: str, secret: str) -> str:
    """The URL of a page with a token."""
    return address_to(request, f"{path}?token={secret}")


async def announce(request: web.Request, email: str, what: str) -> None:
    """Sends the person what was changed, where SMTP is configured; a failure does not undo the change."""
    text = f"{what}\n\nIf you do not expect this, write to your administrator.\n{_site(request)}\n"
    await request.app[MAILER].send(email, "Your account was changed", text)


async def alert_administrators(request: web.Request, what: str) -> None:
    """Sends each administrator what somebody did without an account, where SMTP is configured."""
    mailer, text = request.app[MAILER], f"{what}\n\nThe audit log has the entry.\n{_site(request)}\n"
    if mailer.is_configured:
        to = await addresses_with_role(request.app[app_keys.POOL], Role.ADMIN)
        await asyncio.gather(*(mailer.send(each, "A one-time link was used", text) for each in to))


def _site(request: web.Request) -> str:
    return request.app[app_keys.SETTINGS].base_url
