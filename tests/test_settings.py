"""What an operator may set: every setting has a type with bounds, and says what to write instead."""

import dataclasses
import secrets
from base64 import b64encode
from ipaddress import ip_network
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

import asyncpg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from telemetry_server.errors import SettingsError
from telemetry_server.settings import Settings, read_settings
from telemetry_server.show.access.guard import cookie_name, is_https
from telemetry_server.signed_note import NoteSigner

FIELDS = {field.name: field for field in dataclasses.fields(Settings)}


def read(**given):
    return read_settings({f"TELEMETRY_{name.upper()}": text for name, text in given.items()}, {})


def refusal(**given):
    with pytest.raises(SettingsError) as refused:
        read(**given)
    return refused.value.detail


def secret(count, prefix="whsec_"):
    return prefix + b64encode(bytes(count)).decode()


LOG_KEY = NoteSigner(bytes(32), "license-telemetry/audit").verifier.key

# ── both ends of every setting ──────────────────────────────────────────────────────────────

INSIDE = {
    "data": ["/", "a" * 200],
    "listen": ["0.0.0.0:0", "[::]:65535", "localhost:8080"],
    "workers": ["1", "256"],
    "public_url": ["http://a", "https://telemetry.example.com:65535"],
    "database_url": ["postgres:///", "postgresql://u:p@a:1,b:65535/telemetry?sslmode=verify-full"],
    "database_user": ["n", "n" * 64],
    "postgres_major": ["16", "18"],
    "keyring_file": ["/k", "k" * 200],
    "trusted_proxies": ["127.0.0.1", "8.0.0.0/8,2400::/16,fc00::/7,10.0.0.0/8"],
    "address_retention_days": ["0", "36500"],
    "reverse_dns": ["on", "0"],
    "public_figures": ["on", "0"],
    "retention_days": ["ping=1,fact=1,usage=1", "ping=36500,fact=forever,usage=forever"],
    "most_waiting_mebibytes": ["16", "65536"],
    "most_incoming_mebibytes": ["1", "65536"],
    "writer_lanes": ["1", "64"],
    "enrolments_per_hour": ["1", "1000000000"],
    "uploads_per_minute": ["1", "1000000000"],
    "network_cpu_percent": ["1", "100"],
    "network_mebibytes_per_minute": ["8", "1048576"],
    "notice_version": ["1", "v" * 64],
    "notice_url": ["http://a/", "https://a/" + "p" * 2038],
    "shop_webhook_secret": [secret(24), ",".join([secret(64)] * 10)],
    "session_hours": ["1", "8760"],
    "audit_checkpoints": ["/a", "a" * 200],
    "sign_in_providers": ["/p.toml", "p" * 200],
    "audit_timestamp_url": ["http://a/", "https://a/" + "p" * 2038],
    "audit_witness_url": ["http://localhost:8080/w", "https://a/" + "p" * 2038],
    "audit_witness_token": ["t", "t" * 500],
    "audit_witness_of": [LOG_KEY, ",".join([LOG_KEY] * 3)],
    "audit_retention_days": ["30", "36500"],
    "backup_retention_days": ["0", "36500"],
    "proxy_sign_in_header": ["X-E", "X" * 64],
    "proxy_sign_in_secret": ["s" * 24, "s" * 200],
    "smtp_url": ["smtp://mail", "smtp+starttls://u:p%40@mail.example.com:587", "smtps://[::1]:65535"],
    "mail_from": ["a@b", "m" * 254],
    "detection_rules": ["/a", "a" * 200],
    "detection_allowed_networks": ["203.0.113.0/24", ",".join(["2001:db8::/32"] * 3)],
    "detection_base_rate": ["1", "5000"],
    "jobs": ["yes", "False"],
}
OUTSIDE = {
    "data": ["", "~/data"],
    "listen": ["8080", ":8080", "a:65536", "a:-1", "a:٣", "::1:8080", "[127.0.0.1]:80", "300.1.1.1:80", "a b:1"],
    "workers": ["", "0", "257", "-1", "1.0", "1_0", "many", "9" * 5000],
    "public_url": ["telemetry.example.com", "localhost:8080", "//a", "ftp://a", "https://", "https://a/b", "https://a?b", "https://a#b", "https://a b", "https://u:p@a", "https://a:0", "https://a:65536", "https://[::1", "https://a..b", "https://" + "a" * 300],
    "database_url": ["host=db dbname=telemetry", "mysql://db/telemetry", "db:5432", "postgresql://u:p%zz@a/b", "postgresql://u@a/b?password=p"],
    "database_user": ["", "a b", "root:root", "n" * 65],
    "postgres_major": ["15", "17", "19", "1 8"],
    "keyring_file": [" ", "~/keyring.json"],
    "trusted_proxies": ["0.0.0.0/0", "::/0", "0.0.0.0/1", "8.0.0.0/7", "2000::/3", "10.0.0.6/8", "proxy.internal", ",", "::ffff:10.0.0.0/104", "10.0.0.0/8 127.0.0.1", "10.0.0.0/33", ",".join(["10.0.0.1"] * 1001)],
    "address_retention_days": ["-1", "36501", "1000000000", "forever"],
    "reverse_dns": ["", "maybe", "2"],
    "public_figures": ["", "maybe", "2"],
    "retention_days": ["ping", "ping=0", "ping=36501", "ping=1,ping=2", "ping=٣", ","],
    "most_waiting_mebibytes": ["15", "65537"],
    "most_incoming_mebibytes": ["0", "65537"],
    "writer_lanes": ["0", "65"],
    "enrolments_per_hour": ["0", "1000000001"],
    "uploads_per_minute": ["0", "1000000001"],
    "network_cpu_percent": ["0", "101"],
    "network_mebibytes_per_minute": ["7", "1048577"],
    "notice_version": ["v" * 65, "a\nb", "a\u202eb"],
    "notice_url": ["example.com/notice", "javascript:alert(1)", "https://a/" + "p" * 2039],
    "shop_webhook_secret": [secret(23), secret(65), "whsec_?", ",", ",".join([secret(24)] * 11)],
    "session_hours": ["0", "8761", "99999999999"],
    "audit_checkpoints": [" ", "~/checkpoints"],
    "sign_in_providers": [" ", "~/providers.toml"],
    "audit_timestamp_url": ["tsa.example.com", "ftp://a/", "https://u:p@a/"],
    "audit_witness_url": ["witness.example.com", "ftp://a/", "https://u:p@a/", "http://a/", "http://192.0.2.7/"],
    "audit_witness_token": ["a b", "t" * 501],
    "audit_witness_of": [",", "a+b", LOG_KEY[1:], LOG_KEY[:-1], LOG_KEY.replace("+", " ", 1), f"x{LOG_KEY}"],
    "audit_retention_days": ["29", "36501", "forever"],
    "backup_retention_days": ["-1", "36501", "forever"],
    "proxy_sign_in_header": ["X-", "X" * 65, "X Email", "cookie", "X-Forwarded-For"],
    "proxy_sign_in_secret": ["s" * 23, "s" * 201, "s" * 24 + " "],
    "smtp_url": ["mail.example.com", "http://a", "smtp://", "smtp://a:0", "smtp://a/b", "smtp://a:65536"],
    "mail_from": ["m" * 255, "a\nb"],
    "detection_rules": [" ", "~/rules"],
    "detection_allowed_networks": ["203.0.113.9/24", ",", "everywhere"],
    "detection_base_rate": ["0", "5001"],
    "jobs": ["", "2"],
}  # fmt: skip


def test_both_ends_of_every_setting_are_tested():
    assert set(INSIDE) == set(OUTSIDE) == set(FIELDS)
    assert all(len(texts) > 1 for texts in (*INSIDE.values(), *OUTSIDE.values()))


def with_its_partner(name, text):
    if name == "audit_timestamp_url":
        return {"audit_checkpoints": "/a", name: text}
    if name == "audit_witness_token":
        return {"audit_witness_url": "https://a", name: text}
    partners = (
        {"notice_version": "1", "notice_url": "https://a"},
        {"smtp_url": "smtp://a", "mail_from": "a@b"},
        {
            "proxy_sign_in_header": "X-Email",
            "proxy_sign_in_secret": "s" * 24,
            "trusted_proxies": "127.0.0.1",
        },
    )
    whole = {"notice": partners[0], "smtp": partners[1], "mail": partners[1], "proxy": partners[2]}
    return whole.get(name.partition("_")[0], {}) | {name: text}


@pytest.mark.parametrize(("name", "text"), [(name, text) for name, texts in INSIDE.items() for text in texts])
def test_a_value_at_an_end_is_taken(name, text):
    value = getattr(read(**with_its_partner(name, text)), name)
    if isinstance(value, bool):
        assert value is (text in {"on", "yes"})
    elif isinstance(value, tuple):
        assert len(value) == text.count(",") + 1
    else:
        assert str(value) == text.removesuffix("/" if name == "public_url" else "")


@pytest.mark.parametrize(
    ("name", "text"), [(name, text) for name, texts in OUTSIDE.items() for text in texts]
)
def test_a_value_beyond_an_end_is_refused_by_name_with_what_to_write(name, text):
    said = refusal(**with_its_partner(name, text))
    [line] = said.splitlines()[1:]
    assert line.startswith(f"  TELEMETRY_{name.upper()}=")
    assert "write" in line or "type it again" in line
    assert len(line) < 500


@pytest.mark.parametrize("name", FIELDS)
def test_every_default_is_a_value_that_may_be_given(name):
    default = FIELDS[name].default
    text = ",".join(map(str, default)) if isinstance(default, tuple) else str(default)
    assert getattr(read(**{name: text}), name) == default


@given(
    name=st.sampled_from(sorted(FIELDS)), text=st.text(st.characters(exclude_characters="\0"), max_size=60)
)
def test_any_text_is_a_value_or_refused_in_a_sentence(name, text):
    try:
        read(**with_its_partner(name, text))
    except SettingsError as refused:
        assert f"TELEMETRY_{name.upper()}" in refused.detail


# ── the address people use ──────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("given_", "taken"),
    [
        ("HTTPS://Telemetry.Example.COM/", "https://telemetry.example.com"),
        ("https://telemetry.example.com:443", "https://telemetry.example.com"),
        ("http://telemetry.example.com:80/", "http://telemetry.example.com"),
        ("https://telemetry.example.com:8443/", "https://telemetry.example.com:8443"),
        ("https://bücher.example", "https://xn--bcher-kva.example"),
        ("https://[2001:DB8::1]/", "https://[2001:db8::1]"),
    ],
)
def test_the_address_is_taken_as_browsers_write_it(given_, taken):
    settings = read(public_url=given_)
    assert (settings.public_url, settings.base_url) == (taken, taken)
    assert is_https(settings) == taken.startswith("https")
    assert cookie_name(settings) == ("__Host-session" if taken.startswith("https") else "session")


def test_the_password_in_an_address_is_not_shown():
    assert "hunter2" not in refusal(public_url="https://me:hunter2@telemetry.example.com")
    assert "hunter2" not in refusal(notice_version="1", notice_url="https://me:hunter2@example.com/x")


# ── the database ────────────────────────────────────────────────────────────────────────────

PASSWORDS = ["p@ss/word", "p:a@b", "12/34", "12?34", "12?a=3", "12#34", "[1]", "100%", "a b", "ä", "%zz", "℀", "x@y@z", "/@"]  # fmt: skip


@pytest.mark.parametrize("password", PASSWORDS)
def test_of_a_password_that_is_not_escaped_no_piece_is_shown(password):
    said = refusal(database_url=f"postgresql://telemetry:{password}Tr0ub4dor@db.example/telemetry")
    [line] = said.splitlines()[1:]
    assert line.startswith(
        "  TELEMETRY_DATABASE_URL=***: is not an address of PostgreSQL; write postgresql://USER:"
    )
    for piece in ("Tr0ub4dor", password):
        assert piece not in line.replace("/DATABASE", "") or len(piece) < 3


@given(st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=20))
def test_any_password_can_be_given_escaped_and_reaches_the_driver_as_it_is(password):
    url = read(
        database_url=f"postgresql://telemetry:{quote(password, safe='')}@db.example:5433/t"
    ).database_url
    assert unquote(urlsplit(url).password) == password
    assert (urlsplit(url).hostname, urlsplit(url).port) == ("db.example", 5433)


@given(st.text(st.characters(codec="ascii", exclude_categories=["C", "Z"]), min_size=1, max_size=20))
def test_an_address_that_is_taken_means_what_it_says(password):
    """Whether it is escaped or not: what follows the last @ is the host, or the address is refused."""
    try:
        url = read(database_url=f"postgresql://telemetry:{password}@db.example:5433/t").database_url
    except SettingsError:
        return
    parts = urlsplit(url)
    assert (parts.hostname, parts.port, parts.path) == ("db.example", 5433, "/t")
    assert parts.password == password


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://telemetry@db/telemetry",
        "postgresql://postgres@/test?host=/tmp/tlm-x",
        "postgres://u:p^{|}~\"'`<>!$&*()p@10.0.0.1/telemetry",
        "postgresql://u:a:b@[2001:db8::1]:5432/telemetry?sslmode=require&application_name=a.b",
        "postgresql://%2Frun%2Fpostgresql/telemetry",
    ],
)
async def test_addresses_of_every_usual_form_are_taken(url, monkeypatch):
    assert read(database_url=url).database_url == url
    addresses, parameters = asyncpg.connect_utils._parse_connect_dsn_and_args(
        dsn=url, host=None, port=None, user=None, password=None, passfile=None, database=None, ssl=None,
        service=None, servicefile=None, direct_tls=None, server_settings=None, target_session_attrs=None,
        krbsrvname=None, gsslib=None,
    )  # fmt: skip
    assert addresses
    assert parameters.database


# ── proxies ─────────────────────────────────────────────────────────────────────────────────


def test_trusting_everybody_is_refused_with_what_it_would_mean():
    said = refusal(trusted_proxies="127.0.0.1,0.0.0.0/0")
    assert "network 2 contains large parts of the Internet" in said
    assert "write the addresses of your proxies only" in said


def test_a_network_with_a_hosts_bits_is_refused_with_both_that_it_may_mean():
    assert "write 10.0.0.6 or 10.0.0.0/8" in refusal(trusted_proxies="10.0.0.6/8")


def test_networks_are_read_with_white_space_and_a_comma_at_the_end():
    found = read(trusted_proxies=" 10.0.0.0/8 ,127.0.0.1, ").trusted_proxies
    assert found == (ip_network("10.0.0.0/8"), ip_network("127.0.0.1/32"))


# ── values in files ─────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "written",
    [
        b"https://telemetry.example\n",
        b"\xef\xbb\xbfhttps://telemetry.example\r\n",
        "https://telemetry.example\r\n".encode("utf-16"),
        b"\xfe\xff" + "https://telemetry.example\r\n".encode("utf-16-be"),
        b"https://telemetry.example\r",
    ],
    ids=["Unix", "Notepad", "PowerShell", "UTF-16 BE", "CR"],
)
def test_the_file_of_a_value_may_come_from_another_system(tmp_path, written):
    (tmp_path / "url").write_bytes(written)
    assert read(public_url_file=str(tmp_path / "url")).public_url == "https://telemetry.example"


def test_a_value_and_its_file_are_not_both_given(tmp_path):
    (tmp_path / "workers").write_text("2")
    said = refusal(workers="3", workers_file=str(tmp_path / "workers"))
    assert "TELEMETRY_WORKERS and TELEMETRY_WORKERS_FILE are both set: remove one of them" in said
    options = {"workers": 4}
    assert read_settings({"TELEMETRY_WORKERS_FILE": str(tmp_path / "workers")}, options).workers == 4


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "No such file"),
        (b"", "is empty"),
        (b"\xef\xbb\xbf \r\n", "is empty"),
        (b"caf\xe9", "is not text; save it as UTF-8"),
        (b"x" * 70_000, "more than 65536 bytes"),
    ],
)
def test_a_file_without_a_value_is_refused(tmp_path, content, said):
    file = tmp_path / "value"
    if content is not None:
        file.write_bytes(content)
    found = refusal(public_url_file=str(file))
    assert f"TELEMETRY_PUBLIC_URL_FILE={str(file)!r}: the file" in found
    assert said in found


@pytest.mark.parametrize("name", [name for name, field in FIELDS.items() if field.metadata["secret"]])
def test_a_secret_given_as_its_file_is_not_shown(name, tmp_path):
    hidden = secrets.token_hex()
    assert hidden not in refusal(**{f"{name}_file": f"postgresql://telemetry:{hidden}@db/telemetry"})
    (tmp_path / "secret").write_bytes(f"{hidden}\n{hidden}".encode("utf-16"))
    assert hidden not in refusal(**{f"{name}_file": str(tmp_path / "secret")})


# ── several ─────────────────────────────────────────────────────────────────────────────────


def test_all_problems_are_named_at_once():
    said = refusal(workers="0", session_hours="0", lissen="a:1", public_url="example.com")
    assert len(said.splitlines()) == 5


def test_a_notice_has_a_version_and_an_address():
    for half in ({"notice_version": "1"}, {"notice_url": "https://a"}):
        assert "set both or none" in refusal(**half)
    assert read(notice_version="1", notice_url="https://a").notice == {"version": "1", "url": "https://a"}
    assert read(notice_version="", notice_url="").notice is None


def test_settings_of_sign_in_by_a_proxy_and_of_e_mail_need_each_other():
    header = {"proxy_sign_in_header": "X-Email", "proxy_sign_in_secret": "s" * 24}
    for half in ({"smtp_url": "smtp://a"}, {"mail_from": "a@b"}, {"proxy_sign_in_header": "X-Email"}):
        assert "set both or none" in refusal(**half)
    assert "TELEMETRY_TRUSTED_PROXIES" in refusal(**header)
    assert read(**header, trusted_proxies="127.0.0.1").proxy_sign_in_header == "X-Email"
    assert "s" * 24 not in refusal(proxy_sign_in_secret="s" * 24 + " ")


def test_long_values_are_shown_by_their_beginning():
    assert refusal(listen="x" * 10_000).count("x") == 80


def test_the_data_directory_is_taken_as_it_is_written():
    assert read(data="/srv/a b/ü").data == Path("/srv/a b/ü")
