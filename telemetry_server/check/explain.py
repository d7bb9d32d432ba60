"""Why a ping was refused, field by field. Slow and thorough: it runs only for refused pings. Pure."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import msgspec
from msgspec import Raw

from telemetry_server.check import json_text
from telemetry_server.check.fields import DIGEST_PATTERN, NAME_PATTERN, Carrier, Field, FieldType, Registry
from telemetry_server.check.json_text import scalar
from telemetry_server.check.normalise import Members
from telemetry_server.model import LARGEST_INTEGER, Moment, Reason


@dataclass(frozen=True, slots=True)
class FieldFault:
    """One wrong field: its dotted path (empty for the ping itself), the reason and a sentence."""

    path: str
    reason: Reason
    detail: str


FORBIDDEN_CHARACTER = FieldFault(
    "", Reason.FORBIDDEN_CHARACTER, "U+0000 cannot be kept in any string or name"
)


def explain(members: Members, registry: Registry, carrier: Carrier = Carrier.PING) -> Iterator[FieldFault]:
    """The faults of the known members of a ping, or of the upload around pings; none for valid ones.

    Faults are found lazily: a caller of the first does not wait for a thousand others.
    """
    for section, fields in registry.sections(carrier).items():
        holder = members if not section else members.get(section, {})
        if not isinstance(holder, dict):
            yield FieldFault(section, Reason.WRONG_TYPE, "must be an object")
            continue
        for field in fields:
            yield from _field_faults(field, holder)


def _field_faults(field: Field, holder: Mapping[str, Any]) -> Iterator[FieldFault]:
    if field.name not in holder:
        if field.required:
            yield FieldFault(field.path, Reason.MISSING_FIELD, "is required")
        return
    match field.kind:
        case FieldType.INTEGER:
            yield from _integer_faults(field.path, scalar(holder[field.name]), field.minimum)
        case FieldType.COUNTERS | FieldType.DIGESTS:
            yield from _map_faults(field, holder[field.name])
        case _:
            yield from _text_faults(field, scalar(holder[field.name]))


def _integer_faults(path: str, value: Any, minimum: int) -> Iterator[FieldFault]:
    huge = isinstance(value, float) and abs(value) > LARGEST_INTEGER
    if (not isinstance(value, int) or isinstance(value, bool)) and not huge:
        yield FieldFault(path, Reason.WRONG_TYPE, "must be an integer")
    elif not minimum <= value <= LARGEST_INTEGER:
        yield FieldFault(path, Reason.OUT_OF_RANGE, f"must lie between {minimum} and {LARGEST_INTEGER}")


def _map_faults(field: Field, value: Raw) -> Iterator[FieldFault]:
    try:
        items = json_text.members(value)
    except msgspec.ValidationError:
        yield FieldFault(field.path, Reason.WRONG_TYPE, "must be an object")
        return
    if len(items) > field.max_items:
        yield FieldFault(field.path, Reason.TOO_MANY, f"may hold at most {field.max_items} names")
    for name, item in items.items():
        if not _matches(NAME_PATTERN, name):
            yield FieldFault(
                field.path, Reason.BAD_FORMAT, f"the name {name[:80]!r} must match {NAME_PATTERN}"
            )
        if field.kind is FieldType.COUNTERS:
            yield from _integer_faults(field.path, scalar(item), field.minimum)
        else:
            yield from _digest_faults(field.path, scalar(item))


def _digest_faults(path: str, value: Any) -> Iterator[FieldFault]:
    if not isinstance(value, str):
        yield FieldFault(path, Reason.WRONG_TYPE, "must be a string")
    elif not _matches(DIGEST_PATTERN, value):
        yield FieldFault(path, Reason.BAD_FORMAT, "must be 64 lower-case hexadecimal digits")


def _text_faults(field: Field, value: Any) -> Iterator[FieldFault]:
    if not isinstance(value, str):
        yield FieldFault(field.path, Reason.WRONG_TYPE, "must be a string")
    elif field.kind is FieldType.ENUM and value not in field.values:
        yield FieldFault(field.path, Reason.UNKNOWN_VALUE, f"must be one of: {', '.join(field.values)}")
    elif field.kind is FieldType.STRING and len(value) > field.max_length:
        yield FieldFault(field.path, Reason.TOO_LONG, f"may be at most {field.max_length} characters long")
    elif field.kind is FieldType.NAME and not _matches(NAME_PATTERN, value):
        yield FieldFault(field.path, Reason.BAD_FORMAT, f"must match {NAME_PATTERN}")
    elif field.kind is FieldType.DIGEST:
        yield from _digest_faults(field.path, value)
    elif field.kind is FieldType.UUID and not _converts(value, UUID):
        yield FieldFault(field.path, Reason.BAD_FORMAT, "must be a UUID")
    elif field.kind is FieldType.TIMESTAMP and not _converts(value, Moment):
        yield FieldFault(field.path, Reason.BAD_FORMAT, "must be an RFC 3339 time with an offset")


def _matches(pattern: str, text: str) -> bool:
    return re.fullmatch(pattern.removeprefix("^").removesuffix("$"), text) is not None


def _converts(text: str, kind: Any) -> bool:
    try:
        msgspec.convert(text, kind)
    except msgspec.ValidationError:
        return False
    return True
