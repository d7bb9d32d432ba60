"""The wire format, held against the vectors that the server is held against too."""

import base64
import json
import re
import uuid
from pathlib import Path

import pytest
from license_telemetry import _wire as wire
from license_telemetry._sha256 import license_key_digest

VECTORS = Path(__file__).parent.parent / "wire"


def vectors(name):
    return [pytest.param(v, id=v["name"]) for v in json.loads((VECTORS / f"{name}.json").read_text("utf-8"))]


@pytest.mark.parametrize("vector", vectors("signatures"))
def test_a_request_is_signed_as_the_golden_vectors_say(vector):
    body = base64.b64decode(vector["body_base64"])
    mac = wire.sign(wire.secret_bytes(vector["secret"]), vector["method"], vector["path"], body)
    header = wire.signature_header(vector["product"], vector["key"], vector["installation_id"], mac)
    assert (mac, header) == (vector["hmac"], vector["header"])


@pytest.mark.parametrize("vector", vectors("receipts"))
def test_a_receipt_is_checked_as_the_golden_vectors_say(vector):
    secret = wire.secret_bytes(vector["secret"])
    sent, answer = (
        base64.b64decode(vector[name]) for name in ("request_body_base64", "response_body_base64")
    )
    assert wire.receipt(secret, sent, answer) == vector["hmac"]
    assert wire.is_receipt(vector["header"], secret, sent, answer)


@pytest.mark.parametrize("vector", vectors("key_digests"))
def test_a_license_key_is_digested_as_the_golden_vectors_say(vector):
    assert license_key_digest(vector["product"], vector["license_key"]) == vector["key_digest"]


@pytest.mark.parametrize("header", [None, "", "v1 hmac=", "v1 hmac=" + "0" * 64, "hmac=\udcff", "v2 hmac=x"])
def test_what_is_no_receipt_is_none(header):
    assert not wire.is_receipt(header, bytes(32), b"sent", b"answer")


def test_a_receipt_for_other_bytes_is_none():
    header = "v1 hmac=" + wire.receipt(bytes(32), b"sent", b"answer")
    assert wire.is_receipt(header, bytes(32), b"sent", b"answer")
    assert not wire.is_receipt(header, bytes(32), b"sent", b"another answer")
    assert not wire.is_receipt(header, bytes(32), b"sent otherwise", b"answer")


@pytest.mark.parametrize("text", ["", "AAAA", "A" * 44, "ä" * 43])
def test_a_secret_of_another_length_is_refused(text):
    with pytest.raises(ValueError):
        wire.secret_bytes(text)


def test_ids_are_uuids_of_version_7_that_rise_with_time():
    first = uuid.UUID(wire.uuid7())
    assert (first.version, first.variant) == (7, uuid.RFC_4122)
    assert len({wire.uuid7() for _ in range(1000)}) == 1000
    assert first.int >> 80 <= uuid.UUID(wire.uuid7()).int >> 80


def test_times_are_written_in_utc_with_milliseconds():
    assert wire.timestamp(0) == "1970-01-01T00:00:00.000Z"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", wire.timestamp(1_795_000_000.9996))
