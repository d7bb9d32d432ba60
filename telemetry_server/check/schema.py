"""The shape of a ping: msgspec types and JSON Schema, both made from the field registry.

The patterns of names and digests are only in the schema, and held by `check.ping`: a pattern per feature
name costs more than all the rest of the validation, and names repeat from ping to ping.
"""

from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
from msgspec import Meta, Raw

from telemetry_server.check.fields import (
    DIGEST_PATTERN,
    MOST_PINGS,
    NAME_PATTERN,
    Carrier,
    Field,
    FieldType,
    Registry,
)
from telemetry_server.model import LARGEST_INTEGER, Moment


def type_of(carrier: Carrier, registry: Registry) -> type[msgspec.Struct]:
    """The struct of a ping, or of an upload without its pings, that forbids unknown fields."""
    return _struct(carrier.title(), _members(carrier, registry))


def upload_type(registry: Registry) -> type[msgspec.Struct]:
    """The struct of a whole upload with its pings, that forbids unknown fields."""
    ping = type_of(Carrier.PING, registry)
    pings = Annotated[list[ping], Meta(min_length=1, max_length=MOST_PINGS)]  # type: ignore[valid-type]
    return _struct("Upload", [*_members(Carrier.UPLOAD, registry), ("pings", pings)])


def envelope_type(registry: Registry) -> type[msgspec.Struct]:
    """The struct of the known members of an upload, each as its JSON; None for absent ones."""
    sections = registry.sections(Carrier.UPLOAD)
    names = [*(field.name for field in sections.pop("")), *sections, "pings"]
    return msgspec.defstruct("Envelope", [(name, Raw, None) for name in names], gc=False)


def array_type(most: int) -> type[msgspec.Struct]:
    """The struct of an array of 1 to `most` items, each as its JSON; None after the last.

    A list would be built whole before its length is checked.
    """
    items: list[tuple[Any, ...]] = [("item0", Raw), *((f"item{n}", Raw, None) for n in range(1, most))]
    return msgspec.defstruct("Array", items, array_like=True, forbid_unknown_fields=True, gc=False)


def _members(carrier: Carrier, registry: Registry) -> list[tuple[Any, ...]]:
    sections = registry.sections(carrier)
    members = [_member(field) for field in sections.pop("")]
    for name, fields in sections.items():
        struct = _struct(name.title(), [_member(field) for field in fields])
        needed = any(field.required for field in fields)
        members.append((name, struct) if needed else (name, struct | None, None))
    return members


def _struct(name: str, members: list[tuple[Any, ...]]) -> type[msgspec.Struct]:
    return msgspec.defstruct(
        name, members, kw_only=True, omit_defaults=True, gc=False, forbid_unknown_fields=True
    )


def _member(field: Field) -> tuple[Any, ...]:
    value = _value_type(field)
    return (field.name, value) if field.required else (field.name, value | None, None)


def _value_type(field: Field) -> Any:
    number = Annotated[int, Meta(ge=field.minimum, le=LARGEST_INTEGER)]
    digest = Annotated[str, Meta(extra_json_schema={"pattern": DIGEST_PATTERN})]
    named = {"propertyNames": {"type": "string", "pattern": NAME_PATTERN}}
    match field.kind:
        case FieldType.STRING:
            no_nul = {"pattern": r"^[^\u0000]*$"}
            return Annotated[str, Meta(max_length=field.max_length, extra_json_schema=no_nul)]
        case FieldType.NAME:
            return Annotated[str, Meta(extra_json_schema={"pattern": NAME_PATTERN})]
        case FieldType.ENUM:
            return Literal[field.values]
        case FieldType.INTEGER:
            return number
        case FieldType.TIMESTAMP:
            return Moment
        case FieldType.UUID:
            return UUID
        case FieldType.DIGEST:
            return digest
        case FieldType.COUNTERS:
            return Annotated[dict[str, number], Meta(max_length=field.max_items, extra_json_schema=named)]
        case FieldType.DIGESTS:
            return Annotated[dict[str, digest], Meta(max_length=field.max_items, extra_json_schema=named)]


# ── JSON Schema ─────────────────────────────────────────────────────────────────────────────


def ping_json_schema(registry: Registry) -> dict[str, Any]:
    """The published contract of one ping, JSON Schema draft 2020-12."""
    schema = _carrier_schema(Carrier.PING, registry)
    schema["description"] = "One report of one installation. Unknown fields are ignored and counted."
    return schema


def upload_json_schema(registry: Registry, ping: dict[str, Any]) -> dict[str, Any]:
    """The published contract of one upload; `ping` is the schema of its pings, or a reference to it."""
    schema = _carrier_schema(Carrier.UPLOAD, registry)
    schema["properties"]["pings"] = {
        "type": "array",
        "items": ping,
        "minItems": 1,
        "maxItems": MOST_PINGS,
        "description": "In rising sequence.",
    }
    schema["required"].append("pings")
    schema["description"] = "One HTTP request carrying pings."
    return schema


def _carrier_schema(carrier: Carrier, registry: Registry) -> dict[str, Any]:
    sections = registry.sections(carrier)
    schema = _object(sections.pop(""))
    for name, fields in sections.items():
        section = schema["properties"][name] = _object(fields)
        if section["required"]:
            schema["required"].append(name)
        else:
            section["type"] = ["object", "null"]
    return schema


def _object(fields: tuple[Field, ...]) -> dict[str, Any]:
    required = [field.name for field in fields if field.required]
    properties = {field.name: field_schema(field) for field in fields}
    return {"type": "object", "properties": properties, "required": required}


def field_schema(field: Field) -> dict[str, Any]:
    """The published contract of one field."""
    schema = msgspec.json.schema(_value_type(field))
    if field.values:
        schema["enum"] = list(field.values)  # in the order declared
    if not field.required:
        schema = {"anyOf": [schema, {"type": "null"}]}
    return {
        **schema,
        "description": field.text,
        "x-level": field.level.value,
        "x-purpose": field.purpose,
        "x-retention": field.retention,
        "x-since": field.since,
    }
