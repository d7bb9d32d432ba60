"""One sealed format, three producers and the server's opener, all held against the golden vectors."""

import json
import shutil
import subprocess
from base64 import urlsafe_b64decode
from dataclasses import replace
from pathlib import Path

import golden_grants
import pytest
from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric import ec
from license_telemetry import grants
from places import ROOT
from pyhpke import AEADId, CipherSuite, KDFId, KEMId, KEMKey

from telemetry_server.support.sealed_format import OVERHEAD, Bound, NotOpened, open_sealed

WIRE = Path(__file__).parent
VECTORS = json.loads((WIRE / "grants.json").read_bytes())
PUBLISHED = golden_grants.PUBLISHED
SCRIPT = ROOT / "telemetry_server" / "show" / "static" / "grants.js"
PHP = ROOT / "client_sdk" / "php" / "Grants.php"
BLOBS = 10_000
EACH = pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
IN_PHP = pytest.mark.skipif(shutil.which("php") is None, reason="no PHP here: deploy/install-tools php-cli")


def data(text):
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))


def fields(vector):
    return {name: vector[name] for name in golden_grants.FIELDS}


def opener(vector):
    return golden_grants.private(data(vector["recipient_private_key"])), Bound(**fields(vector))


def opens(vector, sealed):
    assert open_sealed(sealed, *opener(vector)) == data(vector["plaintext"])


# ── the format ───────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("vector", PUBLISHED, ids=("A.3.1", "A.5.1"))
def test_what_computes_the_vectors_computes_those_of_the_rfc(vector):
    given = {name: bytes.fromhex(text) for name, text in vector.items() if name != "aead_id"}
    made = golden_grants.set_up(given["skEm"], given["skRm"], given["info"], vector["aead_id"])
    assert {name: made[name] for name in ("enc", "shared_secret", "key", "base_nonce")} == {
        name: given[name] for name in ("enc", "shared_secret", "key", "base_nonce")
    }
    assert golden_grants.encrypted(made, vector["aead_id"], given["pt"], given["aad"]) == given["ct"]


@EACH
def test_the_server_opens_each_vector(vector):
    opens(vector, data(vector["sealed"]))
    assert Bound(**fields(vector)).info == data(vector["info"])


@EACH
def test_another_implementation_agrees(vector):
    suite = CipherSuite.new(KEMId.DHKEM_P256_HKDF_SHA256, KDFId.HKDF_SHA256, AEADId.AES256_GCM)
    key, bound = opener(vector)
    sealed = data(vector["sealed"])
    theirs = suite.create_recipient_context(sealed[2:67], KEMKey.from_pyca_cryptography_key(key), bound.info)
    assert theirs.open(sealed[67:]) == data(vector["plaintext"])
    enc, context = suite.create_sender_context(
        KEMKey.from_pyca_cryptography_key(key.public_key()), bound.info
    )
    opens(vector, sealed[:2] + enc + context.seal(data(vector["plaintext"])))


@pytest.mark.parametrize("name", golden_grants.FIELDS)
def test_a_seal_opens_for_nothing_else(name):
    key, bound = opener(VECTORS[0])
    for other in ("", "x", getattr(bound, name) + "x", getattr(bound, name)[:-1]):
        with pytest.raises(NotOpened):
            open_sealed(data(VECTORS[0]["sealed"]), key, replace(bound, **{name: other}))


def test_fields_cannot_be_shifted_into_each_other():
    one = Bound("a", "bc", "d", "e", "f", "g").info
    assert one != Bound("ab", "c", "d", "e", "f", "g").info
    assert one != Bound("a", "b", "cd", "e", "f", "g").info


def test_no_byte_of_an_envelope_can_be_changed_and_none_left_out():
    sealed, (key, bound) = data(VECTORS[2]["sealed"]), opener(VECTORS[2])
    spoiled = [sealed[:at] + bytes([sealed[at] ^ 1]) + sealed[at + 1 :] for at in range(len(sealed))]
    for each in (*spoiled, sealed[:-1], sealed[:OVERHEAD], sealed + b"\0", b"", b"\0\2" + sealed[2:]):
        with pytest.raises(NotOpened):
            open_sealed(each, key, bound)


# ── Python ───────────────────────────────────────────────────────────────────────────────────


@EACH
def test_python_seals_as_the_vectors_say(vector):
    assert grants.info(*fields(vector).values()) == data(vector["info"])
    sealed = grants.seal(data(vector["plaintext"]), vector["recipient_key"], **fields(vector))
    assert sealed[:2] == vector["suite"].to_bytes(2, "big")
    opens(vector, sealed)


def test_ten_thousand_seals_all_open_and_none_under_another_case_key_or_expiry():
    """One key in 128 has a coordinate with a leading zero, so both are among them."""
    vector = VECTORS[0]
    key, bound = opener(vector)
    other_key = ec.generate_private_key(ec.SECP256R1())
    wrong = [
        (key, replace(bound, case="4712")),
        (key, replace(bound, not_after="2026-12-06T12:00:01Z")),
        (other_key, bound),
    ]
    opened = leading_zeros = 0
    for number in range(BLOBS):
        text = b"%d" % number
        sealed = grants.seal(text, vector["recipient_key"], **fields(vector))
        opened += open_sealed(sealed, key, bound) == text
        leading_zeros += 0 in (sealed[3], sealed[35])
        with pytest.raises(NotOpened):
            open_sealed(sealed, *wrong[number % len(wrong)])
    assert opened == BLOBS
    assert leading_zeros > 0


def test_what_is_no_point_of_the_curve_is_refused():
    for wrong in ("", "AAAA", "A" * 87, VECTORS[0]["recipient_key"][:-2] + "AA"):
        with pytest.raises(ValueError, match=r"\w"):
            grants.seal(b"x", wrong, **fields(VECTORS[0]))


def test_the_library_opens_the_vectors_of_the_rfc():
    aeads = {1: hpke.AEAD.AES_128_GCM, 3: hpke.AEAD.CHACHA20_POLY1305}
    internal = hpke.rust_openssl.hpke._decrypt_with_aad
    for vector in PUBLISHED:
        given = {name: bytes.fromhex(text) for name, text in vector.items() if name != "aead_id"}
        suite = hpke.Suite(hpke.KEM.P256, hpke.KDF.HKDF_SHA256, aeads[vector["aead_id"]])
        key = golden_grants.private(given["skRm"])
        sealed = given["enc"] + given["ct"]
        assert internal(suite, sealed, key, given["info"], given["aad"]) == given["pt"]


# ── browsers, here Node; tests/support has the page in a real one ────────────────────────────


NODE = """
import fs from "node:fs";
import { decoded, encoded, info, seal, sealWith } from %(script)s;
const curve = { name: "ECDH", namedCurve: "P-256" };
const answers = [];
for (const v of JSON.parse(fs.readFileSync(%(vectors)s, "utf8"))) {
  const point = decoded(v.ephemeral_point);
  const jwk = { kty: "EC", crv: "P-256", d: v.ephemeral_private_key,
    x: encoded(point.slice(1, 33)), y: encoded(point.slice(33)) };
  const pair = {
    privateKey: await crypto.subtle.importKey("jwk", jwk, curve, false, ["deriveBits"]),
    publicKey: await crypto.subtle.importKey("raw", point, curve, true, []),
  };
  const plaintext = decoded(v.plaintext);
  answers.push({
    info: encoded(info(v)),
    given: encoded(await sealWith(pair, plaintext, decoded(v.recipient_key), info(v))),
    fresh: encoded(await seal(plaintext, v.recipient_key, v)),
  });
}
console.log(JSON.stringify(answers));
"""


def with_points(tmp_path):
    """The vectors with the public half of the ephemeral key."""
    for vector in VECTORS:
        key = golden_grants.private(data(vector["ephemeral_private_key"]))
        vector["ephemeral_point"] = golden_grants.base64url(golden_grants.point(key))
    (tmp_path / "vectors.json").write_text(json.dumps(VECTORS))
    return tmp_path / "vectors.json"


def assert_right(answers):
    assert len(answers) == len(VECTORS)
    for vector, answer in zip(VECTORS, answers, strict=True):
        assert (answer["info"], answer["given"]) == (vector["info"], vector["sealed"]), vector["name"]
        opens(vector, data(answer["fresh"]))


@pytest.mark.skipif(shutil.which("node") is None, reason="no Node here: deploy/install-tools nodejs")
def test_the_script_of_browsers_seals_as_the_vectors_say(tmp_path):
    script = tmp_path / "grants.mjs"
    script.write_bytes(SCRIPT.read_bytes())
    places = {"script": json.dumps(str(script)), "vectors": json.dumps(str(with_points(tmp_path)))}
    (tmp_path / "run.mjs").write_text(NODE % places)
    ran = subprocess.run(["node", tmp_path / "run.mjs"], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert_right(json.loads(ran.stdout))


# ── PHP ──────────────────────────────────────────────────────────────────────────────────────


RUN_PHP = r"""<?php
require %(source)s;
use LicenseTelemetry\Grants;
function data(string $text): string { return base64_decode(strtr($text, '-_', '+/')); }
function text(string $data): string { return rtrim(strtr(base64_encode($data), '+/', '-_'), '='); }
$with = new ReflectionMethod(Grants::class, 'sealWith');
$with->setAccessible(true);
$answers = [];
foreach (json_decode(file_get_contents(%(vectors)s), true) as $v) {
    $der = hex2bin('30770201010420') . data($v['ephemeral_private_key'])
        . hex2bin('a00a06082a8648ce3d030107a144034200') . data($v['ephemeral_point']);
    $pem = "-----BEGIN EC PRIVATE KEY-----\n" . chunk_split(base64_encode($der), 64, "\n") . "-----END EC PRIVATE KEY-----\n";
    $given = $with->invoke(null, openssl_pkey_get_private($pem), data($v['plaintext']), data($v['recipient_key']), Grants::info($v));
    $answers[] = [
        'info' => text(Grants::info($v)),
        'given' => text($given),
        'fresh' => text(Grants::seal(data($v['plaintext']), $v['recipient_key'], $v)),
    ];
}
$many = [];
for ($number = 0; $number < 500; $number++) {
    $many[] = text(Grants::seal((string) $number, $v['recipient_key'], $v));
}
echo json_encode(['answers' => $answers, 'many' => $many]);
"""


def php(code, *options):
    return subprocess.run(
        ["php", "-d", "error_reporting=-1", "-d", "display_errors=stderr", *options],
        input=code,
        capture_output=True,
        text=True,
        check=False,
    )


@IN_PHP
@pytest.mark.parametrize("configuration", ["", "/dev/null"], ids=("openssl.cnf", "an empty openssl.cnf"))
def test_php_seals_as_the_vectors_say(tmp_path, monkeypatch, configuration):
    if configuration:
        monkeypatch.setenv("OPENSSL_CONF", configuration)
    places = {"source": json.dumps(str(PHP)), "vectors": json.dumps(str(with_points(tmp_path)))}
    ran = php(RUN_PHP % places)
    assert (ran.returncode, ran.stderr) == (0, "")
    found = json.loads(ran.stdout)
    assert_right(found["answers"])
    key, bound = opener(VECTORS[-1])
    opened = [open_sealed(data(each), key, bound) for each in found["many"]]
    assert opened == [b"%d" % number for number in range(500)]


# ── the list of keys ─────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def signed(tmp_path_factory):
    """A list signed by a root, and the public half of the root."""
    from datetime import UTC, datetime

    from telemetry_server.support.support_keys import SupportKeys, make_root, sign_list

    home = tmp_path_factory.mktemp("keys")
    root = make_root(home / "root.pem")
    keys = SupportKeys(home / "support")
    keys.make(2, ["203.0.113.0/24"], datetime(2026, 12, 2, tzinfo=UTC))
    return sign_list(keys.payload.read_text(), home / "root.pem"), root


def test_the_list_of_keys_is_believed_only_with_the_signature_of_the_root(signed, tmp_path):
    from telemetry_server.support.support_keys import make_root

    text, root = signed
    found = grants.verify_keys(text, root)
    assert [each["suite"] for each in found["keys"]] == [1, 1]
    assert found["networks"] == ["203.0.113.0/24"]
    another = make_root(tmp_path / "another.pem")
    line, _, signature = text.partition("\n")
    changed = line.replace("203.0.113.0", "198.51.100.0")
    for wrong, key in (
        (text, another),
        (f"{changed}\n{signature}", root),
        (line, root),
        ("", root),
        (text, ""),
    ):
        with pytest.raises(ValueError, match="not signed"):
            grants.verify_keys(wrong, key)


@IN_PHP
def test_php_checks_the_list_as_python_does(signed, tmp_path):
    text, root = signed
    code = f"""<?php
    require {json.dumps(str(PHP))};
    $list = {json.dumps(text)};
    echo LicenseTelemetry\\Grants::verifyKeys($list, {json.dumps(root)})['networks'][0];
    try {{
        LicenseTelemetry\\Grants::verifyKeys(str_replace('203.0', '198.0', $list), {json.dumps(root)});
    }} catch (InvalidArgumentException $error) {{
        echo '; ', $error->getMessage();
    }}
    """
    ran = php(code)
    assert (ran.stderr, ran.stdout) == (
        "",
        "203.0.113.0/24; the list of support keys is not signed by the vendor's root key",
    )


def test_a_sealed_text_has_83_bytes_more_than_its_content():
    sealed = grants.seal(b"x" * 100, VECTORS[0]["recipient_key"], **fields(VECTORS[0]))
    assert len(sealed) == 100 + OVERHEAD == 183
