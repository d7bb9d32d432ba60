"""Validation, level stripping and the JSON Schema, all against the golden pings and against each other."""

import json
from pathlib import Path

import jsonschema
import msgspec
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from installation import make_ping

from telemetry_server.check.fields import Carrier, Level, load_registry, parse_registry
from telemetry_server.check.ping import PingReader, Refused
from telemetry_server.check.schema import ping_json_schema, upload_json_schema
from telemetry_server.check.upload import UploadReader
from telemetry_server.errors import TelemetryError
from telemetry_server.model import Arrival, Reason

WIRE = Path(__file__).parent.parent / "wire"
VALID = json.loads((WIRE / "pings_valid.json").read_text())
INVALID = json.loads((WIRE / "pings_invalid.json").read_text())
REGISTRY = load_registry()
READER = PingReader(REGISTRY)
SCHEMA = jsonschema.Draft202012Validator(
    ping_json_schema(REGISTRY), format_checker=jsonschema.FormatChecker()
)


def text_of(entry):
    return entry["raw"].encode() if "raw" in entry else orjson.dumps(entry["ping"])


def read(text):
    """The ping as an upload of nothing else would bring it; `text` must be JSON."""
    msgspec.json.decode(text, type=msgspec.Raw)
    return READER.read(text)


@pytest.mark.parametrize("entry", VALID, ids=lambda entry: entry["name"])
def test_a_golden_valid_ping_is_read_with_its_counts(entry):
    ping = read(text_of(entry))
    assert (ping.unknown, ping.stripped) == (entry.get("unknown", 0), entry.get("stripped", 0))


@pytest.mark.parametrize("entry", INVALID, ids=lambda entry: entry["name"])
def test_a_golden_invalid_ping_is_refused_for_its_field_and_reason(entry):
    if entry["code"] == "malformed" and "raw" in entry:
        with pytest.raises(msgspec.DecodeError):
            read(text_of(entry))
        return
    with pytest.raises(Refused) as refusal:
        read(text_of(entry))
    fault = refusal.value.fault
    assert (fault.path, str(fault.reason)) == (entry["field"], entry["code"])


@pytest.mark.parametrize("entry", VALID, ids=lambda entry: entry["name"])
def test_the_json_schema_accepts_what_the_server_accepts(entry):
    raw = json.loads(text_of(entry))
    assert entry.get("stripped") or entry.get("lenient") or SCHEMA.is_valid(raw)


def test_fields_above_the_level_are_nowhere_in_what_is_kept():
    for level, gone in {
        "license": ["os", "host", "virtualization", "runtime", "usage"],
        "system": ["usage"],
    }.items():
        ping = READER.read(orjson.dumps(make_ping(1, privacy={"level": level})))
        assert not set(gone) & set(json.loads(ping.facts))
        assert (ping.features, ping.used_since, ping.details) == (None, None, None)
        assert ping.stripped > 0


def test_the_license_key_digest_is_not_among_the_facts():
    ping = READER.read(orjson.dumps(make_ping(1)))
    assert ping.key_digest == "9f" * 32
    assert ping.key_digest not in ping.facts


def test_facts_do_not_change_from_ping_to_ping():
    one, other = (
        READER.read(orjson.dumps(make_ping(1))),
        READER.read(orjson.dumps(make_ping(2, reason="manual", usage={"features": {"a": 1}}))),
    )
    assert one.facts == other.facts
    assert (one.reason, other.reason) == ("heartbeat", "manual")


def test_every_field_of_the_registry_reaches_the_schema_and_the_other_way_round():
    paths = set()
    for name, schema in ping_json_schema(REGISTRY)["properties"].items():
        nested = schema.get("properties") if "x-level" not in schema else None
        paths |= {f"{name}.{inner}" for inner in nested} if nested else {name}
    assert paths == {field.path for field in REGISTRY.of(Carrier.PING)}
    upload = upload_json_schema(REGISTRY, {})["properties"]
    assert set(upload) == {f.section or f.name for f in REGISTRY.of(Carrier.UPLOAD)} | {"pings"}


def test_a_registry_with_an_unknown_purpose_is_refused():
    entry = {
        "type": "string",
        "level": "usage",
        "purpose": "curiosity",
        "retention": "ping",
        "since": "1",
        "text": "",
    }
    with pytest.raises(ValueError, match="unknown purpose"):
        parse_registry(
            {
                "purposes": {},
                "retention": {"ping": {"days": 1, "then": ""}},
                "field": {"x": entry},
            }
        )


def test_levels_are_ordered():
    assert Level.USAGE.allows(Level.LICENSE)
    assert Level.SYSTEM.allows(Level.SYSTEM)
    assert not Level.LICENSE.allows(Level.SYSTEM)


# ── the fast reader, the thorough explanation and the schema agree on anything ──────────────

SCALARS = st.none() | st.booleans() | st.integers(-(2**64), 2**64) | st.floats() | st.text(max_size=8)
JUNK = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
PATHS = [field.path for field in REGISTRY.of(Carrier.PING)] + sorted(REGISTRY.sections())[1:]
TEXTS = st.sampled_from(
    [
        "",
        "a",
        "A",
        "a\n",
        "\u0000",
        "é" * 300,
        "x" * 65,
        "9f" * 32,
        "9F" * 32,
        "2026-11-22T10:00:00Z",
        "2026-11-22T10:00:00",
        "usage",
        "linux",
        "licensed",
    ]
)


@given(
    path=st.sampled_from(PATHS),
    value=JUNK | TEXTS | st.dictionaries(TEXTS, st.integers(-2, 2**60) | TEXTS, max_size=3),
)
def test_any_value_in_any_field_is_kept_or_refused_with_its_reason(path, value):
    ping = make_ping(1)
    section, _, name = path.rpartition(".")
    (ping.setdefault(section, {}) if section else ping)[name] = value
    try:
        text = orjson.dumps(ping)
    except (TypeError, orjson.JSONEncodeError):  # what JSON cannot say cannot arrive
        return
    try:
        kept = read(text)
    except Refused as refusal:
        assert refusal.fault.reason is not Reason.MALFORMED, "every refusal can be explained"
        return
    json.loads(kept.facts)
    assert "\\u0000" not in kept.facts + json.dumps(kept.features)


@given(JUNK)
def test_anything_at_all_is_a_ping_or_is_refused(value):
    try:
        text = orjson.dumps(value)
    except (TypeError, orjson.JSONEncodeError):
        return
    with pytest.raises(Refused):
        read(text)


# ── the two ways of reading an upload ───────────────────────────────────────────────────────


UPLOADS = UploadReader(REGISTRY)
VALID_TEXTS = [text_of(entry) for entry in VALID]
TEXTS = VALID_TEXTS + [text_of(entry) for entry in INVALID]
ENVELOPES = [
    b'{"pings": [%s]}',
    b'{"sdk": {"name": "x", "version": null}, "upload_id": "019ab6f0-3c1e-7d2a-9b1e-5f0c2a7d9e11", "pings": [%s]}',
    b'{"pings": [%s], "sdk": {}, "sent_at": "2026-11-22T10:00:03.120Z"}',
    b'{"pings": [1], "pings": [%s], "hobby": {"pings": 1}}',
]


def read_upload(read, body):
    """Everything that a way of reading finds out, or the error it raises."""
    arrival = Arrival("/v1/pings", "", body, None, None, None, body)
    try:
        done = read(arrival)
        if not isinstance(done, bool):
            for _ in done:
                pass
    except TelemetryError as error:
        return type(error), str(error)
    return done, arrival.items, arrival.upload_id, arrival.sent_at


def both_ways_agree(body):
    at_once, in_slices = (
        read_upload(UPLOADS._read_at_once, body),
        read_upload(UPLOADS._read_in_slices, body),
    )
    if at_once[0] is True:
        assert at_once[1:] == in_slices[1:]
    return at_once[0]


@pytest.mark.parametrize("envelope", ENVELOPES, ids=range(len(ENVELOPES)))
@pytest.mark.parametrize("entry", VALID + INVALID, ids=lambda entry: entry["name"])
def test_a_golden_ping_is_read_alike_at_once_and_in_slices(entry, envelope):
    both_ways_agree(envelope % text_of(entry))


def test_what_our_clients_send_is_read_at_once():
    for level in Level:
        sections = {"usage": None} if level is Level.SYSTEM else {}
        if level is Level.LICENSE:
            sections = dict.fromkeys(["os", "host", "virtualization", "runtime", "usage"])
        ping = orjson.dumps(make_ping(1, privacy={"level": level}, **sections))
        assert both_ways_agree(ENVELOPES[1] % ping) is True
        assert both_ways_agree(ENVELOPES[0] % b",".join([ping] * 500)) is True


@given(st.lists(st.sampled_from(TEXTS), min_size=1, max_size=4), st.sampled_from(ENVELOPES), st.data())
def test_a_damaged_upload_is_read_alike_at_once_and_in_slices(texts, envelope, data):
    """Cuts, doubles and replaces parts of uploads, so that what comes out is often still nearly one."""
    body = envelope % b",".join(texts)
    for _ in range(data.draw(st.integers(0, 3))):
        start = data.draw(st.integers(0, len(body)))
        end = data.draw(st.integers(start, min(len(body), start + 40)))
        scraps = st.sampled_from(
            [b"", body[start:end] * 2, b"null", b"1.0", b"-0", b'"', b"{}", b"\\u0000", b"\xff"]
        )
        body = body[:start] + data.draw(scraps | st.binary(max_size=3)) + body[end:]
    both_ways_agree(body)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(st.sampled_from(VALID_TEXTS), st.sampled_from(sorted(REGISTRY.fields)), JSON_VALUES)
def test_an_upload_with_any_value_in_any_field_is_read_alike_at_once_and_in_slices(text, path, value):
    ping = json.loads(text)
    upload = {"pings": [ping]}
    field = REGISTRY.fields[path]
    holder = ping if field.carrier is Carrier.PING else upload
    if field.section:
        holder = holder.setdefault(field.section, {})
    if isinstance(holder, dict):
        holder[field.name] = value
    both_ways_agree(json.dumps(upload).encode())
