"""Query strings, validated against the parameters that the route declares."""

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any
from uuid import UUID

from aiohttp import web

from telemetry_server.check.filters.parser import YEARS
from telemetry_server.errors import BadRequest
from telemetry_server.routing import Parameter

LONGEST_VALUE = 256


def integer(minimum: int, maximum: int, *, default: int | None = None) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "integer", "minimum": minimum, "maximum": maximum}
    return schema if default is None else schema | {"default": default}


def one_of(*values: str) -> dict[str, Any]:
    return {"type": "string", "enum": list(values)}


def text(pattern: str = r"^[^\u0000]*$") -> dict[str, Any]:
    return {"type": "string", "minLength": 1, "maxLength": LONGEST_VALUE, "pattern": pattern}


IDENTIFIER = {"type": "string", "format": "uuid"}
MOMENT = {"type": "string", "format": "date-time"}
DAY = {"type": "string", "format": "date"}


def read_query(request: web.Request, parameters: Sequence[Parameter]) -> dict[str, Any]:
    """The values by name, with defaults; optional parameters that are not given are absent.

    Integers, UUIDs, dates and times are converted. Raises BadRequest with the name of the parameter for a
    wrong value, a repeated parameter, or one that is not declared.
    """
    declared = {parameter.name: parameter for parameter in parameters if parameter.where == "query"}
    given = request.query
    for name in given:
        if name not in declared:
            names = ", ".join(sorted(declared))
            known = f"those known here are {names}" if names else "none are known here"
            raise BadRequest(f"There is no parameter {name[:40]!r}; {known}.")
        if len(given.getall(name)) > 1:
            raise BadRequest(f"{name} is given more than once.")
    values = {name: p.schema["default"] for name, p in declared.items() if "default" in p.schema}
    return values | {name: _read(declared[name], value) for name, value in given.items()}


def read_path(request: web.Request, name: str) -> UUID:
    """The UUID in the path. Raises BadRequest."""
    return _as_uuid(name, request.match_info[name], IDENTIFIER)


def _read(parameter: Parameter, value: str) -> Any:
    schema = parameter.schema
    longest = schema.get("maxLength", LONGEST_VALUE)
    if len(value) > longest:
        raise BadRequest(f"{parameter.name} is longer than {longest} characters.")
    kind = schema.get("format", "enum" if "enum" in schema else schema["type"])
    return _READERS[kind](parameter.name, value, schema)


def _as_uuid(name: str, value: str, _: Mapping[str, Any]) -> UUID:
    if not re.fullmatch(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}", value):
        raise BadRequest(f"{name} must be a UUID.")
    return UUID(value)


def _as_moment(name: str, value: str, _: Mapping[str, Any]) -> datetime:
    """RFC 3339. In a query string `+` means a space, so a space before the offset is read as `+`."""
    try:
        return in_utc(datetime.fromisoformat(re.sub(r" (?=\d\d:?\d\d$)", "+", value)))
    except (ValueError, OverflowError):
        raise BadRequest(f"{name} must be a time with an offset, like 2026-11-22T10:00:00Z.") from None


def in_utc(moment: datetime) -> datetime:
    if moment.tzinfo is None:
        raise ValueError("no offset")
    return moment.astimezone(UTC)


def _as_day(name: str, value: str, _: Mapping[str, Any]) -> date:
    try:
        day = date.fromisoformat(value) if re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", value) else None
    except ValueError:
        day = None
    if day is None or day.year not in YEARS:
        raise BadRequest(f"{name} must be a day, like 2026-11-22.")
    return day


def _as_integer(name: str, value: str, schema: Mapping[str, Any]) -> int:
    lowest, highest = schema["minimum"], schema["maximum"]
    if not re.fullmatch(r"-?[0-9]{1,19}", value, re.ASCII) or not lowest <= int(value) <= highest:
        raise BadRequest(f"{name} must be an integer from {lowest} to {highest}.")
    return int(value)


def _as_one_of(name: str, value: str, schema: Mapping[str, Any]) -> str:
    if value not in schema["enum"]:
        raise BadRequest(f"{name} must be one of {', '.join(schema['enum'])}.")
    return value


def _as_text(name: str, value: str, schema: Mapping[str, Any]) -> str:
    if not value or not re.search(schema["pattern"], value):
        raise BadRequest(f"{name} must be text of the form {schema['pattern']}.")
    return value


_READERS: Mapping[str, Callable[[str, str, Mapping[str, Any]], Any]] = {
    "uuid": _as_uuid,
    "date-time": _as_moment,
    "date": _as_day,
    "integer": _as_integer,
    "enum": _as_one_of,
    "string": _as_text,
}
