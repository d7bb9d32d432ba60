"""The command "serve"."""

import asyncio
import contextlib
import errno
import shlex
import sys
from datetime import UTC, datetime
from typing import Any

import click

from telemetry_server.cli import address
from telemetry_server.cli.output import say, tell
from telemetry_server.cli.session import bring_up, database, superuser_of
from telemetry_server.cli.workers import Site, reserve, run, serve_here, serve_in_workers, stop_on_signals
from telemetry_server.errors import OperatorError
from telemetry_server.keyring import Keyring
from telemetry_server.logs import Severity, log
from telemetry_server.model import Role
from telemetry_server.programs import command_of
from telemetry_server.receive.capacity import raise_open_files
from telemetry_server.settings import Settings
from telemetry_server.store.access.credentials import create_sign_in_link
from telemetry_server.store.access.keyring_check import open_keyring_of
from telemetry_server.store.connection_budget import connections_allowed, too_few_connections
from telemetry_server.store.database import operator_connection
from telemetry_server.store.registry.products import add_product, all_products, good_keys

SIGN_IN_MINUTES = 60
ADVICE = {
    errno.EADDRINUSE: "Stop the other server, or give another --listen.",
    errno.EADDRNOTAVAIL: "Give --listen an address of this machine, or 0.0.0.0 for all of them.",
    errno.EACCES: "Give --listen a port from 1024 on, and put a proxy on the other one.",
}
ADVICE_ELSE = "Give another --listen."


@click.command()
@click.option("--listen", metavar="HOST:PORT", help="Where to listen; port 0 takes a free one.")
@click.option("--workers", type=int, metavar="N", help="Server processes on the one port.")
@click.option("--product", metavar="NAME", help="Create this product, if there is none yet.")
@click.pass_context
def serve(context: click.Context, /, **options: Any) -> None:
    """Receive pings and show pages, until SIGTERM or Ctrl-C.

    Without TELEMETRY_DATABASE_URL it runs an embedded PostgreSQL in the data directory.
    """
    first_product = options.pop("product")
    raise_open_files()  # before child processes inherit the limit
    run(_serve(context.obj.settings(**options), first_product))


async def _serve(settings: Settings, first_product: str | None) -> None:
    """Serves until a signal arrives. A signal while PostgreSQL starts cancels the start."""
    stop, started = stop_on_signals(), asyncio.Event()
    serving = asyncio.create_task(_serve_until(stop, started, settings, first_product))
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if not started.is_set() and not serving.done():
        serving.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await serving
    else:
        await serving


async def _serve_until(
    stop: asyncio.Event, started: asyncio.Event, settings: Settings, first_product: str | None
) -> None:
    """Sets `started` when it handles `stop` itself."""
    holder, port = _reserve(settings)
    with contextlib.closing(holder):
        async with database(settings, say=say, keep_alive=True) as dsn:
            keyring, link, products = await _prepare(settings, dsn, first_product)
            site = Site(settings, keyring, dsn, settings.host_and_port[0], port).at_its_address()
            address.keep(settings.data, site.reachable_host, port)
            started.set()
            serving = serve_here if settings.workers == 1 else serve_in_workers
            await serving(site, stop, lambda: tell(_words(site, link, products)))


def _reserve(settings: Settings) -> Any:
    try:
        return reserve(*settings.host_and_port)
    except OSError as error:
        advice = ADVICE.get(error.errno or 0, ADVICE_ELSE)
        raise OperatorError(f"Cannot listen on {settings.listen} ({error.strerror}). {advice}") from error


async def _prepare(
    settings: Settings, dsn: str, first_product: str | None
) -> tuple[Keyring, str | None, list[tuple[str, str]]]:
    """The keyring, the secret of a sign-in link if stdout is a terminal, and names and keys of products."""
    now = datetime.now(UTC)
    async with operator_connection(dsn) as connection:
        await bring_up(connection, say, superuser=superuser_of(settings, dsn))
        if few := too_few_connections(
            await connections_allowed(connection), settings.workers, settings.writer_lanes
        ):
            log("few connections", Severity.WARNING, advice=few)
        keyring = await open_keyring_of(connection, settings.keyring)
        if first_product and not await all_products(connection):
            await add_product(connection, first_product, now=now)
        products, keys = await all_products(connection), await good_keys(connection)
        # Only to a terminal, which one person sees once; the journal is stored, and many can read it.
        link = (
            await create_sign_in_link(connection, Role.ADMIN, now, SIGN_IN_MINUTES)
            if sys.stdout.isatty()
            else None
        )
    shown = [(product.name, key) for product in products for key in keys.get(product.id, [])[:1]]
    return keyring, link, shown


def _words(site: Site, link: str | None, products: list[tuple[str, str]]) -> str:
    """The start message: the address, and how to send the first ping."""
    url = site.settings.public_url.rstrip("/") or f"http://{site.reachable_host}:{site.port}"
    data, server = shlex.quote(str(site.settings.data)), command_of("telemetry-server")
    lines = [f"Product key   {key}   ({name})" for name, key in products[:5]]
    lines.append(f"Address       {url}")
    if link:
        lines.append(f"Sign in       {url}/sign-in?token={link}   (once, within the hour)")
    else:
        lines.append(f"Sign in       with the link of: {server} sign-in --data {data}")
    if not products:
        lines.append(f'No product yet: {server} product add "My product" --data {data}')
    else:
        lines += [
            "",
            "Send this machine's Server Information:",
            f"    {command_of('license-telemetry')} send --endpoint {url} --product-key {products[0][1]}",
            "Look at the rows:",
            f"    {server} db psql --data {data}",
        ]
    return "\n".join(["", *lines, ""])
