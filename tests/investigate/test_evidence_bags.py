"""Bags of evidence: what is in them, that other programs agree on them, and the verifier that shares no code."""

import ast
import csv
import dataclasses
import io
import json
import os
import re
import shutil
import subprocess
import sys
from functools import partial
from hashlib import sha256
from html.parser import HTMLParser

import bagit
import pytest
from audit_log import SIGNER, seeded
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from golden_bags import HOSTILE, KEY, VERIFIER, case_file, proofs, verifier, write_bag
from places import ROOT
from timestamp_authority import Authority, needs_openssl

from telemetry_server.investigate.bag import Bag, NotEmpty
from telemetry_server.investigate.redaction import Profile, Redactor
from telemetry_server.jobs.timestamps import timestamp
from telemetry_server.signed_note import NoteSigner

PAGE = (ROOT / "docs" / "evidence.md").read_text()
VERIFY = verifier().verify


def by_hand(bag, key, block="by hand", **environment):
    """What docs/evidence.md tells to run."""
    script = re.search(rf"<!-- {block} -->\n```bash\n(.*?)```", PAGE, re.DOTALL)[1]
    return subprocess.run(
        ["bash", "-c", script],
        cwd=bag,
        env={**os.environ, "KEY": key, **environment},
        capture_output=True,
        check=False,
    )


def run_verifier(*arguments):
    """As on a machine without the server: no installed package, no environment but the locale of ASCII."""
    command = [sys.executable, "-I", "-S", "-X", "utf8=0", str(VERIFIER), *map(str, arguments)]
    environment = {"PATH": os.environ["PATH"], "LC_ALL": "C", "PYTHONCOERCECLOCALE": "0"}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=60)


@pytest.fixture(scope="module")
def bag(tmp_path_factory):
    path = tmp_path_factory.mktemp("evidence") / "bag"
    write_bag(path)
    return path


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    authority = Authority(tmp_path_factory.mktemp("tsa"))
    yield authority
    authority.server.shutdown()
    authority.server.server_close()


@needs_openssl
def test_three_programs_agree_on_golden_bags_and_on_spoiled_ones(tmp_path):
    """Of each two bags the second is spoiled after it was sealed."""
    for number in range(20):
        chance, path = seeded(number), tmp_path / str(number)
        write_bag(path, rows=chance.randrange(40), profile=chance.choice(list(Profile)))
        if spoiled := number % 2 == 1:
            file = chance.choice(sorted(each for each in (path / "data").rglob("*") if each.is_file()))
            file.write_bytes(file.read_bytes() + b" ")
        try:
            bagit.Bag(str(path)).validate()
            second = True
        except bagit.BagValidationError:
            second = False
        found = VERIFY(str(path), KEY).exit_code != 2, second, by_hand(path, KEY).returncode == 0
        assert found == (not spoiled,) * 3, number


@needs_openssl
def test_by_hand_another_key_another_statement_and_an_added_file_are_refused(bag):
    assert by_hand(bag, KEY).returncode == 0
    assert by_hand(bag, NoteSigner(bytes(32), "license-telemetry/audit").verifier.key).returncode != 0
    (bag / "data" / "more").write_text("x")
    assert by_hand(bag, KEY).returncode != 0
    (bag / "data" / "more").unlink()
    statement = (bag / "statement.txt").read_text()
    (bag / "statement.txt").write_text(statement.replace("case: 1", "case: 2"))
    assert by_hand(bag, KEY).returncode != 0
    (bag / "statement.txt").write_text(statement)


@needs_openssl
def test_a_time_stamp_of_an_authority_is_checked_with_its_certificates(tmp_path, authority):
    stamped = tmp_path / "stamped"
    write_bag(stamped, rows=2, timestamp=lambda manifest: timestamp(authority.url, manifest))
    certificates = authority.directory / "ca.pem"
    trusted = ["--trusted-key", KEY, "--timestamp-authority", certificates]
    done = run_verifier(stamped, *trusted)
    assert (done.returncode, done.stdout) == (
        0,
        f"{stamped}: valid (case 1, exported 2026-11-30T19:33:00Z)\n",
    )
    assert by_hand(stamped, KEY).returncode == 0
    assert by_hand(stamped, KEY, "time stamp", AUTHORITY=str(certificates)).returncode == 0
    assert run_verifier(stamped, "--trusted-key", KEY).returncode == 1
    authority.run(
        "req -x509 -newkey rsa:2048 -nodes -keyout other.key -out other.pem -subj /CN=Other -days 3"
    )
    done = run_verifier(
        stamped, "--trusted-key", KEY, "--timestamp-authority", authority.directory / "other.pem"
    )
    assert done.returncode == 2
    assert "INVALID  tagmanifest-sha256.tsr: openssl refuses it" in done.stdout


def test_the_exit_codes_are_those_of_the_page(bag, tmp_path):
    assert run_verifier(bag, "--trusted-key", KEY).returncode == 1
    (tmp_path / "key").write_text(f"{KEY}\n")
    assert "no trusted key" not in run_verifier(bag, "--trusted-key", tmp_path / "key").stdout
    assert "no trusted key" in run_verifier(bag).stdout
    other = NoteSigner(bytes(32), "license-telemetry/audit").verifier.key
    done = run_verifier(bag, "--trusted-key", other)
    assert (done.returncode, "another key than the trusted one" in done.stdout) == (2, True)
    assert run_verifier(tmp_path / "nothing").returncode == 2
    assert run_verifier(bag, "--checkpoint", tmp_path / "nothing").returncode == 2


def test_a_bag_that_cannot_be_checked_is_never_valid_with_warnings(bag, tmp_path):
    deep = tmp_path / "deep"
    shutil.copytree(bag, deep)
    folders = [deep / "data" / ("a/" * depth) for depth in range(1, 1_001)]
    for each in folders:
        each.mkdir()
    done = run_verifier(deep, "--trusted-key", KEY)
    for each in reversed(folders):  # too deep for pytest, too
        each.rmdir()
    assert (done.returncode, "INVALID  the folder: cannot be checked: RecursionError" in done.stdout) == (
        2,
        True,
    )
    named = tmp_path / "named"
    shutil.copytree(bag, named)
    (named / "data" / "\u202e\u00e9\U0001f600").write_text("x")
    done = run_verifier(named, "--trusted-key", KEY)
    assert (done.returncode, "data/\\u202e\\xe9\\U0001f600: was added" in done.stdout) == (2, True), done
    checker = verifier()
    checker.verify = lambda *_: 1 / 0
    assert checker.main([str(bag)]) == 2


@pytest.mark.parametrize("name", ["bagit.txt", "manifest-sha256.txt", "statement.txt", "data/custody.ndjson"])
@pytest.mark.parametrize("put", [os.mkfifo, partial(os.symlink, "/dev/zero")], ids=["fifo", "zero"])
def test_what_is_no_file_is_not_opened(bag, tmp_path, name, put):
    shutil.copytree(bag, tmp_path / "bag")
    (tmp_path / "bag" / name).unlink()
    put(tmp_path / "bag" / name)
    done = run_verifier(tmp_path / "bag", "--trusted-key", KEY)
    assert (done.returncode, f"INVALID  {name}: is " in done.stdout) == (2, True), done.stdout


def test_a_checkpoint_that_was_kept_elsewhere_shows_a_rewritten_log(bag, tmp_path):
    _, checkpoint = proofs(4)
    (tmp_path / "kept").write_text(checkpoint)
    assert run_verifier(bag, "--checkpoint", tmp_path / "kept").returncode == 1
    (tmp_path / "kept").write_text(SIGNER.sign(20, bytes(32)))
    done = run_verifier(bag, "--checkpoint", tmp_path / "kept")
    assert (done.returncode, "the log was rewritten" in done.stdout) == (2, True)


def test_entries_that_are_not_in_the_log_are_found_though_the_server_signed_them(tmp_path):
    """A statement says that nothing changed since; only the proofs say that the log has the entries."""
    custody, checkpoint = proofs(4)
    content = custody[1].content.replace(b"ann@", b"bob@")
    custody[1] = dataclasses.replace(custody[1], content=content)
    custody[2] = dataclasses.replace(custody[2], path=custody[3].path)
    write_bag(tmp_path / "bag", rows=1, file=case_file(custody=custody, checkpoint=checkpoint))
    problems = VERIFY(str(tmp_path / "bag"), KEY).problems
    assert [(file, text.partition(":")[0]) for file, text in problems] == [
        ("data/custody.ndjson", "line 2 is no entry with its proof"),
        ("data/custody.ndjson", "line 3"),
    ]


def test_the_signatures_are_those_of_rfc_8032_and_of_a_second_implementation():
    check = verifier().ed25519_verify
    key = bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")
    signature = bytes.fromhex(
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b"
    )
    assert check(key, b"", signature)
    order = 2**252 + 27742317777372353535851937790883648493
    larger = (int.from_bytes(signature[32:], "little") + order).to_bytes(32, "little")
    assert not check(key, b"", signature[:32] + larger)
    chance = seeded(8032)
    for _ in range(10):
        private = Ed25519PrivateKey.from_private_bytes(chance.randbytes(32))
        message, public = chance.randbytes(chance.randrange(80)), private.public_key().public_bytes_raw()
        signed = private.sign(message)
        assert check(public, message, signed)
        at = chance.randrange(64)
        assert not check(
            public, message, signed[:at] + bytes([signed[at] ^ 1 << chance.randrange(8)]) + signed[at + 1 :]
        )


def test_the_verifier_imports_the_standard_library_only():
    tree = ast.parse(VERIFIER.read_text())
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name.partition(".")[0] for name in imported} <= sys.stdlib_module_names
    found = subprocess.run(
        [
            shutil.which("vermin", path=os.path.dirname(sys.executable)),
            "--quiet",
            "--no-tips",
            "--violations",
            "--target=3.8-",
            str(VERIFIER),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stdout


# ── what is in a bag ─────────────────────────────────────────────────────────────────────────


class Elements(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.text = set(), [], ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes += attrs

    def handle_data(self, data):
        self.text += data


def test_the_report_is_one_file_without_script_links_or_steering_characters(bag):
    report = (bag / "data" / "report.html").read_text()
    found = Elements(report)
    assert found.tags.isdisjoint({"script", "link", "img", "iframe", "a", "form", "object"})
    assert not [name for name, _ in found.attributes if name.startswith("on") or name in {"href", "src"}]
    assert "default-src 'none'" in dict(found.attributes)["content"] or "default-src 'none'" in report
    assert "<script>alert(1)</script>" in found.text
    assert "\u202e" not in report
    assert {"svg", "table"} <= found.tags
    for said in (
        "Innocent explanations",
        "It finds no one guilty",
        "Clarification with the customer",
        "2026-01",
    ):
        assert said in found.text


def test_rows_are_the_same_in_both_forms_and_no_spreadsheet_runs_one(bag):
    lines = [json.loads(line) for line in (bag / "data/rows/pings.ndjson").read_text().splitlines()]
    cells = list(csv.DictReader(io.StringIO((bag / "data/rows/pings.csv").read_bytes().decode(), newline="")))
    assert len(lines) == len(cells) == 60
    assert [row["installation_id"] for row in lines] == [row["installation_id"] for row in cells]
    assert json.loads(cells[5]["facts"]) == lines[5]["facts"]
    assert not [cell for row in cells for cell in row.values() if cell[:1] in "=+-@" and cell]


def test_no_name_of_a_file_comes_from_data(bag):
    names = {str(path.relative_to(bag)) for path in bag.rglob("*") if path.is_file()}
    assert {"data/attachments/1.bin", "data/notices/1.txt", "data/rules/over_seats.sql"} <= names
    assert all(re.fullmatch(r"[a-z0-9/_.-]+", name) for name in names)
    about = json.loads((bag / "data/case.json").read_text())
    assert about["attachments"][0]["name"].startswith("../../")
    rule = (bag / "data/rules/over_seats.sql").read_text()
    assert rule.endswith("*/\nSELECT 1 /* one */;\n")
    assert "*/ DROP" not in rule


def test_a_bag_is_not_written_over_files(bag):
    with pytest.raises(NotEmpty):
        Bag(bag)


@pytest.mark.parametrize("profile", [Profile.ADDRESSES, Profile.PEOPLE])
def test_a_redacted_bag_has_no_address_and_no_person_and_still_verifies(tmp_path, profile):
    handed = [
        {
            "exported_at": "2026-11-29",
            "actor": "person:ann@example.com",
            "purpose": "for bob@example.org at 2001:db8::7",
            "redaction": "nothing",
            "sha256": sha256().hexdigest(),
        }
    ]
    write_bag(tmp_path / "bag", profile=profile, file=case_file(handovers=handed))
    assert VERIFY(str(tmp_path / "bag"), KEY).problems == []
    everything = "".join(path.read_text() for path in (tmp_path / "bag").rglob("*") if path.is_file())
    assert "203.0.113." not in everything
    assert "2001:db8" not in everything
    assert ("ann@example.com" in everything, "bob@example.org" in everything) == (
        (profile is Profile.ADDRESSES),
    ) * 2
    lines = [json.loads(line) for line in (tmp_path / "bag/data/rows/pings.ndjson").read_text().splitlines()]
    assert len({row["client_address"] for row in lines}) == 60
    assert {row["facts"]["os"]["name"] for row in lines} == {"debian"}
    said = json.loads((tmp_path / "bag/data/case.json").read_text())["redaction"]
    assert said["values by field"]["client_address"] == 60
    assert said["attachments"] == ("left out" if profile is Profile.PEOPLE else "as they were added")
    assert said["means"] in (tmp_path / "bag/data/report.html").read_text()


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("from 192.0.2.7, twice 192.0.2.7", "from [address 1], twice [address 1]"),
        ("[2001:db8::1]:443 at 19:33:00", "[[address 1]]:443 at 19:33:00"),
        ("10.0.0.0/8 and 7.4.2 and 999.1.1.1", "[address 1] and 7.4.2 and 999.1.1.1"),
        (
            "write to Ann <ann.lee+x@example.com>, ann.lee+x@example.com!",
            "write to Ann <[e-mail 1]>, [e-mail 2]",
        ),
        (HOSTILE, HOSTILE),
    ],
)
def test_texts_lose_addresses_and_e_mails_and_nothing_else(text, left):
    assert Redactor(Profile.PEOPLE).text(text) == left
    assert Redactor(Profile.NOTHING).text(text) == text
