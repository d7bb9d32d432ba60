"""The JSON body of an API request that changes something."""

from collections.abc import Iterable, Sequence
from typing import Any

from aiohttp import web
from msgspec import UNSET, Struct, UnsetType, defstruct, structs

from telemetry_server.errors import BadRequest, FieldProblem, TooLarge, Unprocessable
from telemetry_server.receive.body import parse_json, read_body
from telemetry_server.text import hidden_in

LARGEST = 64 * 1024
LONGEST_REASON = 1000


def optional(name: str, kind: type[Struct], fields: Iterable[str], **more: Any) -> type[Struct]:
    """A body type: the `fields` of the answer type `kind`, and `more`; none of them is required."""
    types = {field.name: field.type for field in structs.fields(kind)}
    held = [(field, types[field] | UnsetType, UNSET) for field in fields]
    return defstruct(name, [*held, *((field, kind | UnsetType, UNSET) for field, kind in more.items())])


async def read_object(request: web.Request) -> dict[str, Any]:
    """The JSON object sent. Raises BadRequest, Malformed, TooLarge or Unprocessable."""
    if request.content_type != "application/json":
        raise BadRequest("Send JSON, with Content-Type: application/json.")
    body = await read_body(request)
    if len(body) > LARGEST:
        raise TooLarge(f"The body may take {LARGEST} bytes.")
    document = parse_json(body)
    if not isinstance(document, dict):
        raise Unprocessable("The body must be a JSON object.")
    return document


def take_text(document: dict[str, Any], name: str, longest: int) -> str | None:
    """Removes the text `name` from `document` and returns it; None: missing. Raises Unprocessable."""
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
