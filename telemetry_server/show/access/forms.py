"""Forms of pages, as typed structs."""

from typing import TypeVar
from urllib.parse import parse_qsl

import msgspec
from aiohttp import web
from msgspec import Struct

from telemetry_server.errors import BadRequest, Malformed, TooLarge
from telemetry_server.receive.body import read_body

LARGEST_FORM = 8 * 1024
_MOST_FIELDS = 20

Form = TypeVar("Form", bound=Struct)

_READ: web.RequestKey[dict[str, str]] = web.RequestKey("form", dict)


async def read_form(request: web.Request) -> dict[str, str]:
    """The fields of a form; of a repeated field, the last value. Raises BadRequest or a subclass."""
    if _READ in request:  # the guard has read it
        return request[_READ]
    if request.content_type != "application/x-www-form-urlencoded":
        raise BadRequest("Send a form: application/x-www-form-urlencoded.")
    body = await read_body(request)
    if len(body) > LARGEST_FORM:
        raise TooLarge(f"A form may take {LARGEST_FORM} bytes.")
    try:
        form = dict(parse_qsl(body.decode("ascii"), max_num_fields=_MOST_FIELDS, errors="strict"))
    except ValueError:
        raise Malformed("The form is not URL-encoded UTF-8.") from None
    request[_READ] = form
    return form


async def read_form_as(request: web.Request, kind: type[Form]) -> Form:
    """The form as a struct, whose fields are text; other fields are left alone. Raises BadRequest."""
    try:
        return msgspec.convert(await read_form(request), kind)
    except msgspec.ValidationError as error:
        raise BadRequest(f"The form is incomplete: {error}.") from None


def names_in(text: str) -> list[str] | None:
    """The names in a text field, separated by commas or spaces; None if there are none."""
    return text.replace(",", " ").split() or None
