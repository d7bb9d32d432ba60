"""Forms of pages, as typed structs; also with a file."""

import re
from dataclasses import dataclass
from email.message import Message
from typing import TypeVar
from urllib.parse import parse_qsl

import msgspec
from aiohttp import web
from msgspec import Struct

from telemetry_server.errors import BadRequest, Malformed, TooLarge
from telemetry_server.receive.body import LARGEST_SENT, read_body
from telemetry_server.show.viewer import VIEWER

LARGEST_FORM = 8 * 1024
_MOST_FIELDS, _MOST_OF_STRANGERS = 80, 20
_LONGEST_HEAD = 1_500  # bytes before a part: the time to read them grows with their square

Form = TypeVar("Form", bound=Struct)


@dataclass(frozen=True, slots=True)
class UploadedFile:
    """A file of a form, with the name that the browser gave it."""

    name: str
    content: bytes


_READ: web.RequestKey[dict[str, str]] = web.RequestKey("form", dict)
UPLOADED: web.RequestKey[UploadedFile] = web.RequestKey("uploaded", UploadedFile)


async def read_form(
    request: web.Request, *, files: bool = False, largest: int = LARGEST_SENT
) -> dict[str, str]:
    """The fields of a form; of a repeated field, the last value. Raises BadRequest or a subclass.

    With `files`, a form may be multipart/form-data of up to `largest` bytes, in one field or in several. Its
    file is in request[UPLOADED] afterwards, unless none was chosen.
    """
    if _READ in request:  # the guard has read it
        return request[_READ]
    if files and request.content_type == "multipart/form-data":
        request[_READ] = form = _read_parts(request, await read_body(request, largest))
        return form
    if request.content_type != "application/x-www-form-urlencoded":
        raise BadRequest("Send a form: application/x-www-form-urlencoded.")
    body = await read_body(request)
    if len(body) > LARGEST_FORM:
        raise TooLarge(f"A form may take {LARGEST_FORM} bytes.")
    try:
        most = _MOST_FIELDS if VIEWER in request else _MOST_OF_STRANGERS
        form = dict(parse_qsl(body.decode("ascii"), max_num_fields=most, errors="strict"))
    except ValueError:
        raise Malformed("The form is not URL-encoded UTF-8.") from None
    if any("\0" in text for text in form.values()):
        raise Malformed("A field of the form has the character NUL in it.")
    request[_READ] = form
    return form


def _read_parts(request: web.Request, body: bytes) -> dict[str, str]:
    """The text fields of a form of several parts; puts its file into the request."""
    head = Message()
    head["Content-Type"] = request.headers.get("Content-Type", "")
    boundary = head.get_param("boundary")
    if not isinstance(boundary, str) or not boundary.isascii():
        raise Malformed("The form names no boundary of its parts.")
    _, *parts = (b"\r\n" + body).split(b"\r\n--" + boundary.encode())
    if not parts or not parts[-1].startswith(b"--") or len(parts) > _MOST_FIELDS:
        raise Malformed("The form is not whole, or has too many parts.")
    form: dict[str, str] = {}
    for part in parts[:-1]:
        lines, _, content = part.partition(b"\r\n\r\n")
        field, file = _names_in_head(lines)
        if isinstance(file, str):
            if file or content:
                request[UPLOADED] = UploadedFile(file[-200:], content)
        elif isinstance(field, str):
            try:
                form[field] = content.decode()
            except UnicodeDecodeError:
                raise Malformed("A field of the form is not UTF-8.") from None
            if "\0" in form[field]:
                raise Malformed("A field of the form has the character NUL in it.")
    return {name: text for name, text in form.items() if text}


def _names_in_head(lines: bytes) -> tuple[object, object]:
    """The name of the field of a part, and that of its file. Raises Malformed."""
    if len(lines) > _LONGEST_HEAD:
        raise Malformed("The head of a part of the form is too long.")
    described = Message()
    for line in lines.decode("utf-8", "replace").split("\r\n"):
        name, _, value = line.partition(":")
        if name.strip().lower() == "content-disposition":
            described["Content-Disposition"] = value.strip()
    found = (described.get_param(each, header="content-disposition") for each in ("name", "filename"))
    field, file = found
    return field, file


async def read_form_as(request: web.Request, kind: type[Form]) -> Form:
    """The form as a struct, whose fields are text; other fields are left alone. Raises BadRequest."""
    try:
        return msgspec.convert(await read_form(request), kind)
    except msgspec.ValidationError as error:
        raise BadRequest(f"The form is incomplete: {error}.") from None


def days_in(text: str, most: int, what: str) -> int:
    """A number of days from 1 to `most`. Raises BadRequest."""
    if not re.fullmatch("[0-9]{1,6}", text) or not 1 <= int(text) <= most:
        raise BadRequest(f"{what} is valid for 1 to {most} days.")
    return int(text)


def names_in(text: str) -> list[str] | None:
    """The names in a text field, separated by commas or spaces; None if there are none."""
    return text.replace(",", " ").split() or None
