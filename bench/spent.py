"""The server's time: the whole path under cProfile, summed by component."""

import asyncio
import cProfile
import pstats
import re
from collections import Counter

from bench.servers import free_port, wrk
from telemetry_server.cli.session import bring_up, database
from telemetry_server.cli.workers import Site, run, serve_here
from telemetry_server.settings import read_settings
from telemetry_server.store.access.keyring_check import open_keyring_of
from telemetry_server.store.database import operator_connection

SECONDS = 4
OURS = re.compile(r"telemetry_server/(\w+)")
OTHERS = re.compile(r"site-packages/(\w+)")


def spent(data, make_requests, connections):
    """Share of the server's own time by component, the largest first: {component: share}."""
    profile = cProfile.Profile()
    run(_serve_and_profile(data, make_requests, connections, profile))
    return _shares(pstats.Stats(profile))


async def _serve_and_profile(data, make_requests, connections, profile):
    port = free_port()
    listen = f"127.0.0.1:{port}"
    settings = read_settings(
        {"TELEMETRY_TRUSTED_PROXIES": "127.0.0.0/8"}, {"data": str(data), "listen": listen}
    )
    async with database(settings) as dsn:
        async with operator_connection(dsn) as connection:
            await bring_up(connection)
            keyring = await open_keyring_of(connection, settings.keyring)
        path = await asyncio.to_thread(make_requests)
        stop, ready = asyncio.Event(), asyncio.Event()
        serving = asyncio.create_task(
            serve_here(Site(settings, keyring, dsn, "127.0.0.1", port), stop, ready.set)
        )
        await ready.wait()
        await asyncio.sleep(0.5)
        profile.enable()
        await asyncio.to_thread(wrk, port, connections, SECONDS, path)
        profile.disable()
        stop.set()
        await serving


def _shares(stats):
    spenders = Counter()
    for (file, _, name), (_, _, own, _, _) in stats.stats.items():
        spenders[_spender(file, name)] += own
    total = sum(spenders.values())
    return {name: own / total for name, own in spenders.most_common() if own / total > 0.01}


def _spender(file, name):
    if ours := OURS.search(file):
        return f"telemetry_server/{ours[1].removesuffix('.py')}"
    if other := OTHERS.search(file):
        return other[1]
    if file == "~":
        known = [
            word for word in ("hmac", "orjson", "msgspec", "maxminddb", "socket", "Context") if word in name
        ]
        return known[0].replace("Context", "event loop") if known else "built-in functions"
    return "Python's library"
