"""Why a ping was refused, field by field. Slow and thorough: runs only for what was refused. Pure."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from telemetry_server.check.registry import (
    DEEPEST_PING,
    DIGEST_PATTERN,
    LARGEST_INTEGER,
    NAME_PATTERN,
    Carrier,
    Field,
    Kind,
    Registry,
)
from telemetry_server.model import Reason


@dataclass(frozen=True, slots=True)
class FieldFault:
    """One wrong field: its dotted path (empty: the ping itself), the reason and a sentence."""

    path: str
    reason: Reason
    detail: str

    @classmethod
    def unexplained(cls, detail: str) -> "FieldFault":
        return cls("", Reason.MALFORMED, detail)

    @classmethod
    def forbidden_character(cls) -> "FieldFault":
        return cls("", Reason.FORBIDDEN_CHARACTER, "U+0000 cannot be kept in any string or name")

    @property
    def pointer(self) -> str:
        """The path as a JSON Pointer (RFC 6901) below the ping."""
        return "/" + self.path.replace(".", "/") if self.path else ""


def explain(raw: object, registry: Registry, carrier: Carrier = Carrier.PING) -> list[FieldFault]:
    """Every fault of `raw` as a ping, or as the upload around pings; empty when it is sound."""
    if not isinstance(raw, dict):
        return [_fault("", Reason.WRONG_TYPE, f"a{'n' * (carrier is Carrier.UPLOAD)} {carrier} is an object")]
    if carrier is Carrier.UPLOAD:
        return list(_faults(raw, registry, carrier))
    if depth(raw) > DEEPEST_PING:
        return [_fault("", Reason.TOO_DEEP, f"nested deeper than {DEEPEST_PING}")]
    if has_forbidden_character(raw):
        return [FieldFault.forbidden_character()]
    return list(_faults(raw, registry, carrier))


def depth(value: object) -> int:
    """How deep objects and arrays are nested; a bare value is 0. Iterative: input may be hostile."""
    deepest, level = 0, [value]
    while containers := [node for node in level if isinstance(node, dict | list)]:
        deepest += 1
        level = [child for node in containers for child in _children(node)]
    return deepest


def has_forbidden_character(value: object) -> bool:
    """True where a string or a key anywhere in `value` holds U+0000."""
    waiting = [value]
    while waiting:
        node = waiting.pop()
        if isinstance(node, str) and "\0" in node:
            return True
        if isinstance(node, dict):
            waiting.extend(node.keys())
        waiting.extend(_children(node))
    return False


def _children(node: object) -> list[Any]:
    if isinstance(node, dict):
        return list(node.values())
    return node if isinstance(node, list) else []


def _faults(raw: dict[str, Any], registry: Registry, carrier: Carrier) -> Iterator[FieldFault]:
    for section, fields in registry.sections(carrier).items():
        holder = raw if not section else raw.get(section, {})
        if not isinstance(holder, dict):
            yield _fault(section, Reason.WRONG_TYPE, "must be an object")
            continue
        for field in fields:
            yield from _field_faults(field, holder)


def _field_faults(field: Field, holder: dict[str, Any]) -> Iterator[FieldFault]:
    if field.name not in holder:
        if field.required:
            yield _fault(field.path, Reason.MISSING_FIELD, "is required")
        return
    value = holder[field.name]
    if value is None and field.nullable:
        return
    yield from _value_faults(field, value)


def _value_faults(field: Field, value: Any) -> Iterator[FieldFault]:
    match field.kind:
        case Kind.INTEGER:
            yield from _integer_faults(field.path, value, field.minimum)
        case Kind.COUNTERS | Kind.DIGESTS:
            yield from _map_faults(field, value)
        case _:
            yield from _text_faults(field, value)


def _integer_faults(path: str, value: Any, minimum: int) -> Iterator[FieldFault]:
    huge = isinstance(value, float) and value.is_integer() and abs(value) > LARGEST_INTEGER
    if (not isinstance(value, int) or isinstance(value, bool)) and not huge:
        yield _fault(path, Reason.WRONG_TYPE, "must be an integer")
    elif not minimum <= value <= LARGEST_INTEGER:
        yield _fault(path, Reason.OUT_OF_RANGE, f"must lie between {minimum} and {LARGEST_INTEGER}")


def _map_faults(field: Field, value: Any) -> Iterator[FieldFault]:
    if not isinstance(value, dict):
        yield _fault(field.path, Reason.WRONG_TYPE, "must be an object")
        return
    if len(value) > field.max_items:
        yield _fault(field.path, Reason.TOO_MANY, f"may hold at most {field.max_items} names")
    for name, item in value.items():
        if not _matches(NAME_PATTERN, name):
            yield _fault(field.path, Reason.BAD_FORMAT, f"the name {name[:80]!r} must match {NAME_PATTERN}")
        if field.kind is Kind.COUNTERS:
            yield from _integer_faults(field.path, item, field.minimum)
        else:
            yield from _digest_faults(field.path, item)


def _digest_faults(path: str, value: Any) -> Iterator[FieldFault]:
    if not isinstance(value, str):
        yield _fault(path, Reason.WRONG_TYPE, "must be a string")
    elif not _matches(DIGEST_PATTERN, value):
        yield _fault(path, Reason.BAD_FORMAT, "must be 64 lower-case hexadecimal digits")


def _text_faults(field: Field, value: Any) -> Iterator[FieldFault]:
    if not isinstance(value, str):
        yield _fault(field.path, Reason.WRONG_TYPE, "must be a string")
    elif field.kind is Kind.ENUM and value not in field.values:
        yield _fault(field.path, Reason.UNKNOWN_VALUE, f"must be one of: {', '.join(field.values)}")
    elif field.kind is Kind.STRING and len(value) > field.max_length:
        yield _fault(field.path, Reason.TOO_LONG, f"may be at most {field.max_length} characters long")
    elif field.kind is Kind.NAME and not _matches(NAME_PATTERN, value):
        yield _fault(field.path, Reason.BAD_FORMAT, f"must match {NAME_PATTERN}")
    elif field.kind is Kind.DIGEST:
        yield from _digest_faults(field.path, value)
    elif field.kind is Kind.UUID and not _converts(value, UUID):
        yield _fault(field.path, Reason.BAD_FORMAT, "must be a UUID")
    elif field.kind is Kind.TIMESTAMP and not _is_timestamp(value):
        yield _fault(field.path, Reason.BAD_FORMAT, "must be an RFC 3339 time with an offset")


def _matches(pattern: str, text: str) -> bool:
    return re.fullmatch(pattern.removeprefix("^").removesuffix("$"), text) is not None


def _is_timestamp(text: str) -> bool:
    moment = _converts(text, datetime)
    return moment is not None and moment.tzinfo is not None


def _converts(text: str, kind: Any) -> Any:
    try:
        return msgspec.convert(text, kind)
    except msgspec.ValidationError:
        return None


def _fault(path: str, reason: Reason, detail: str) -> FieldFault:
    return FieldFault(path, reason, detail)
