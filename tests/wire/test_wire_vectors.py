"""The golden vectors are what generate.py computes, cover the field registry, and are what the page shows."""

import gzip
import json
import re
import shutil
import subprocess
import sys
import tomllib
from base64 import b64decode, urlsafe_b64decode
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

WIRE = Path(__file__).parent
ROOT = WIRE.parent.parent
PAGE = ROOT / "docs" / "protocol.md"
FILES = ("secrets", "signatures", "receipts", "key_digests", "grants", "pings_valid", "pings_invalid")
LEVELS = ("license", "system", "usage")
CODES = {
    *("missing_field", "wrong_type", "unknown_value", "too_long", "bad_format", "out_of_range", "too_many"),
    *("forbidden_character", "too_deep", "malformed"),
}


def vectors(name: str) -> list[dict[str, Any]]:
    return json.loads((WIRE / f"{name}.json").read_bytes())


def registry() -> dict[str, dict[str, Any]]:
    """The fields of a ping; those of the upload around it are left out."""
    fields = tomllib.loads((ROOT / "telemetry_server" / "fields.toml").read_text("utf-8"))["field"]
    return {path: field for path, field in fields.items() if field.get("carrier") != "upload"}


def named(name: str, entry: str) -> dict[str, Any]:
    return next(vector for vector in vectors(name) if vector["name"] == entry)


def ping_of(vector: dict[str, Any]) -> Any:
    return json.loads(vector["raw"]) if "raw" in vector else vector["ping"]


def leaves(ping: dict[str, Any]) -> dict[str, Any]:
    """Every key of the ping, and of the sections the registry knows, by its dotted path."""
    sections = {path.partition(".")[0] for path in registry() if "." in path}
    flat: dict[str, Any] = {}
    for key, value in ping.items():
        if key in sections:
            flat |= {f"{key}.{name}": inner for name, inner in (value or {}).items()}
        else:
            flat[key if "." not in key else f"{key} (one key)"] = value
    return flat


def above(level: str) -> set[str]:
    return {path for path, field in registry().items() if LEVELS.index(field["level"]) > LEVELS.index(level)}


# ── the files ───────────────────────────────────────────────────────────────────────────────


def test_the_files_are_what_the_generator_writes(tmp_path):
    subprocess.run([sys.executable, WIRE / "generate.py", tmp_path], check=True)
    written = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert written == {path.name: path.read_bytes() for path in WIRE.glob("*.json")}


@pytest.mark.parametrize("name", FILES)
def test_every_vector_has_a_name_of_its_own(name):
    names = [vector["name"] for vector in vectors(name)]
    assert sorted(names) == sorted(set(names))


def test_the_generator_imports_none_of_our_packages():
    sources = [(WIRE / file).read_text("utf-8") for file in ("generate.py", "golden_pings.py")]
    assert not any(re.search(r"(import|from) (telemetry_server|license_telemetry)", text) for text in sources)


# ── secrets, signatures, receipts, digests ──────────────────────────────────────────────────


def test_secrets_are_32_bytes_in_base64url_without_padding():
    secrets = [vector["secret"] for vector in vectors("secrets")]
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{43}", secret) for secret in secrets)
    assert {len(urlsafe_b64decode(secret + "=")) for secret in secrets} == {32}
    assert {"-", "_"} <= set("".join(secrets))
    assert len(set(secrets)) == len(secrets)


def test_whatever_differs_in_a_request_differs_in_its_signature():
    macs = [vector["hmac"] for vector in vectors("signatures")]
    assert len(set(macs)) == len(macs)


def test_signatures_are_made_with_the_secrets_derived_for_their_installations():
    derived = {(vector["installation_id"], vector["secret"]) for vector in vectors("secrets")}
    assert {(vector["installation_id"], vector["secret"]) for vector in vectors("signatures")} <= derived


@pytest.mark.parametrize("vector", vectors("signatures"), ids=lambda vector: vector["name"])
def test_a_signature_header_has_four_parts_in_order(vector):
    pattern = r"v1 product=([a-z0-9-]+) key=([a-z0-9]+) installation=([0-9a-f-]{36}) hmac=([0-9a-f]{64})"
    found = re.fullmatch(pattern, vector["header"])
    assert found
    assert found.groups() == tuple(vector[name] for name in ("product", "key", "installation_id", "hmac"))


def test_the_compressed_upload_is_the_example_once_inflated():
    example = named("signatures", "the example in docs/protocol.md")
    compressed = named("signatures", "the same upload in gzip")
    assert gzip.decompress(b64decode(compressed["body_base64"])) == b64decode(example["body_base64"])


def test_whatever_differs_in_an_exchange_differs_in_its_receipt():
    macs = [vector["hmac"] for vector in vectors("receipts")]
    assert len(set(macs)) == len(macs)
    assert all(vector["header"] == f"v1 hmac={vector['hmac']}" for vector in vectors("receipts"))


@pytest.mark.parametrize("vector", vectors("key_digests"), ids=lambda vector: vector["name"])
def test_white_space_around_a_license_key_is_what_python_strips(vector):
    text = f"license\n{vector['product']}\n{vector['license_key'].strip()}"
    assert vector["key_digest"] == sha256(text.encode()).hexdigest()


# ── pings ───────────────────────────────────────────────────────────────────────────────────


def test_there_are_enough_golden_pings():
    assert len(vectors("pings_valid")) >= 25
    assert len(vectors("pings_invalid")) >= 40


def test_every_field_is_in_a_valid_ping_and_every_optional_one_is_null_in_one():
    present, null = set(), set()
    for flat in (leaves(ping_of(vector)) for vector in vectors("pings_valid")):
        present |= {path for path, value in flat.items() if value is not None}
        null |= {path for path, value in flat.items() if value is None and path in registry()}
    assert present >= set(registry())
    assert null == {path for path, field in registry().items() if not field.get("required")}


def test_every_listed_value_is_in_a_valid_ping():
    flat = [leaves(ping_of(vector)) for vector in vectors("pings_valid")]
    listed = {path: field["values"] for path, field in registry().items() if "values" in field}
    assert {path: {ping.get(path) for ping in flat} - {None} for path in listed} == {
        path: set(values) for path, values in listed.items()
    }


def test_every_limit_is_reached_by_a_valid_ping_and_passed_by_an_invalid_one():
    limits = {
        path: field[kind]
        for path, field in registry().items()
        for kind in ("max_length", "max_items")
        if kind in field
    }
    kept = [leaves(ping_of(vector)) for vector in vectors("pings_valid")]
    assert {path: max(len(ping.get(path) or "") for ping in kept) for path in limits} == limits
    refused = [vector for vector in vectors("pings_invalid") if vector["code"] in {"too_long", "too_many"}]
    passed = {vector["field"]: len(leaves(ping_of(vector))[vector["field"]]) for vector in refused}
    assert passed == {path: limit + 1 for path, limit in limits.items()}


@pytest.mark.parametrize("vector", vectors("pings_valid"), ids=lambda vector: vector["name"])
def test_unknown_and_stripped_fields_are_counted_as_the_registry_says(vector):
    flat = leaves(ping_of(vector))
    assert vector.get("unknown", 0) == len(flat.keys() - registry().keys())
    present = {path for path, value in flat.items() if value is not None}
    assert vector.get("stripped", 0) == len(present & above(flat["privacy.level"]))


def test_every_reason_is_given_and_every_fault_lies_in_a_known_field():
    invalid = vectors("pings_invalid")
    assert {vector["code"] for vector in invalid} == CODES
    sections = {path.partition(".")[0] for path in registry()}
    assert {vector["field"] for vector in invalid} <= {"", *sections, *registry()}


def test_every_required_field_is_missing_once_and_null_once():
    invalid = vectors("pings_invalid")
    missing = {vector["field"] for vector in invalid if vector["code"] == "missing_field"}
    assert missing == {path for path, field in registry().items() if field.get("required")}
    null = {vector["field"] for vector in invalid if vector["name"].endswith(" is null")} & registry().keys()
    assert null == {path for path, field in registry().items() if field.get("required")}


# ── the page ────────────────────────────────────────────────────────────────────────────────


def test_the_example_on_the_page_is_the_vectors():
    page = PAGE.read_text("utf-8")
    signed, receipted, digested = (vectors(name)[0] for name in ("signatures", "receipts", "key_digests"))
    request = f"Telemetry-Signature: {signed['header']}\n\n{b64decode(signed['body_base64']).decode()}\n"
    answer = f"Telemetry-Receipt: {receipted['header']}\n\n{b64decode(receipted['response_body_base64']).decode()}\n"
    assert request in page
    assert answer in page
    assert receipted["request_body_base64"] == signed["body_base64"]
    assert f"`{digested['license_key']}`, `{digested['key_digest']}`" in page
    assert f'"installation_id": "{signed["installation_id"]}", "secret": "{signed["secret"]}"' in page


@pytest.mark.skipif(not shutil.which("openssl"), reason="needs the openssl command")
def test_the_shell_on_the_page_prints_the_vectors():
    (script,) = re.findall(r"```sh\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    printed = subprocess.run(["sh", "-euc", script], check=True, capture_output=True, text=True).stdout
    signed, receipted, digested = (vectors(name)[0] for name in ("signatures", "receipts", "key_digests"))
    assert printed.split() == [signed["hmac"], receipted["hmac"], digested["key_digest"]]


def test_the_smallest_ping_on_the_page_is_the_one_in_the_example():
    blocks = re.findall(r"```json\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    smallest = next(json.loads(block) for block in blocks if '"ping_id": "0' in block)
    assert json.loads(b64decode(vectors("signatures")[0]["body_base64"]))["pings"] == [smallest]
    assert {path for path, field in registry().items() if field.get("required")} == leaves(smallest).keys()


def test_the_page_explains_every_reason_and_names_every_file():
    page = PAGE.read_text("utf-8")
    assert {code for code in CODES if f"`{code}`" not in page} == set()
    assert {name for name in FILES if f"`{name}.json`" not in page} == set()
