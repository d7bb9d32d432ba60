"""The JSON body of an API request that changes something."""

from collections.abc import Sequence
from typing import Any

import orjson
from aiohttp import web

from telemetry_server.errors import BadRequest, FieldProblem, Malformed, TooLarge, Unprocessable
from telemetry_server.receive.body import read_body
from telemetry_server.text import hidden_in

LARGEST = 64 * 1024
LONGEST_REASON = 1000


async def read_object(request: web.Request) -> dict[str, Any]:
    """The JSON object sent. Raises BadRequest, Malformed, TooLarge or Unprocessable."""
    if request.content_type != "application/json":
        raise BadRequest("Send JSON, with Content-Type: application/json.")
    body = await read_body(request)
    if len(body) > LARGEST:
        raise TooLarge(f"The body may take {LARGEST} bytes.")
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Malformed(f"The body is not valid JSON in UTF-8: {error}") from None
    if not isinstance(document, dict):
        raise Unprocessable("The body must be a JSON object.")
    return document


def take_text(document: dict[str, Any], name: str, longest: int) -> str | None:
    """Takes the text of that name out of `document`; None where there is none. Raises Unprocessable."""
    value = document.pop(name, None)
    if value is None:
        return None
    if not isinstance(value, str) or not 1 <= len(value.strip()) <= longest:
        raise Unprocessable(problems=[FieldProblem(f"/{name}", f"must be text of 1 to {longest} characters")])
    if hidden := hidden_in(value):
        raise Unprocessable(
            problems=[FieldProblem(f"/{name}", f"has the invisible character {hidden}; remove it")]
        )
    return value.strip()


def refuse(problems: Sequence[FieldProblem]) -> None:
    """Raises Unprocessable where there are problems."""
    if problems:
        raise Unprocessable("Some fields are wrong; nothing was changed.", problems=problems)
