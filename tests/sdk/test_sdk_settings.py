"""Who may say what: the host's arguments, the environment, and the customer's wish not to be tracked."""

import os
from pathlib import Path

import pytest
from license_telemetry._settings import Settings, is_name, slug_of

KEY = "pk_acme-billing_0123456789"


def test_what_the_host_leaves_out_comes_from_the_environment(monkeypatch):
    for name, value in (
        ("ENDPOINT", "https://telemetry.example.com/"),
        ("PRODUCT_KEY", KEY),
        ("STATE_DIR", "/var/lib/acme"),
        ("CA_FILE", "/etc/ca.pem"),
    ):
        monkeypatch.setenv("LICENSE_TELEMETRY_" + name, value)
    settings = Settings()
    assert (settings.endpoint, settings.product_key) == ("https://telemetry.example.com", KEY)
    assert (settings.state_dir, settings.ca_file) == ("/var/lib/acme", "/etc/ca.pem")
    assert settings.why_off is None


def test_an_argument_wins_over_the_environment(monkeypatch):
    monkeypatch.setenv("LICENSE_TELEMETRY_ENDPOINT", "https://other.example.com")
    assert Settings(endpoint="https://telemetry.example.com").endpoint == "https://telemetry.example.com"


@pytest.mark.parametrize(
    ("host", "environment", "do_not_track", "level"),
    [
        ("usage", None, None, "usage"),
        ("usage", "system", None, "system"),
        ("system", "usage", None, "system"),
        ("license", "usage", None, "license"),
        ("usage", None, "1", "license"),
        ("usage", "usage", "true", "license"),
        ("usage", None, "0", "usage"),
        ("usage", "nonsense", None, "license"),
        ("nonsense", None, None, "license"),
        (None, None, None, "license"),
    ],
)
def test_the_lowest_level_that_anybody_asks_for_holds(monkeypatch, host, environment, do_not_track, level):
    if environment is not None:
        monkeypatch.setenv("LICENSE_TELEMETRY_LEVEL", environment)
    if do_not_track is not None:
        monkeypatch.setenv("DO_NOT_TRACK", do_not_track)
    assert Settings(product_key=KEY, level=host).level == level


@pytest.mark.parametrize(
    ("name", "value", "is_off"),
    [
        ("LICENSE_TELEMETRY_DISABLED", "1", True),
        ("LICENSE_TELEMETRY_DISABLED", "yes", True),
        ("LICENSE_TELEMETRY_DISABLED", "0", False),
        ("LICENSE_TELEMETRY_DISABLED", "", False),
        ("LICENSE_TELEMETRY", "off", True),
        ("LICENSE_TELEMETRY", "0", True),
        ("LICENSE_TELEMETRY", "on", False),
        ("LICENSE_TELEMETRY", "1", False),
        ("LICENSE_TELEMETRY", "", False),
        ("LICENSE_TELEMETRY", "disabled", True),
        ("LICENSE_TELEMETRY", "none", True),
    ],
)
def test_the_environment_switches_off_even_what_the_host_switched_on(monkeypatch, name, value, is_off):
    monkeypatch.setenv(name, value)
    assert (Settings(product_key=KEY, enabled=True).why_off is not None) == is_off


def test_a_word_we_do_not_know_is_reported(monkeypatch):
    monkeypatch.setenv("LICENSE_TELEMETRY", "Aus")
    settings = Settings(product_key=KEY)
    assert "LICENSE_TELEMETRY=aus is neither on nor off" in settings.why_off
    assert settings.troubles["environment switch"] == settings.why_off


@pytest.mark.parametrize("value", ["no", "yes", 1, 0, "", []])
def test_an_argument_enabled_that_is_no_bool_counts_as_off_and_is_reported(value):
    settings = Settings(product_key=KEY, enabled=value)
    assert "enabled must be True or False" in settings.why_off
    assert settings.troubles["enabled"] == settings.why_off


def test_without_a_product_key_nothing_is_collected():
    assert Settings().why_off == "there is no product key"
    assert Settings(product="acme").why_off is None
    assert Settings(product_key=KEY, enabled=False).why_off is not None


@pytest.mark.parametrize(
    ("key", "slug"),
    [
        (KEY, "acme-billing"),
        ("pk_a_b_c", "a"),
        ("pk_acme", None),
        ("sk_acme_x", None),
        ("pk_Acme_x", None),
        ("pk__x", None),
        ("", None),
        (None, None),
    ],
)
def test_a_product_key_carries_its_slug(key, slug):
    assert slug_of(key) == slug


@pytest.mark.parametrize("name", ["a", "invoice.created", "0-9_a.b", "a" * 64])
def test_names_of_the_protocol_are_names(name):
    assert is_name(name)


@pytest.mark.parametrize("name", ["", ".a", "-a", "A", "a b", "a" * 65, "ä", "a\n", "a\0", None, 3, b"a"])
def test_all_else_is_no_name(name):
    assert not is_name(name)


def test_each_product_has_its_own_state_below_the_home(monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", "/home/acme/state")
    assert Settings(product_key=KEY).state_dir == "/home/acme/state/license-telemetry/acme-billing"
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setenv("HOME", "/home/acme")
    assert Settings(product_key=KEY).state_dir == "/home/acme/.local/state/license-telemetry/acme-billing"


def test_a_state_directory_may_be_given_in_any_form():
    assert Settings(state_dir=Path("/srv/a")).state_dir == "/srv/a"
    assert Settings(state_dir=b"/srv/a").state_dir == "/srv/a"
    assert Settings(state_dir="a").state_dir == os.path.abspath("a")


@pytest.mark.parametrize("nonsense", [3, object(), [], b"\xff", "\0", "\ud800", float("nan"), "x" * 10_000])
def test_no_argument_whatever_raises(nonsense):
    names = (
        "endpoint product_key product version build environment edition level state_dir notice_version"
        " proxy ca_file enabled interval"
    )
    settings = Settings(**dict.fromkeys(names.split(), nonsense))
    assert settings.level == "license"
    assert settings.interval > 0
