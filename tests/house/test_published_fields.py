"""docs/fields.md and the SDK's module `_fields` are written from the field registry. UPDATE=1 (make fields) writes them anew."""

import json
import os
import tomllib
from pprint import pformat

import pytest
from places import ROOT

from telemetry_server.check.fields import Carrier, FieldType, load_registry

REGISTRY = load_registry()
_MODULE = '''\
"""Every field a ping may carry, by its dotted path. Written by `make fields`."""
# fmt: off

FIELDS = \\
{}
'''
_INTRODUCTION = """\
# What is collected

Written by `make fields` from `telemetry_server/fields.toml`. A field is kept only where the ping's privacy
level allows it: `license` < `system` < `usage`. The address that a ping came from, and the place of that
address, are seen by the server and not part of a ping; full addresses are kept for
`TELEMETRY_ADDRESS_RETENTION_DAYS` (90), then shortened to their /24 or /48.
"""
_HEADING = "| field | type | level | why | how long | since | |\n| --- | --- | --- | --- | --- | --- | --- |"


def sdk_fields(registry):
    """The SDK's module `_fields`: what it needs to strip a ping by level and to explain its preview."""
    fields = {
        field.path: {
            "type": field.kind.value,
            "level": field.level.value,
            "purpose": registry.purposes[field.purpose],
            "text": field.text,
        }
        for field in registry.fields.values()
    }
    return _MODULE.format(pformat(fields, width=108))


def fields_page(registry):
    """docs/fields.md."""
    parts = [_INTRODUCTION]
    for carrier, title in ((Carrier.UPLOAD, "Once in an upload"), (Carrier.PING, "In each ping")):
        parts += [f"## {title}\n", _HEADING, *(_row(field) for field in registry.of(carrier)), ""]
    parts += ["## Why\n", *(f"- **{name}**: {text}" for name, text in registry.purposes.items()), ""]
    parts += [
        "## How long\n",
        "Unless the operator keeps a class longer or shorter, or for ever (`TELEMETRY_RETENTION_DAYS`):\n",
        *(f"- **{name}**: {kept}. {kept.then}" for name, kept in registry.retention.items()),
    ]
    return "\n".join(parts) + "\n"


def _row(field):
    name = f"`{field.path}`" + (" *" if field.required else "")
    cells = (name, _type(field), field.level, field.purpose, field.retention, field.since, field.text)
    return "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |"


def _type(field):
    match field.kind:
        case FieldType.ENUM:
            return ", ".join(f"`{value}`" for value in field.values)
        case FieldType.STRING:
            return f"string, at most {field.max_length}"
        case FieldType.COUNTERS | FieldType.DIGESTS:
            return f"{field.kind}, at most {field.max_items}"
        case _:
            return field.kind.value


WRITTEN = {
    ROOT / "docs" / "fields.md": fields_page(REGISTRY),
    ROOT / "client_sdk" / "license_telemetry" / "_fields.py": sdk_fields(REGISTRY),
}


@pytest.mark.parametrize("path", WRITTEN, ids=lambda path: path.name)
def test_what_is_written_from_the_registry_is_up_to_date(path):
    if os.environ.get("UPDATE"):
        path.write_text(WRITTEN[path], "utf-8")
    assert path.read_text("utf-8") == WRITTEN[path], "run: make fields"


def test_every_declared_field_has_an_owner_in_the_page():
    declared = tomllib.loads((ROOT / "telemetry_server" / "fields.toml").read_text())["field"]
    page = (ROOT / "docs" / "fields.md").read_text()
    assert [path for path in declared if f"`{path}`" not in page] == []


def test_the_protocol_page_sends_only_declared_fields():
    declared = set(REGISTRY.fields)
    for entry in json.loads((ROOT / "tests" / "wire" / "pings_valid.json").read_text()):
        if entry.get("unknown") or "ping" not in entry:
            continue
        for name, value in entry["ping"].items():
            nested = name in REGISTRY.sections()
            assert ({f"{name}.{inner}" for inner in value or ()} if nested else {name}) <= declared
