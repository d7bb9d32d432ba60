"""What requests and answers look like, as JSON Schema, by the names routes use.

What the field registry declares is made from it; the rest is written down here.
"""

from collections.abc import Iterable
from typing import Any

from telemetry_server.check.registry import LARGEST_INTEGER, Field, Registry
from telemetry_server.check.schema import ping_json_schema, upload_json_schema
from telemetry_server.model import Reason, Status
from telemetry_server.show.items import PLACE, detail_fields, fact_fields

Schema = dict[str, Any]

_TEXT: Schema = {"type": "string"}
_NUMBER: Schema = {"type": "integer"}
_COUNT: Schema = {"type": "integer", "minimum": 0}
_SWITCH: Schema = {"type": "boolean"}
_ID: Schema = {"type": "string", "format": "uuid"}
_MOMENT: Schema = {"type": "string", "format": "date-time"}
_COUNTERS: Schema = {"type": "object", "additionalProperties": _COUNT}
_SEQUENCE: Schema = {"type": "integer", "minimum": 1, "maximum": LARGEST_INTEGER}


def schemas(registry: Registry) -> dict[str, Schema]:
    """Every schema of the OpenAPI document by name."""
    return {
        **_protocol(registry),
        **_fleet(registry),
        "Health": _object(status={"const": "ok"}, version=_TEXT),
        "Readiness": _object(
            status={"enum": ["ready", "degraded", "not ready"]},
            version=_TEXT,
            checks=_many(_object(name=_TEXT, ok=_SWITCH, detail=_TEXT, needed=_SWITCH)),
        ),
        "JsonSchema": {"type": "object", "description": "A JSON Schema, draft 2020-12."},
        "OpenApi": {"type": "object", "description": "An OpenAPI 3.1 document: this one."},
        "SignIn": _object(token=_TEXT, next=_TEXT) | {"required": ["token"]},
        "SignOut": _object(csrf_token=_TEXT) | {"required": []},
        "Problem": _PROBLEM,
    }


def _protocol(registry: Registry) -> dict[str, Schema]:
    enrolment_request = _object(forked_from=_nullable(_ID)) | {"required": []}
    enrolment_request["description"] = (
        "Empty, or of a forked copy: its former id, with the signature header made with its former secret."
    )
    result = _object(
        ping_id=_nullable(_TEXT),
        sequence=_nullable(_NUMBER),
        status={"enum": [status.value for status in Status]},
        code={"enum": [reason.value for reason in Reason], "description": "Why a ping was rejected."},
        detail=_TEXT,
    ) | {"required": ["ping_id", "sequence", "status"]}
    return {
        "Ping": ping_json_schema(registry),
        "Upload": upload_json_schema(registry, _reference("Ping")),
        "UploadAnswer": _object(
            upload_id=_nullable(_ID),
            results=_many(result) | {"description": "In the order sent."},
            missing=_RANGES | {"description": "Numbers that never came; send again what is still there."},
            next_ping_seconds=_COUNT,
            notices={"type": "array"},
            server_time=_MOMENT,
        ),
        "EnrolmentRequest": enrolment_request,
        "Enrolment": _object(
            installation_id=_ID,
            secret=_TEXT | {"description": "32 bytes in base64url without padding."},
            key=_TEXT | {"description": "The id of the master key; goes into the signature header."},
            product=_TEXT | {"description": "The product's slug."},
            next_ping_seconds=_COUNT,
            notice=_nullable(_object(version=_TEXT, url=_TEXT)),
            server_time=_MOMENT,
        ),
    }


def _fleet(registry: Registry) -> dict[str, Schema]:
    declared = ping_json_schema(registry)["properties"] | upload_json_schema(registry, {})["properties"]
    facts, details = _sections(declared, fact_fields()), _sections(declared, detail_fields())
    installation = _INSTALLATION | facts | {"place": _PLACE}
    ping = _PING | details | facts | {"place": _PLACE, "features": _COUNTERS}
    return {
        "Installation": _object(**installation),
        "InstallationDetail": _object(**installation, **_DETAIL),
        "PingShown": _object(**ping),
        "Product": _PRODUCT,
        "Installations": _page_of("Installation"),
        "Pings": _page_of("PingShown"),
        "Change": _CHANGE,
        "Changes": _page_of("Change"),
        "Products": _page_of("Product"),
    }


def _sections(declared: dict[str, Schema], shown: Iterable[Field]) -> dict[str, Schema]:
    """The sections as the API shows them: every field there, null where it is unknown."""
    shaped: dict[str, Schema] = {}
    for field in shown:
        if field.section:
            schema = declared[field.section]["properties"][field.name]
            section = shaped.setdefault(field.section, _object())
            section["properties"][field.name] = _nullable(schema)
            section["required"].append(field.name)
        else:
            shaped[field.name] = _nullable(declared[field.name])
    return shaped


def _page_of(name: str) -> Schema:
    following = _nullable(_TEXT) | {"description": "Path and query of the next page; null on the last."}
    return _object(items=_many(_reference(name)), next=following)


def _object(**properties: Schema) -> Schema:
    return {"type": "object", "properties": properties, "required": list(properties)}


def _many(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def _nullable(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}


def _reference(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


_RANGES: Schema = {
    "type": "array",
    "items": {"type": "array", "prefixItems": [_SEQUENCE, _SEQUENCE], "minItems": 2, "maxItems": 2},
    "description": "Half-open: [from, to).",
}
_PROBLEM: Schema = {
    **_object(type=_TEXT, title=_TEXT, status=_NUMBER, detail=_TEXT, code=_TEXT),
    "description": "What went wrong (RFC 9457). Tell cases apart by code.",
}
_PROBLEM["properties"]["errors"] = _many(
    _object(pointer=_TEXT | {"description": "JSON Pointer (RFC 6901)."}, detail=_TEXT)
)

_NULLABLE_TEXT, _NULLABLE_NUMBER = _nullable(_TEXT), _nullable(_NUMBER)
_PLACE = _object(
    **dict.fromkeys(PLACE, _NULLABLE_TEXT) | {"asn": _NULLABLE_NUMBER, "prefix_length": _NULLABLE_NUMBER}
)
_INSTALLATION: Schema = {
    "installation_id": _ID,
    "product": _TEXT,
    "first_received_at": _MOMENT,
    "last_received_at": _MOMENT,
    "last_occurred_at": _MOMENT,
    "last_sequence": _SEQUENCE,
    "pings": _COUNT | {"description": "Pings that came, each counted once."},
    "missing": _COUNT | {"description": "Numbers below the highest that have not come yet."},
    "lost": _COUNT | {"description": "Numbers that were given up."},
    "client_address": _NULLABLE_TEXT,
}
_FORK = _object(
    sequence=_SEQUENCE,
    ping_id=_ID,
    stored_ping_id=_ID,
    received_at=_MOMENT,
    occurred_at=_MOMENT,
    client_address=_NULLABLE_TEXT,
    place=_PLACE,
)
_DETAIL: Schema = {
    "received_ranges": _RANGES,
    "missing_ranges": _RANGES,
    "features": _COUNTERS | {"description": "Uses over the pings that are kept."},
    "fork_count": _COUNT,
    "forks": _many(_FORK) | {"description": "The newest hundred."},
    "parent_id": _nullable(_ID) | {"description": "The identity this copy had before it was forked."},
    "children": _many(_ID),
}
_PING: Schema = {
    "ping_id": _ID,
    "sequence": _SEQUENCE,
    "installation_id": _ID,
    "product": _TEXT,
    "received_at": _MOMENT,
    "occurred_at": _MOMENT,
    "time_suspect": _SWITCH,
    "client_address": _NULLABLE_TEXT,
}
_CHANGE = _object(
    installation_id=_ID,
    changed_at=_MOMENT | {"description": "When the server learned it."},
    sequence=_SEQUENCE | {"description": "The ping that told it; of a verdict or a life, the last before."},
    field=_TEXT | {"description": "As in the installation, e.g. service.version; or verdict, or life."},
    before=_NULLABLE_TEXT,
    after=_NULLABLE_TEXT,
)
_PRODUCT = _object(
    slug=_TEXT,
    name=_TEXT,
    ping_interval_seconds=_COUNT,
    created_at=_MOMENT,
    product_keys=_many(_TEXT),
    installations=_COUNT,
)
