"""The audit log; its filters are in the URL."""

from collections.abc import Mapping
from datetime import UTC, datetime, time, timedelta
from typing import Any
from uuid import UUID

import orjson
from aiohttp import web

from telemetry_server import app_keys
from telemetry_server.permissions import Permission
from telemetry_server.routing import HTML, Parameter, Route
from telemetry_server.show.paging import AFTER, moment_key, read_moment_key
from telemetry_server.show.query import DAY, read_query, text
from telemetry_server.show.render import page
from telemetry_server.show.responses import path_with, without_empty
from telemetry_server.store.access import audit
from telemetry_server.store.reading import reading
from telemetry_server.uuid7 import HIGHEST

_EXACT = {
    "actor": Parameter("actor", "How the actor begins, such as cli:root.", text()),
    "action": Parameter("action", "The action, such as customer.view; customer: all that begin so.", text()),
    "subject_kind": Parameter("subject_kind", "The kind of the subject, such as installation.", text()),
    "subject_id": Parameter("subject_id", "The id of the subject.", text()),
    "product": Parameter("product", "The product's slug.", text()),
}
PARAMETERS = (
    *_EXACT.values(),
    Parameter("since", "The first day.", DAY),
    Parameter("until", "The last day.", DAY),
    AFTER,
)
_ROWS = 50
_LABELS = {
    "actor": ("Who", "cli:root"),
    "action": ("Did what", "customer.view"),
    "subject_kind": ("About what", "installation"),
    "subject_id": ("Its id", "019ab6ef-f2a0…"),
    "product": ("Product", "billing"),
}


async def audit_log(request: web.Request) -> web.Response:
    if (shorter := without_empty(request)) is not None:
        return shorter
    asked = read_query(request, PARAMETERS)
    before = read_moment_key(asked["after"], UUID) if "after" in asked else (audit.NEWEST, HIGHEST)
    async with reading(request.app[app_keys.POOL]) as connection:
        found = await audit.find(connection, _wanted(asked), before=before, limit=_ROWS + 1)
    last = found[_ROWS - 1] if len(found) > _ROWS else None
    return page(
        request,
        "audit.html",
        entries=[(each, _in_words(each.details)) for each in found[:_ROWS]],
        asked=asked,
        labels=_LABELS,
        older=path_with(request, after=moment_key(last.recorded_at, last.entry_id)) if last else None,
        newest=path_with(request, after=None) if "after" in asked else None,
        filtered=bool(asked.keys() - {"after"}),
    )


def _in_words(details: Mapping[str, Any]) -> str:
    """The details that say something, such as "role admin, methods password, code"."""
    known = {name: value for name, value in details.items() if value not in (None, "", [], {})}
    return "; ".join(f"{name.replace('_', ' ')} {_plain(value)}" for name, value in known.items())


def _plain(value: object) -> str:
    if isinstance(value, list) and all(isinstance(each, str) for each in value):
        return ", ".join(value)
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def _wanted(asked: dict[str, Any]) -> audit.AuditFilter:
    since, until = asked.get("since"), asked.get("until")
    return audit.AuditFilter(
        **{name: asked.get(name) for name in _EXACT},
        since=since and datetime.combine(since, time(), UTC),
        until=until and datetime.combine(until, time(), UTC) + timedelta(days=1),
    )


ROUTES = (
    Route(
        "GET",
        "/audit",
        audit_log,
        "The audit log",
        permission=Permission.AUDIT,
        page=True,
        audited="audit",
        parameters=PARAMETERS,
        answers={200: HTML, 303: ""},
    ),
)
