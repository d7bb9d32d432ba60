"""Checkpoints as signed notes, against the example of Go's note package and against OpenSSL."""

import base64
import shutil
import subprocess
from datetime import UTC, datetime
from hashlib import sha256

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from telemetry_server.signed_note import (
    Checkpoint,
    Cosigner,
    NoteSigner,
    NoteVerifier,
    WrongNote,
    notes_in,
)

SIGNER = NoteSigner(bytes(range(32)), "license-telemetry/audit")
ROOT = bytes.fromhex("5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328")
NOTE = SIGNER.sign(8, ROOT)

# The example of golang.org/x/mod/sumdb/note.
GO_KEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
GO_NOTE = (
    "If you think cryptography is the answer to your problem,\n"
    "then you don't know what your problem is.\n"
    "\n"
    "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
)


def go_verifier():
    name, _, raw = GO_KEY.split("+")
    return NoteVerifier(name, Ed25519PublicKey.from_public_bytes(base64.b64decode(raw)[1:]))


def test_a_checkpoint_is_three_lines_and_a_signature():
    name = SIGNER.verifier.name
    origin, size, root, empty, signature = NOTE.splitlines()
    assert (origin, size, empty) == (name, "8", "")
    assert base64.b64decode(root) == ROOT
    assert signature.startswith(f"— {name} ")
    assert SIGNER.verifier.open(NOTE) == Checkpoint(name, 8, ROOT)


def test_keys_and_signatures_are_those_of_the_go_package():
    assert go_verifier().key == GO_KEY
    with pytest.raises(WrongNote, match="no checkpoint"):  # its signature is right
        go_verifier().open(GO_NOTE)
    with pytest.raises(WrongNote, match="text was changed"):
        go_verifier().open(GO_NOTE.replace("answer", "reason"))


def test_a_note_with_any_other_character_in_it_is_refused():
    for position in range(len(NOTE) - 1):
        changed = "A" if NOTE[position] != "A" else "B"
        with pytest.raises(WrongNote):
            SIGNER.verifier.open(NOTE[:position] + changed + NOTE[position + 1 :])


def test_the_signature_of_a_witness_is_ignored_and_that_of_another_log_is_not_enough():
    other = NoteSigner(bytes(32), "license-telemetry/audit")
    witness = other.sign(8, ROOT).splitlines()[-1]
    assert SIGNER.verifier.open(f"{NOTE}{witness}\n").size == 8
    with pytest.raises(WrongNote, match="not signed by"):
        SIGNER.verifier.open(other.sign(8, ROOT))


def test_a_cosignature_is_that_of_the_format_and_leaves_the_note_as_it_is():
    witness, moment = Cosigner(bytes(32), "license-telemetry/witness"), datetime(2026, 11, 30, tzinfo=UTC)
    line = witness.cosign(SIGNER.verifier.open(NOTE), moment)
    dash, name, encoded = line.split()
    assert (dash, name, line[-1]) == ("—", witness.verifier.name, "\n")
    raw, public = base64.b64decode(encoded), Ed25519PrivateKey.from_private_bytes(bytes(32)).public_key()
    kind_and_key = b"\x04" + public.public_bytes_raw()
    assert raw[:4] == sha256(f"{name}\n".encode() + kind_and_key).digest()[:4]
    seconds = int.from_bytes(raw[4:12], "big")
    assert seconds == moment.timestamp()
    text = NOTE.rpartition("\n\n")[0]
    public.verify(raw[12:], f"cosignature/v1\ntime {seconds}\n{text}\n".encode())  # raises InvalidSignature
    assert SIGNER.verifier.open(NOTE + line).size == 8
    assert notes_in(f"{NOTE}{line}\n{NOTE}{line}") == [NOTE + line] * 2


def test_a_verifier_is_made_of_a_public_key():
    assert NoteVerifier.of_key(SIGNER.verifier.key).open(NOTE).size == 8


def test_notes_are_found_in_an_email():
    mail = f"Subject: Checkpoint\r\n\r\nKeep this message.\r\n\r\n{NOTE}\nRegards\r\n\n{SIGNER.sign(9, ROOT)}"
    assert notes_in(mail.replace("\n", "\r\n")) == [NOTE, SIGNER.sign(9, ROOT)]
    assert notes_in("no note\n\n— here\n") == []


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
def test_openssl_agrees(tmp_path):
    public = Ed25519PrivateKey.from_private_bytes(bytes(range(32))).public_key()
    pem = public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    text, signature = NOTE.rpartition("\n\n")[0] + "\n", base64.b64decode(NOTE.split()[-1])[4:]
    files = {"key.pem": pem, "text": text.encode(), "changed": text.upper().encode(), "signature": signature}
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    command = [
        "openssl",
        "pkeyutl",
        "-verify",
        "-rawin",
        "-pubin",
        "-inkey",
        "key.pem",
        "-sigfile",
        "signature",
    ]
    exits = {
        name: subprocess.run(
            [*command, "-in", name], cwd=tmp_path, capture_output=True, check=False
        ).returncode
        for name in ("text", "changed")
    }
    assert exits["text"] == 0
    assert exits["changed"] != 0
