"""The parsers at the edge take anything: addresses, signatures, gzip, rations, the keyring file."""

import gzip
import ipaddress
import json
import zlib
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from telemetry_server.errors import BadRequest, TooLarge, TooManyRequests, Unauthenticated
from telemetry_server.keyring import KeyringError, open_keyring, read_keyring, rotate
from telemetry_server.receive.address import client_address
from telemetry_server.receive.body import LARGEST_INFLATED, inflate
from telemetry_server.receive.limiter import Limiter, network_of
from telemetry_server.receive.signature import UnknownSigner, Verifier

PROXIES = (ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("2001:db8::/32"))
ADDRESSES = st.ip_addresses().map(str) | st.sampled_from(
    ["10.1.2.3", "10.9.9.9", "2001:db8::1", "198.51.100.7"]
)


def trusted(address):
    parsed = ipaddress.ip_address(address)
    return any(parsed in network for network in PROXIES if network.version == parsed.version)


def plain(address):
    parsed = ipaddress.ip_address(address.partition("%")[0])
    return str(getattr(parsed, "ipv4_mapped", None) or parsed)


@given(peer=ADDRESSES, hops=st.lists(ADDRESSES, max_size=6), split=st.integers(0, 6))
def test_the_first_address_from_the_right_that_is_no_proxy_is_the_client(peer, hops, split):
    headers = [", ".join(part) for part in (hops[:split], hops[split:]) if part]
    chain = [plain(address) for address in [*hops, peer]]
    while len(chain) > 1 and trusted(chain[-1]):
        chain.pop()
    assert client_address(peer, tuple(headers), PROXIES) == chain[-1]


@given(peer=ADDRESSES, headers=st.lists(st.text(max_size=40), max_size=3))
def test_without_configured_proxies_nothing_in_a_header_counts(peer, headers):
    assert client_address(peer, tuple(headers), ()) == plain(peer)


@given(st.lists(st.text(max_size=60), max_size=4))
def test_whatever_a_proxy_passes_on_an_address_comes_out(headers):
    assert ipaddress.ip_address(client_address("10.0.0.1", tuple(headers), PROXIES))


@pytest.mark.parametrize(
    "written",
    [
        ("203.0.113.9,",),
        ("203.0.113.9", ""),
        ("203.0.113.9, , 10.0.0.7",),
        (" ,\t, 203.0.113.9 ,, 10.0.0.7\t, ",),
        ("198.51.100.7", ",", "203.0.113.9", " ", "10.0.0.7,"),
    ],
)
def test_empty_elements_are_no_hops(written):
    assert client_address("10.0.0.6", written, PROXIES) == "203.0.113.9"
    assert (
        client_address("10.0.0.6", (", ".join(written),), PROXIES) == "203.0.113.9"
    )  # as the fast path has it


@pytest.mark.parametrize("written", [("",), (" , ,",), ("", ",")])
def test_a_header_with_nothing_in_it_names_no_client(written):
    assert client_address("10.0.0.6", written, PROXIES) == "10.0.0.6"


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("[2001:db9::1]:443", "2001:db9::1"),
        ("203.0.113.9:1234", "203.0.113.9"),
        ("::ffff:203.0.113.9", "203.0.113.9"),
        ("fe80::1%eth0", "fe80::1"),
    ],
)
def test_an_address_is_kept_in_one_form(written, meant):
    assert client_address("10.0.0.1", (written,), PROXIES) == meant


@given(st.binary(max_size=200), st.sampled_from([None, "", "identity", "gzip", "GZIP", "br", "gzip, gzip"]))
def test_any_bytes_inflate_or_are_refused(sent, encoding):
    try:
        assert isinstance(inflate(sent, encoding), bytes)
    except BadRequest as error:
        assert error.status in {400, 415}


@given(st.binary(max_size=5000))
def test_what_was_compressed_comes_out_as_it_was(body):
    assert inflate(gzip.compress(body), "gzip") == body


def test_a_body_of_exactly_the_limit_passes_and_one_byte_more_does_not():
    assert len(inflate(gzip.compress(bytes(LARGEST_INFLATED)), "gzip")) == LARGEST_INFLATED
    with pytest.raises(TooLarge):
        inflate(gzip.compress(bytes(LARGEST_INFLATED + 1)), "gzip")


def test_a_bomb_is_refused_before_it_is_inflated():
    bomb = zlib.compressobj(9, wbits=31)
    sent = b"".join(bomb.compress(bytes(2**20)) for _ in range(200)) + bomb.flush()
    with pytest.raises(TooLarge):
        inflate(sent, "gzip")


# ── signatures ──────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def keyring(tmp_path_factory):
    return open_keyring(tmp_path_factory.mktemp("keys") / "keyring.json")


@given(
    st.text(max_size=300)
    | st.from_regex(r"v1 product=[a-z]{1,9} key=k1 installation=.{36} hmac=[0-9a-f]{64}", fullmatch=True)
)
def test_any_signature_header_is_refused_but_the_right_one(keyring, header):
    product = type("Product", (), {"id": uuid4()})()
    with pytest.raises(Unauthenticated):
        Verifier(keyring, lambda _: product).sender(header, "POST", "/v1/pings", b"{}")


def test_an_unknown_product_is_told_apart_for_us_but_not_for_the_sender(keyring):
    header = f"v1 product=nothing key=k1 installation={uuid4()} hmac={'0' * 64}"
    with pytest.raises(UnknownSigner) as unknown:
        Verifier(keyring, lambda _: None).sender(header, "POST", "/v1/pings", b"{}")
    with pytest.raises(Unauthenticated) as wrong:
        Verifier(keyring, lambda _: type("Product", (), {"id": uuid4()})()).sender(
            header, "POST", "/v1/pings", b"{}"
        )
    assert unknown.value.detail == wrong.value.detail
    assert (unknown.value.status, unknown.value.code) == (wrong.value.status, wrong.value.code)


# ── rations ─────────────────────────────────────────────────────────────────────────────────


@given(st.lists(st.floats(0, 20), min_size=1, max_size=80))
def test_never_more_than_the_ration_in_any_window(pauses):
    now, admitted = [0.0], []
    limiter = Limiter(5, 10, clock=lambda: now[0])
    for pause in pauses:
        now[0] += pause
        try:
            limiter.admit("one")
            admitted.append(now[0])
        except TooManyRequests as refusal:
            assert refusal.retry_after >= 1
    for start in admitted:
        assert (
            sum(start <= moment < start + 10 for moment in admitted) <= 10
        )  # a burst of 5, and 5 more in 10 s


@given(count=st.integers(1, 50), seconds=st.sampled_from([60, 3600]), now=st.floats(0, 1e9))
def test_the_whole_ration_is_there_at_once_and_no_more(count, seconds, now):
    limiter = Limiter(count, seconds, clock=lambda: now)
    for _ in range(count):
        limiter.admit("one")
    with pytest.raises(TooManyRequests):
        limiter.admit("one")


def test_one_ration_leaves_the_others_alone_and_memory_bounded():
    limiter = Limiter(1, 60, clock=lambda: 0.0)
    for key in range(250_000):
        limiter.admit(key)
    assert len(limiter._free_at) <= 200_001
    with pytest.raises(TooManyRequests):
        limiter.admit(249_999)


def test_one_party_is_an_ipv4_address_or_an_ipv6_64():
    assert network_of("203.0.113.9") == "203.0.113.9"
    assert network_of("2001:db8:1:2:3::4") == network_of("2001:db8:1:2::9") == "2001:db8:1:2::/64"


# ── the keyring file ────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "{}",
        '{"masters": {}, "current": "k1", "pepper": ""}',
        '{"masters": {"k1": {"secret": "00"}}, "current": "k1", "pepper": "00"}',
    ],
)
def test_a_damaged_keyring_is_refused_and_left_as_it_is(tmp_path, text):
    path = tmp_path / "keyring.json"
    path.write_text(text)
    with pytest.raises(KeyringError, match="backup"):
        open_keyring(path)
    assert path.read_text() == text


def test_a_rotated_keyring_keeps_the_old_master_and_is_private(tmp_path):
    path = tmp_path / "keyring.json"
    before = open_keyring(path)
    assert rotate(path) == "k2"
    after = open_keyring(path)
    assert after.masters["k1"] == before.masters["k1"]
    assert after.current == "k2"
    assert after.pepper == before.pepper
    assert path.stat().st_mode & 0o777 == 0o600
    assert set(json.loads(path.read_text())["masters"]) == {"k1", "k2"}
    before.take_up(read_keyring(path))
    assert before.current == "k2"
