"""The command "serve"."""

import asyncio
import contextlib
import shutil
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from telemetry_server.cli.output import say
from telemetry_server.cli.session import bring_up, database
from telemetry_server.cli.workers import Site, reserve, run, serve_here, serve_in_workers, stop_on_signals
from telemetry_server.errors import OperatorError
from telemetry_server.keyring import Keyring
from telemetry_server.model import Role
from telemetry_server.receive.capacity import raise_open_files
from telemetry_server.settings import Settings
from telemetry_server.store.access import create_sign_in_link
from telemetry_server.store.belonging import open_keyring_of
from telemetry_server.store.database import operator_connection
from telemetry_server.store.products import add_product, all_products, good_keys

SIGN_IN_MINUTES = 60


@click.command()
@click.option("--listen", help="Address to listen on, HOST:PORT; port 0 takes a free one.")
@click.option("--workers", type=int, help="Server processes on the one port.")
@click.option("--product", metavar="NAME", help="Make this product first, if there is none yet.")
@click.pass_context
def serve(context: click.Context, /, **options: Any) -> None:
    """Receive pings and show pages, until SIGTERM or Ctrl-C.

    Without TELEMETRY_DATABASE_URL it runs a PostgreSQL of its own in the data directory.
    """
    first_product = options.pop("product")
    raise_open_files()  # before other processes inherit the limit
    run(_serve(context.obj.settings(**options), first_product))


async def _serve(settings: Settings, first_product: str | None) -> None:
    stop = stop_on_signals()
    holder, port = _reserve(settings)
    with contextlib.closing(holder):
        async with database(settings, say=say, keep_alive=True) as dsn:
            keyring = await _prepare(settings, dsn, first_product)
            site = Site(settings, keyring, dsn, settings.host_and_port[0], port)
            welcome = asyncio.create_task(_welcome(site, answering := asyncio.Event()))
            serving = serve_here if settings.workers == 1 else serve_in_workers
            await serving(site, stop, answering.set)
            await welcome


def _reserve(settings: Settings) -> Any:
    try:
        return reserve(*settings.host_and_port)
    except OSError as error:
        raise OperatorError(
            f"Cannot listen on {settings.listen} ({error.strerror}). "
            "Stop what is there, or give another --listen."
        ) from error


async def _prepare(settings: Settings, dsn: str, first_product: str | None) -> Keyring:
    async with operator_connection(dsn) as connection:
        await bring_up(connection, say)
        keyring = await open_keyring_of(connection, settings.keyring)
        if first_product and not await all_products(connection):
            await add_product(connection, first_product, now=datetime.now(UTC))
    return keyring


async def _welcome(site: Site, answering: asyncio.Event) -> None:
    """Tells, once requests are answered, where to look and how to send the first ping."""
    now = datetime.now(UTC)
    async with operator_connection(site.dsn) as connection:
        products, keys = await all_products(connection), await good_keys(connection)
        link = await create_sign_in_link(connection, Role.ADMIN, now, SIGN_IN_MINUTES)
    await answering.wait()
    url = site.settings.public_url.rstrip("/") or f"http://{site.reachable_host}:{site.port}"
    shown = [(product.name, key) for product in products for key in keys.get(product.id, [])[:1]]
    click.echo(_words(url, link, shown, site.settings.data))


def _words(url: str, link: str, products: list[tuple[str, str]], data: Path) -> str:
    lines = [f"Product key   {key}   ({name})" for name, key in products[:5]]
    lines += [f"Address       {url}", f"Sign in       {url}/sign-in?token={link}   (once, within the hour)"]
    if not products:
        lines.append('No product yet: telemetry-server product add "My product"')
    else:
        lines += [
            "",
            "Send this machine's Server Information:",
            f"    {_program('license-telemetry')} send --endpoint {url} --product-key {products[0][1]}",
            "Look at the rows:",
            f"    {_program('telemetry-server')} db psql --data {data}",
        ]
    return "\n".join(["", *lines, ""])


def _program(name: str) -> str:
    """How to call a program from here: as it lies beside this Python, if it does."""
    beside = Path(sys.executable).with_name(name)
    if not beside.exists() or shutil.which(name) == str(beside):
        return name
    return str(beside.relative_to(Path.cwd())) if beside.is_relative_to(Path.cwd()) else str(beside)
