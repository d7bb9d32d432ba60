"""The keys of the application's resources, which `app.py` sets and handlers read."""

import asyncio
from collections.abc import Awaitable, Callable

from aiohttp import web

from telemetry_server.enrich.places.place import Atlas
from telemetry_server.keyring import Keyring
from telemetry_server.readiness import Check
from telemetry_server.routing import Route
from telemetry_server.settings import Settings
from telemetry_server.store.access.keyring_check import KeyringWatch
from telemetry_server.store.database import Pool
from telemetry_server.store.ingest.writer import GroupWriter
from telemetry_server.store.reports.export import Exports

SETTINGS = web.AppKey("settings", Settings)
POOL = web.AppKey("pool", Pool)
EXPORTS = web.AppKey("exports", Exports)
DATABASE_CHECKS: web.AppKey[Callable[[], Awaitable[list[Check]]]] = web.AppKey("database_checks")
WRITER = web.AppKey("writer", GroupWriter)
KEYRING = web.AppKey("keyring", Keyring)
KEYRING_WATCH = web.AppKey("keyring_watch", KeyringWatch)
ATLAS = web.AppKey("atlas", Atlas)
LEAVING = web.AppKey("leaving", asyncio.Event)  # set when the server stops
ROUTES = web.AppKey("routes", tuple[Route, ...])
