"""What is in a ping: the claim, the facts, the counts, and only what is declared and allowed."""

import json
import tomllib
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from license_telemetry import _levels as levels
from license_telemetry import _ping as ping
from license_telemetry import _wire as wire
from license_telemetry._claims import claim_words, key_words, why_no_status
from license_telemetry._counters import counters_in_memory
from license_telemetry._fields import FIELDS
from license_telemetry._settings import LEVELS, Settings
from license_telemetry._sha256 import license_key_digest
from license_telemetry._statements import parse, write

ROOT = Path(__file__).parent.parent.parent
KEY = "ABCD-EFGH-IJKL-7Q2K"
START = 1_795_000_000.123456
SETTINGS = Settings(product_key="pk_acme_x", edition="business")


def claim(status="licensed", key=None, product="acme", **said):
    """As a claim travels: from license() through a counter file to a ping."""
    given = {"edition": SETTINGS.edition, **said}
    words = claim_words(
        status, *(given.get(name) for name in ("source", "source_detail", "edition", "expires_at"))
    )
    return ping.claim(parse(write(0.0, {**words, **key_words(product, key)}))[1])


def compose(level="usage", **known):
    settings = Settings(product_key="pk_acme_x", version="7.2.1", build="sha256:0f", level=level)
    return ping.compose(
        settings,
        level,
        notice=None,
        reason="heartbeat",
        at=0.0,
        license_claim=claim(key=KEY),
        known=known or ping.facts(level, "acme"),
        lost={"evicted": 2},
        usage={"since": wire.timestamp(0), "features": {"a": 1}},
    )


# ── the claim ───────────────────────────────────────────────────────────────────────────────


def test_a_claim_carries_digest_and_hint_and_never_the_key():
    made = claim(key=f" {KEY}\n", source="marketplace", source_detail="codecanyon")
    assert made == {
        "status": "licensed",
        "key_digest": license_key_digest("acme", KEY),
        "key_hint": "7Q2K",
        "source": "marketplace",
        "source_detail": "codecanyon",
        "edition": "business",
    }


def test_a_short_key_has_no_hint_that_would_tell_it():
    assert "key_hint" not in claim(key="ABCD")


def test_without_the_products_slug_there_is_no_digest():
    assert "key_digest" not in claim(key=KEY, product=None)


def test_a_claim_that_is_too_long_for_its_place_loses_the_end_of_its_detail_only():
    counters = counters_in_memory()
    words = claim_words("licensed", "gift", "\u4e2d" * 256, "\u4e2d" * 64, "2027-01-31")
    counters.say("license", write(START, {**key_words("acme", KEY), **words}))
    made = ping.claim(parse(counters.said("license"))[1])
    assert (made["edition"], made["expires_at"]) == ("\u4e2d" * 64, "2027-01-31T00:00:00Z")
    assert (made["key_hint"], set(made["source_detail"])) == ("7Q2K", {"\u4e2d"})
    assert len(made["source_detail"]) > 150


def test_a_source_we_do_not_know_is_unknown():
    assert claim(source="a friend")["source"] == "unknown"


@pytest.mark.parametrize("status", [None, "", "valid", 3, [], object()])
def test_a_status_that_is_none_makes_no_claim(status):
    assert "that is no status" in why_no_status(status)


@pytest.mark.parametrize(
    ("given_moment", "written"),
    [
        ("2027-01-31T01:00:00+01:00", "2027-01-31T00:00:00Z"),
        ("2027-01-31T00:00:00Z", "2027-01-31T00:00:00Z"),
        ("2027-01-31", "2027-01-31T00:00:00Z"),
        (date(2027, 1, 31), "2027-01-31T00:00:00Z"),
        (datetime(2027, 1, 31, 12, 30, 1, 999), "2027-01-31T12:30:01Z"),
        (datetime(2027, 1, 31, tzinfo=timezone(timedelta(hours=-5))), "2027-01-31T05:00:00Z"),
        (datetime.min.replace(tzinfo=timezone(timedelta(hours=5))), None),
        ("tomorrow", None),
        (1_800_000_000, None),
        (None, None),
    ],
)
def test_the_end_of_a_license_is_written_in_utc(given_moment, written):
    assert claim(expires_at=given_moment).get("expires_at") == written


@given(
    st.dictionaries(st.sampled_from(["key", "source", "source_detail", "edition", "expires_at"]), st.text())
)
def test_no_argument_of_license_whatever_raises_or_breaks_json(said):
    made = claim(**said)
    assert json.loads(json.dumps(made)) == made
    assert all(len(value) <= 256 and "\0" not in value for value in made.values())


# ── levels ──────────────────────────────────────────────────────────────────────────────────


def test_the_declared_fields_are_those_of_the_servers_registry():
    registry = tomllib.loads((ROOT / "telemetry_server" / "fields.toml").read_text("utf-8"))
    declared = {
        path: {
            "type": field["type"],
            "level": field["level"],
            "purpose": registry["purposes"][field["purpose"]],
            "text": field["text"],
        }
        for path, field in registry["field"].items()
    }
    assert declared == FIELDS


def test_each_level_holds_what_it_says():
    assert set(compose("license")) == {
        *("ping_id", "occurred_at", "reason", "boot_id", "privacy", "license", "service", "outbox")
    }
    assert set(compose("system")) == {*compose("license"), "os", "host", "virtualization", "runtime"}
    assert set(compose("usage")) == {*compose("system"), "usage"}


@pytest.mark.parametrize("level", LEVELS)
def test_nothing_above_its_level_is_in_a_ping(level):
    order = LEVELS.index(level)
    for name, value in compose(level).items():
        paths = [name] if name in FIELDS else [f"{name}.{inner}" for inner in value]
        assert all(LEVELS.index(FIELDS[path]["level"]) <= order for path in paths)


def test_below_level_system_the_machine_is_not_even_looked_at():
    assert set(ping.facts("license", "acme")) == {"boot_id"}


def test_what_is_not_declared_does_not_leave():
    made = compose(os={"type": "linux", "hostname": "db1"}, user={"name": "root"}, shoe_size=43)
    assert made["os"] == {"type": "linux"}
    assert "user" not in made
    assert "shoe_size" not in made


def test_a_malformed_fact_is_left_out():
    made = compose(
        os={"type": "Linux", "name": "a\0b\ud800", "version": 12, "kernel": "k" * 1000},
        host={"arch": "x 86", "fingerprint": {"board": "short", "mac": "a" * 64, "BAD": "b" * 64}},
        virtualization={"vm": None, "container": "docker"},
    )
    assert made["os"] == {"type": "linux", "name": "ab", "kernel": "k" * 128}
    assert made["host"] == {"fingerprint": {"mac": "a" * 64}}
    assert made["virtualization"] == {"vm": None, "container": "docker"}


def test_a_broken_detector_costs_its_fact_only(monkeypatch):
    from license_telemetry import _facts as facts

    def broken(*_):
        raise RuntimeError("no such thing")

    monkeypatch.setattr(facts, "virtualization", broken)
    found = ping.facts("usage", "acme")
    assert "virtualization" not in found
    assert found["os"]["type"]


def test_in_a_container_the_identity_is_not_bound_to_the_machine(monkeypatch):
    from license_telemetry import _facts as facts

    monkeypatch.setattr(facts, "machine_digest", lambda _product: "a" * 64)
    monkeypatch.setattr(facts, "virtualization", lambda: {"vm": None, "container": "docker", "cloud": None})
    assert ping.machine("acme") is None
    monkeypatch.setattr(facts, "virtualization", lambda: {"vm": "kvm", "container": None, "cloud": None})
    assert ping.machine("acme") == "a" * 64


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)
paths = st.sampled_from(sorted({path.split(".")[0] for path in FIELDS}))


@given(
    st.dictionaries(
        paths, json_values | st.dictionaries(st.sampled_from(["name", "features", "arch"]), json_values)
    )
)
def test_whatever_comes_to_the_gate_what_leaves_is_declared(whatever):
    for name, value in levels.strip(whatever, "usage").items():
        assert name in FIELDS or all(f"{name}.{inner}" in FIELDS for inner in value)


# ── the preview ─────────────────────────────────────────────────────────────────────────────


def without_what_time_changes(made):
    return {name: value for name, value in made.items() if name not in ("ping_id", "occurred_at")}


def test_the_preview_is_what_is_then_sent(bench, server):
    here = bench(environment="production", notice_version="2018-04-17")
    here.license(key=KEY, source="marketplace")
    here.feature("invoice.created", 12)
    here.engine.collect()
    here.feature("invoice.created", 3)
    here.feature("report.run")
    here.say("ping")
    shown = here.engine.preview()
    assert shown["sequence"] == 2
    assert shown["usage"]["features"] == {"invoice.created": 15, "report.run": 1}
    assert here.engine.collect()
    here.engine.deliver(3)
    (sent,) = [p for p in server.pings if p["sequence"] == 2]
    assert without_what_time_changes(shown) == without_what_time_changes(
        {name: value for name, value in sent.items() if name != "installation_id"}
    )


def test_the_preview_changes_nothing(bench, tmp_path, server):
    here = bench()
    here.feature("invoice.created")
    assert here.engine.preview()["usage"]["features"] == {"invoice.created": 1}
    assert here.engine.preview()["sequence"] == 1
    assert not (tmp_path / "state").exists()
    assert server.received == []


def test_the_preview_tells_the_same_moment_as_the_clock(bench):
    here = bench()
    assert here.engine.preview()["occurred_at"] == wire.timestamp(here.clock())
    assert datetime.fromisoformat(here.engine.preview()["occurred_at"]).tzinfo == UTC
