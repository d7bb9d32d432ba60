"""The file of the providers that people sign in with."""

import pytest

from telemetry_server.errors import SettingsError
from telemetry_server.sign_in_providers import is_safe, read_providers

GOOD = '[company]\ntitle = "Company"\nissuer = "https://login.example.com"\nclient_id = "x"\n'


def read(tmp_path, text):
    (tmp_path / "providers.toml").write_text(text)
    return read_providers(str(tmp_path / "providers.toml"))


def test_a_provider_needs_four_lines(tmp_path):
    [provider] = read(tmp_path, GOOD)
    assert (provider.name, provider.title, provider.client_secret) == ("company", "Company", None)
    assert provider.rule_for(frozenset({"x"})) is None


def test_the_first_rule_that_fits_holds(tmp_path):
    roles = "".join(
        f'[[company.roles]]\n{group}\nrole = "{role}"\n'
        for group, role in (('group = "a"', "support"), ('group = "b"', "analyst"), ("", "viewer"))
    )
    [provider] = read(tmp_path, GOOD + roles)
    assert [provider.rule_for(frozenset(groups)).role for groups in ("ab", "b", "c", "")] == [
        "support",
        "analyst",
        "viewer",
        "viewer",
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("no toml", "is not TOML"),
        (GOOD.replace("https", "http"), "https://"),
        (GOOD.replace("[company]", "[Company]"), "is no name"),
        (GOOD + 'secret = "x"', "unknown field `secret`"),
        (GOOD + 'client_secret_file = "/nowhere"', "client_secret_file"),
        (GOOD + "new_people = true", "needs roles"),
        (GOOD + 'scopes = ["email"]', '"openid" is missing'),
        (GOOD + '[[company.roles]]\nrole = "owner"', "role"),
        (GOOD + GOOD.replace("[company]", "[other]"), "names an issuer twice"),
        ("company = 1", "[company]"),
    ],
)
def test_a_wrong_file_says_what_is_wrong(tmp_path, text, said):
    with pytest.raises(SettingsError) as refused:
        read(tmp_path, text)
    assert said in refused.value.detail


def test_a_secret_is_in_no_message_and_no_repr(tmp_path):
    (tmp_path / "secret").write_text("hush hush\n")
    (tmp_path / "secret").chmod(0o600)
    [provider] = read(tmp_path, GOOD + f'client_secret_file = "{tmp_path / "secret"}"')
    assert provider.client_secret == "hush hush"
    assert "hush" not in repr(provider)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o755])
def test_a_secret_that_other_users_may_read_is_refused(tmp_path, mode):
    (tmp_path / "secret").write_text("hush hush\n")
    (tmp_path / "secret").chmod(mode)
    with pytest.raises(SettingsError, match="other users may read it; run: chmod 600") as refused:
        read(tmp_path, GOOD + f'client_secret_file = "{tmp_path / "secret"}"')
    assert "hush" not in refused.value.detail


def test_only_this_machine_is_safe_without_https():
    assert is_safe("https://login.example.com")
    assert is_safe("http://127.0.0.1:9000/x")
    for url in ("http://login.example.com", "ftp://a", "https://", "nonsense", "http://[::1"):
        assert not is_safe(url), url
