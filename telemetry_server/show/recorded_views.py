"""Entries of the audit log for requests: who asked for which personal data, and from where.

A view is recorded before its handler runs, so that nothing leaves without its entry: an export sends its
first rows while it still reads. So an entry says what was asked for, also where the answer is an error.
"""

from datetime import UTC, datetime
from typing import Any

from aiohttp import web

from telemetry_server import app_keys
from telemetry_server.check.networks import network_of
from telemetry_server.model import Author
from telemetry_server.receive.address import client_address
from telemetry_server.routing import FILE, Route
from telemetry_server.show.viewer import VIEWER
from telemetry_server.store.access import audit, disclosures, people, trail
from telemetry_server.store.database import Connection, Pool, answered, translated
from telemetry_server.store.reading import SECONDS

_LONGEST_QUERY = 2_000


async def record_view(request: web.Request, route: Route, kind: str) -> None:
    """Records a request for personal data of this kind. Raises Unavailable, and then nothing may be shown."""
    await answered(_record_view(request, _entry(request, route, kind)), SECONDS)


def author(request: web.Request, reason: str | None) -> Author:
    """The sender of a request that changes the registry."""
    viewer = request[VIEWER]
    return Author(viewer.actor, reason, viewer.recorded_as, network(request))


async def record(
    database: Connection | Pool, request: web.Request, action: str, subject_id: object, **details: Any
) -> None:
    """Records what the sender does with an account, a session or a token, in its transaction."""
    await trail.record(
        database,
        action,
        by=request[VIEWER].recorded_as,
        subject_id=None if subject_id is None else str(subject_id),
        network=network(request),
        **details,
    )


async def record_customers(request: web.Request) -> None:
    """Records that a list of something else names customers."""
    where = {"path": request.path, "query": request.query_string[:_LONGEST_QUERY]}
    await record(request.app[app_keys.POOL], request, "customer.list", None, **where)


async def refused(request: web.Request, how: str, email: str) -> None:
    """Records that a sign-in was refused. Raises Unavailable.

    What is no e-mail address is left out: it may be a password in the wrong field.
    """
    try:
        email = people.email_of(email)
    except people.WrongEmail:
        email = ""
    await trail.refused(request.app[app_keys.POOL], how, email=email, network=network(request))


async def _record_view(request: web.Request, entry: audit.Entry) -> None:
    """With a row of the register of disclosures, if the token is bound to a purpose."""
    viewer, now = request[VIEWER], datetime.now(UTC)
    async with translated(), request.app[app_keys.POOL].acquire() as connection, connection.transaction():
        await audit.record(connection, entry, now)
        if viewer.token_id is not None:
            await disclosures.record_use_of_token(
                connection,
                viewer.token_id,
                by=viewer.recorded_as,
                subjects=str(request.rel_url)[:_LONGEST_QUERY],
                fields=entry.action,
                now=now,
            )


def _entry(request: web.Request, route: Route, kind: str) -> audit.Entry:
    one = request.match_info.get(f"{kind}_id")
    verb = "export" if FILE in route.answers.values() else "view" if one else "list"
    return audit.Entry(
        actor=request[VIEWER].recorded_as,
        action=f"{kind}.{verb}",
        subject_kind=kind,
        subject_id=one or request.query.get(f"{kind}_id") or None,
        product=request.query.get("product") or None,
        network=network(request),
        details={"path": request.path[:_LONGEST_QUERY], "query": request.query_string[:_LONGEST_QUERY]},
    )


def network(request: web.Request) -> str | None:
    """The network of the client, without the part of its address that names one machine."""
    forwarded = request.headers.getall("X-Forwarded-For", [])
    trusted = request.app[app_keys.SETTINGS].trusted_proxies
    address = client_address(request.remote, forwarded, trusted)
    return None if address is None else str(network_of(address))
