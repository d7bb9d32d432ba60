"""The field registry as others read it: the table in docs/fields.md, the SDK's module `_fields`. Pure.

`make fields` writes both; a test fails when they are out of step.
"""

from pprint import pformat

from telemetry_server.check.fields import Carrier, Field, FieldType, Registry


def sdk_fields(registry: Registry) -> str:
    """What the SDK knows of each field of a ping: enough to strip by level and to explain its preview."""
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


def fields_page(registry: Registry) -> str:
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


def _row(field: Field) -> str:
    name = f"`{field.path}`" + (" *" if field.required else "")
    cells = (name, _type(field), field.level, field.purpose, field.retention, field.since, field.text)
    return "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |"


def _type(field: Field) -> str:
    match field.kind:
        case FieldType.ENUM:
            return ", ".join(f"`{value}`" for value in field.values)
        case FieldType.STRING:
            return f"string, at most {field.max_length}"
        case FieldType.COUNTERS | FieldType.DIGESTS:
            return f"{field.kind}, at most {field.max_items}"
        case _:
            return field.kind.value
