"""The application's resources by name; `app.py` puts them there, handlers take them."""

import asyncpg
from aiohttp import web

from telemetry_server.enrich.place import Atlas
from telemetry_server.keyring import Keyring
from telemetry_server.routing import Route
from telemetry_server.settings import Settings

SETTINGS = web.AppKey("settings", Settings)
KEYRING = web.AppKey("keyring", Keyring)
POOL = web.AppKey("pool", asyncpg.Pool)
ATLAS = web.AppKey("atlas", Atlas)
ROUTES = web.AppKey("routes", tuple[Route, ...])
