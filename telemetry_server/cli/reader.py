"""The command "db reader"."""

import asyncio
import shlex
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import click

from telemetry_server.cli.invocation import Invocation
from telemetry_server.cli.output import as_json, print_json, say
from telemetry_server.cli.recorded_commands import record_with
from telemetry_server.cli.session import as_user, connection, database, superuser_of
from telemetry_server.settings import Settings
from telemetry_server.store.database import Connection, operator_connection
from telemetry_server.store.reports.readers import Reader, drop_reader, make_reader

Answer = TypeVar("Answer")


@click.command()
@click.argument("name")
@click.option("--new-password", is_flag=True, help="Set a new password for an existing role.")
@click.option("--drop", is_flag=True, help="Drop the role.")
@as_json
@click.pass_obj
def reader(invocation: Invocation, name: str, as_json: bool, *, new_password: bool, drop: bool) -> None:
    """Let Grafana, Metabase or a person with psql read the views v_* as the role NAME, and nothing else.

    Creates the role and prints how to connect; its password cannot be shown again. Run it again after an
    update: an existing role keeps its password, and gets access to new views.
    """
    settings = invocation.settings()
    if drop:
        asyncio.run(_with_maker(settings, lambda maker, _: drop_reader(maker, name)))
        say(f"The role {name} is dropped.")
        return

    async def make(maker: Any, dsn: str) -> tuple[str, Reader]:
        return as_user(dsn, name), await make_reader(maker, name, new_password=new_password)

    url, made = asyncio.run(_with_maker(settings, make))
    if as_json:
        print_json({"name": name, "password": made.password, "url": url, "views": made.views})
        return
    rows = [("Role", made.name), ("Password", made.password), ("Connect", f"psql {shlex.quote(url)}")]
    for label, value in rows:
        if value is not None:
            click.echo(f"{label:<9} {value}")
    say(f"It may read {', '.join(made.views)}.")
    if made.password is not None:
        say("The password cannot be shown again; --new-password sets another.")


async def _with_maker(settings: Settings, work: Callable[[Connection, str], Awaitable[Answer]]) -> Answer:
    """The result of `work`, called with a connection that may create roles, and the URL of the database.

    In the embedded PostgreSQL, that is a connection of its superuser.
    """
    async with connection(settings) as own, database(settings) as dsn:
        await record_with(own)
        maker = superuser_of(settings, dsn) or dsn
        async with operator_connection(maker) as opened:
            return await work(opened, dsn)
