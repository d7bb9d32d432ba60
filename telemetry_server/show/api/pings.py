"""GET /api/v1/pings."""

import re
from datetime import UTC, datetime
from uuid import UUID

from aiohttp import web

from telemetry_server import keys
from telemetry_server.errors import BadRequest, Unavailable
from telemetry_server.routing import Access, Parameter, Route
from telemetry_server.show.answers import json_answer, path_with
from telemetry_server.show.items import ping_item
from telemetry_server.show.query import IDENTIFIER, MOMENT, integer, read_query, text
from telemetry_server.store import fleet

_CURSOR = re.compile(r"([0-9T:.-]{19,26})Z~([0-9a-f-]{36})~([0-9]{1,16})", re.ASCII)

PARAMETERS = (
    Parameter("installation_id", "Only pings of this installation.", IDENTIFIER),
    Parameter("since", "Received at this time or later.", MOMENT),
    Parameter("until", "Received before this time.", MOMENT),
    Parameter("limit", "Items on a page.", integer(1, 500, default=50)),
    Parameter("after", "Where the page before ended: as in its next.", text()),
)


async def list_pings(request: web.Request) -> web.Response:
    """The one received last comes first."""
    asked = read_query(request, PARAMETERS)
    limit = asked["limit"]
    rows = await fleet.pings(
        request.app[keys.POOL],
        installation_id=asked.get("installation_id"),
        since=asked.get("since"),
        until=asked.get("until"),
        below=_key(asked["after"]) if "after" in asked else fleet.NEWEST,
        limit=limit + 1,
    )
    more = len(rows) > limit
    return json_answer(
        {
            "items": [ping_item(row) for row in rows[:limit]],
            "next": path_with(request, after=_cursor(rows[limit - 1])) if more else None,
        }
    )


def _cursor(row: fleet.Row) -> str:
    received_at = row["received_at"].astimezone(UTC).isoformat().removesuffix("+00:00")
    return f"{received_at}Z~{row['installation_id']}~{row['sequence']}"


def _key(cursor: str) -> fleet.PingKey:
    parts = _CURSOR.fullmatch(cursor)
    try:
        received_at, installation_id, sequence = parts.groups() if parts else ("", "", "")
        return datetime.fromisoformat(received_at).replace(tzinfo=UTC), UUID(installation_id), int(sequence)
    except ValueError:
        raise BadRequest("after must be taken from the next of the page before.") from None


ROUTES = (
    Route(
        "GET",
        "/api/v1/pings",
        list_pings,
        "List pings",
        Access.PERSON,
        parameters=PARAMETERS,
        answers={200: "Pings"},
        errors=(BadRequest, Unavailable),
    ),
)
