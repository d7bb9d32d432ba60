"""The field registry and everything written from it agree. UPDATE=1 (make fields) writes them anew."""

import json
import os
import tomllib

import pytest
from places import ROOT

from telemetry_server.check.fields import load_registry
from telemetry_server.check.published import fields_page, sdk_fields

REGISTRY = load_registry()
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
