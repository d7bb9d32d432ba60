"""JSON Schemas of requests and answers, by their names in the OpenAPI document.

They are made from the types that routes name; a ping's is made from the field registry.
"""

from collections.abc import Iterable
from typing import Any

from msgspec.json import schema_components

from telemetry_server.check.fields import Registry
from telemetry_server.check.schema import ping_json_schema, upload_json_schema
from telemetry_server.middleware import Problem
from telemetry_server.routing import Route

Schema = dict[str, Any]

REFERENCE = "#/components/schemas/{name}"


def schemas(registry: Registry, routes: Iterable[Route]) -> dict[str, Schema]:
    """The schemas of the bodies and answers of those routes, by name."""
    shapes = {shape for route in routes for shape in (route.body, *route.answers.values())}
    types = {Problem, *(shape for shape in shapes if isinstance(shape, type))}
    _, components = schema_components(sorted(types, key=lambda each: each.__name__), ref_template=REFERENCE)
    for schema in components.values():
        _require_what_is_always_there(schema)
    return components | {
        "Ping": ping_json_schema(registry),
        "Upload": upload_json_schema(registry, {"$ref": REFERENCE.format(name="Ping")}),
        "LicenseFile": {"type": "string", "description": "CSV or NDJSON, as docs/licenses.md describes it."},
        "OpenApi": {"type": "object", "description": "An OpenAPI 3.1 document: this one."},
    }


def _require_what_is_always_there(schema: Schema) -> None:
    """Fields with a default are required in answers: they are always written, unless UNSET."""
    properties = schema.get("properties", {})
    always = {name for name, each in properties.items() if "default" in each}
    for name in always:
        del properties[name]["default"]
    if always:
        schema["required"] = [name for name in properties if name in always or name in schema["required"]]
