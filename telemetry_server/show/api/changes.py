"""GET /api/v1/changes: which facts of installations changed, and when."""

import re
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from aiohttp import web

from telemetry_server import keys
from telemetry_server.errors import BadRequest, Unavailable
from telemetry_server.routing import Access, Parameter, Route
from telemetry_server.show.answers import json_answer, path_with
from telemetry_server.show.query import IDENTIFIER, MOMENT, integer, read_query, text
from telemetry_server.store import fleet

_CURSOR = re.compile(r"([0-9T:.-]{19,26})Z~([0-9a-f-]{36})~([0-9]{1,16})~(.{1,200})", re.ASCII)

PARAMETERS = (
    Parameter("installation_id", "Only of this installation.", IDENTIFIER),
    Parameter("field", "Only this field, e.g. service.version, verdict or life.", text()),
    Parameter("since", "Noted at this time or later.", MOMENT),
    Parameter("until", "Noted before this time.", MOMENT),
    Parameter("limit", "Items on a page.", integer(1, 500, default=50)),
    Parameter("after", "Where the page before ended: as in its next.", text()),
)


async def list_changes(request: web.Request) -> web.Response:
    """The newest change comes first."""
    asked = read_query(request, PARAMETERS)
    limit = asked["limit"]
    rows = await fleet.changes(
        request.app[keys.POOL],
        installation_id=asked.get("installation_id"),
        field=asked.get("field"),
        since=asked.get("since"),
        until=asked.get("until"),
        below=_key(asked["after"]) if "after" in asked else fleet.NEWEST_CHANGE,
        limit=limit + 1,
    )
    more = len(rows) > limit
    return json_answer(
        {"items": rows[:limit], "next": path_with(request, after=_cursor(rows[limit - 1])) if more else None}
    )


def _cursor(row: dict[str, Any]) -> str:
    changed_at = row["changed_at"].astimezone(UTC).isoformat().removesuffix("+00:00")
    return f"{changed_at}Z~{row['installation_id']}~{row['sequence']}~{row['field']}"


def _key(cursor: str) -> fleet.ChangeKey:
    parts = _CURSOR.fullmatch(cursor)
    try:
        changed_at, installation_id, sequence, field = parts.groups() if parts else ("", "", "", "")
        moment = datetime.fromisoformat(changed_at).replace(tzinfo=UTC)
        return moment, UUID(installation_id), int(sequence), field
    except ValueError:
        raise BadRequest("after must be taken from the next of the page before.") from None


ROUTES = (
    Route(
        "GET",
        "/api/v1/changes",
        list_changes,
        "List what changed",
        Access.PERSON,
        parameters=PARAMETERS,
        answers={200: "Changes"},
        errors=(BadRequest, Unavailable),
    ),
)
