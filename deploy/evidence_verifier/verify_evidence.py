"""Checks the evidence of a case: a BagIt folder (RFC 8493) with a signed statement.

    python verify_evidence.py BAG --trusted-key KEY [--timestamp-authority FILE] [--checkpoint FILE]

Needs Python 3.8 and no package, and shares no code with the server that exported the bag. Exit codes:

    0  valid: every file is as it was signed, by the trusted key
    1  valid with warnings, e.g. without a trusted key, or without a time stamp
    2  invalid, or it could not be checked; each problem names its file

Without KEY a bag proves that it was not changed since it was signed, not by whom. Get the key from the one
who operates the server, on another way than the bag: "telemetry-server audit checkpoint" prints it.
"""

import argparse
import base64
import json
import os
import re
import stat
import subprocess
import sys
import traceback
from hashlib import sha256, sha512

VALID, WARNINGS, INVALID = 0, 1, 2

MANIFEST, TAG_MANIFEST, STATEMENT = "manifest-sha256.txt", "tagmanifest-sha256.txt", "statement.txt"
TIMESTAMP, CUSTODY, CHECKPOINT = "tagmanifest-sha256.tsr", "data/custody.ndjson", "data/audit.checkpoint"
TITLE = "license-telemetry evidence"
SIGNED_TAGS = ("bagit.txt", "bag-info.txt", MANIFEST)
TAG_FILES = (*SIGNED_TAGS, TAG_MANIFEST, STATEMENT)
DECLARATION = b"BagIt-Version: 1.0\nTag-File-Character-Encoding: UTF-8\n"

_LINE = re.compile(r"([0-9a-f]{64})  ([A-Za-z0-9_-][A-Za-z0-9._-]*(?:/[A-Za-z0-9_-][A-Za-z0-9._-]*)*)")
_BLOCK = 1 << 20
_LARGEST_TEXT = 64 << 20


class Wrong(Exception):
    """A file that is not as it should be: its name, and why."""


class Report:
    """What was found: problems and warnings, each with the name of its file."""

    def __init__(self):
        self.problems, self.warnings, self.facts = [], [], {}

    def problem(self, file, text):
        self.problems.append((file, text))

    def warning(self, file, text):
        self.warnings.append((file, text))

    @property
    def exit_code(self):
        return INVALID if self.problems else WARNINGS if self.warnings else VALID


def verify(bag, trusted_key=None, authority=None, checkpoint=None):
    """Checks the folder `bag`; returns a Report.

    `trusted_key`: NAME+ID+KEY. `authority`: the file of a time stamp authority's certificates.
    `checkpoint`: the text of a checkpoint of the audit log that was kept elsewhere.
    """
    report = Report()
    for check in _check_declaration, _check_files, _check_statement, _check_custody:
        try:
            check(bag, report, trusted_key, authority, checkpoint)
        except Wrong as wrong:
            report.problem(*wrong.args)
        except OSError as error:
            report.problem(os.path.basename(error.filename or bag), error.strerror or str(error))
        except Exception as error:  # noqa: BLE001  what cannot be checked is never valid
            report.problem("the folder", "cannot be checked: %s" % type(error).__name__)
    return report


# ── files ───────────────────────────────────────────────────────────────────────────────────


def _check_declaration(bag, report, *_):
    if _read(bag, "bagit.txt") != DECLARATION:
        report.problem("bagit.txt", "is not the declaration of BagIt 1.0")


def _check_files(bag, report, *_):
    """Each file is in a manifest, each one in a manifest is there, and has the digest of the manifest."""
    here = set(_walk(bag, "", report))
    named = dict.fromkeys(TAG_FILES)
    for manifest, belongs in ((TAG_MANIFEST, SIGNED_TAGS.__contains__), (MANIFEST, _is_payload)):
        if manifest in here:
            named.update(_manifest(bag, manifest, belongs, report))
    for name in sorted(named.keys() - here):
        report.problem(name, "is missing")
    for name in sorted(here - named.keys() - {TIMESTAMP}):
        if MANIFEST in here or not _is_payload(name):
            report.problem(name, "was added: no manifest names it")
    for name in sorted(here & named.keys()):
        if named[name] is not None and _digest(bag, name) != named[name]:
            report.problem(name, "was changed: its SHA-256 is not the one of the manifest")
    for name in [each for each in SIGNED_TAGS if named[each] is None]:
        report.problem(name, "is not proven: %s does not name it" % TAG_MANIFEST)
    report.facts["files"] = len(here)


def _is_payload(name):
    return name.startswith("data/")


def _walk(bag, folder, report):
    """The names of all files; anything but a file or a folder with files is a problem."""
    with os.scandir(os.path.join(bag, folder)) as entries:
        for entry in entries:
            name = folder + os.fsencode(entry.name).decode("utf-8", "backslashreplace")
            if entry.is_symlink():
                report.problem(name, "is a link")
            elif entry.is_dir(follow_symlinks=False):
                below = list(_walk(bag, name + "/", report))
                if not below:
                    report.problem(name, "was added: an empty folder")
                for each in below:
                    yield each
            elif stat.S_ISREG(entry.stat(follow_symlinks=False).st_mode):
                yield name
            else:
                report.problem(name, "is no file")


def _manifest(bag, manifest, belongs, report):
    """The digests by name. Each line that does not belong is a problem."""
    found, text = {}, _text(bag, manifest)
    if not text.endswith("\n"):
        report.problem(manifest, "does not end with a line end")
    for number, line in enumerate(text.split("\n")[:-1], 1):
        match = _LINE.fullmatch(line)
        if match is None or match[2] in found or not belongs(match[2]):
            report.problem(manifest, "line %d is no digest of a file that belongs there once" % number)
        else:
            found[match[2]] = match[1]
    return found


def _opened(bag, name):
    """The file, open for reading. Raises Wrong for a link, a FIFO or a device: reading one may not end."""
    path = os.path.join(bag, name)
    if os.path.lexists(path) and not stat.S_ISREG(os.lstat(path).st_mode):
        raise Wrong(name, "is no file")
    return open(path, "rb")


def _digest(bag, name):
    digest = sha256()
    with _opened(bag, name) as file:
        for block in iter(lambda: file.read(_BLOCK), b""):
            digest.update(block)
    return digest.hexdigest()


def _read(bag, name):
    try:
        with _opened(bag, name) as file:
            content = file.read(_LARGEST_TEXT + 1)
    except (FileNotFoundError, NotADirectoryError):
        raise Wrong(name, "is missing") from None
    if len(content) > _LARGEST_TEXT:
        raise Wrong(name, "is too large")
    return content


def _lines(bag, name):
    """The lines of a file of any size, as bytes."""
    try:
        with _opened(bag, name) as file:
            for line in iter(lambda: file.readline(_LARGEST_TEXT), b""):
                yield line
    except (FileNotFoundError, NotADirectoryError):
        raise Wrong(name, "is missing") from None


def _text(bag, name):
    try:
        return _read(bag, name).decode()
    except UnicodeDecodeError:
        raise Wrong(name, "is no text in UTF-8") from None


# ── the statement, its signature and its time stamp ──────────────────────────────────────────


def _check_statement(bag, report, trusted_key, authority, _):
    try:
        said = dict(line.partition(": ")[::2] for line in _statement(bag)[1:])
        key = said.get("key", "")
        _check_note(_text(bag, STATEMENT), key, STATEMENT)
    except Wrong:
        if os.path.lexists(os.path.join(bag, TIMESTAMP)):
            report.problem(TIMESTAMP, "is not proven: no valid statement names it")
        raise
    report.facts.update(said)
    if trusted_key is None:
        report.warning(STATEMENT, "no trusted key: unchanged since it was signed, but not proven by whom")
    elif trusted_key.strip() != key:
        report.problem(STATEMENT, "is signed by another key than the trusted one")
    if said.get("tagmanifest-sha256") != _digest(bag, TAG_MANIFEST):
        report.problem(TAG_MANIFEST, "was changed: its SHA-256 is not the one that was signed")
    _check_timestamp(bag, report, said.get("timestamp-sha256", "none"), authority)


def _statement(bag):
    lines = _text(bag, STATEMENT).partition("\n\n")[0].split("\n")
    if lines[0] != TITLE:
        raise Wrong(STATEMENT, "is no statement on evidence")
    return lines


def _check_note(note, key, file):
    """A signed note (c2sp.org/signed-note) with one signature, by the key; returns its text."""
    try:
        name, key_id, encoded = key.split("+", 2)
        raw = base64.b64decode(encoded, validate=True)
    except ValueError:
        raise Wrong(file, "names no key as NAME+ID+KEY") from None
    if len(raw) != 33 or raw[:1] != b"\x01" or sha256(name.encode() + b"\n" + raw).hexdigest()[:8] != key_id:
        raise Wrong(file, "names no key of Ed25519")
    text, _, signature_line = note.rpartition("\n\n")
    text += "\n"
    try:
        signature = base64.b64decode(signature_line.rstrip("\n").split(" ")[2], validate=True)
    except (ValueError, IndexError):
        raise Wrong(file, "has no signature") from None
    as_written = "— %s %s\n" % (name, base64.b64encode(signature).decode())
    if signature_line != as_written or signature[:4].hex() != key_id:
        raise Wrong(file, "is not signed by %s" % name)
    if not ed25519_verify(raw[1:], text.encode(), signature[4:]):
        raise Wrong(file, "was changed: its signature is wrong")
    return text


def _check_timestamp(bag, report, expected, authority):
    """The token belongs to the statement by its digest, and to the tag manifest by what it stamps."""
    path = os.path.join(bag, TIMESTAMP)
    if expected == "none":
        if os.path.lexists(path):
            report.problem(TIMESTAMP, "was added: the statement names no time stamp")
        report.warning(STATEMENT, "no time stamp of a third party: the time is the server's own word")
        return
    token = _read(bag, TIMESTAMP)
    if sha256(token).hexdigest() != expected:
        report.problem(TIMESTAMP, "was changed: its SHA-256 is not the one that was signed")
    elif sha256(_read(bag, TAG_MANIFEST)).digest() not in token:
        report.problem(TIMESTAMP, "stamps something else")
    elif authority is None:
        report.warning(TIMESTAMP, "not checked: name the authority's certificates by --timestamp-authority")
    else:
        data = os.path.join(bag, TAG_MANIFEST)
        command = ["openssl", "ts", "-verify", "-data", data, "-in", path, "-CAfile", authority]
        try:
            done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        except OSError as error:
            raise Wrong(TIMESTAMP, "cannot be checked without openssl: %s" % error) from error
        if done.returncode:
            report.problem(
                TIMESTAMP, "openssl refuses it: %s" % done.stdout.decode("utf-8", "replace")[-300:]
            )


# ── custody: entries of the audit log, each with its proof (RFC 6962) ────────────────────────


def _check_custody(bag, report, _, __, checkpoint):
    """Each entry is in the log whose signed root is in the bag; a `checkpoint` of its size has that root."""
    key = dict(line.partition(": ")[::2] for line in _statement(bag)[1:]).get("key", "")
    origin, size, root = _head(_check_note(_text(bag, CHECKPOINT), key, CHECKPOINT), CHECKPOINT)
    if checkpoint is not None:
        kept = _head(_check_note(checkpoint, key, "--checkpoint"), "--checkpoint")
        if kept[:2] == (origin, size) and kept[2] != root:
            report.problem(CHECKPOINT, "contradicts the checkpoint that was kept: the log was rewritten")
        elif kept[:2] != (origin, size):
            report.warning(CHECKPOINT, "not compared: the checkpoint that was kept has another size")
    entries = 0
    for number, line in enumerate(_lines(bag, CUSTODY), 1):
        entries += 1
        try:
            if _root_above(json.loads(line.decode()), size) != root:
                report.problem(CUSTODY, "line %d: its entry is not in the audit log" % number)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            report.problem(CUSTODY, "line %d is no entry with its proof" % number)
    report.facts["custody"] = entries


def _head(text, file):
    try:
        origin, size, root = text.split("\n")[:3]
        return origin, int(size), base64.b64decode(root, validate=True)
    except ValueError:
        raise Wrong(file, "is no checkpoint") from None


def _root_above(entry, size):
    """The root that follows from an entry and its proof (RFC 9162, 2.1.3.2); raises ValueError."""
    commitment = bytes.fromhex(entry["commitment"])
    if "content" in entry:
        if sha256(bytes.fromhex(entry["salt"]) + entry["content"].encode()).digest() != commitment:
            raise ValueError("another content")
        if json.loads(entry["content"])["leaf"] != entry["leaf"]:
            raise ValueError("another place")
    found = sha256(b"\0" + bytes.fromhex(entry["entry_id"].replace("-", "")) + commitment).digest()
    index, last = entry["leaf"], size - 1
    if not 0 <= index <= last:
        raise ValueError("outside of the log")
    for beside in [base64.b64decode(each, validate=True) for each in entry["path"]]:
        if last == 0:
            raise ValueError("too long")
        if index % 2 or index == last:
            found = sha256(b"\1" + beside + found).digest()
            while index and index % 2 == 0:
                index, last = index // 2, last // 2
        else:
            found = sha256(b"\1" + found + beside).digest()
        index, last = index // 2, last // 2
    return found if last == 0 else None


# ── Ed25519 as in RFC 8032, 5.1.7, in extended coordinates ───────────────────────────────────

_P = 2**255 - 19
_L = 2**252 + 27742317777372353535851937790883648493
_D = -121665 * pow(121666, _P - 2, _P) % _P
_ROOT_OF_MINUS_ONE = pow(2, (_P - 1) // 4, _P)


def ed25519_verify(public_key, message, signature):
    """Whether the signature, 64 bytes, of the message is one of the key, 32 bytes."""
    if len(signature) != 64 or len(public_key) != 32:
        return False
    scalar = int.from_bytes(signature[32:], "little")
    key, commitment = _point(public_key), _point(signature[:32])
    if key is None or commitment is None or scalar >= _L:
        return False
    digest = sha512(signature[:32] + public_key + message).digest()
    challenge = int.from_bytes(digest, "little") % _L
    left, right = _times(scalar, _BASE), _plus(commitment, _times(challenge, key))
    return (
        (left[0] * right[2] - right[0] * left[2]) % _P == 0 == (left[1] * right[2] - right[1] * left[2]) % _P
    )


def _point(encoded):
    """The point, or None: y has 255 bits, the highest bit is the sign of x."""
    y = int.from_bytes(encoded, "little")
    sign, y = y >> 255, y & (1 << 255) - 1
    if y >= _P:
        return None
    x2 = (y * y - 1) * pow(_D * y * y + 1, _P - 2, _P) % _P
    x = pow(x2, (_P + 3) // 8, _P)
    if (x * x - x2) % _P:
        x = x * _ROOT_OF_MINUS_ONE % _P
    if (x * x - x2) % _P or (x == 0 and sign):
        return None
    x = _P - x if x & 1 != sign else x
    return x, y, 1, x * y % _P


def _plus(one, other):
    a = (one[1] - one[0]) * (other[1] - other[0]) % _P
    b = (one[1] + one[0]) * (other[1] + other[0]) % _P
    c, d = 2 * one[3] * other[3] * _D % _P, 2 * one[2] * other[2] % _P
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % _P, g * h % _P, f * g % _P, e * h % _P


def _times(scalar, point):
    found = (0, 1, 1, 0)
    while scalar:
        if scalar & 1:
            found = _plus(found, point)
        point, scalar = _plus(point, point), scalar >> 1
    return found


_BASE = _point((4 * pow(5, _P - 2, _P) % _P).to_bytes(32, "little"))


# ── the command ─────────────────────────────────────────────────────────────────────────────


def main(arguments=None):
    """Prints what was found, and returns the exit code; after an error of this program that is INVALID."""
    try:
        return _run(arguments)
    except Exception:  # noqa: BLE001  Python would exit with 1: valid, with warnings
        traceback.print_exc()
        return INVALID


def _run(arguments):
    parser = argparse.ArgumentParser(
        prog="verify_evidence", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("bag", metavar="BAG", help="the folder")
    parser.add_argument("--trusted-key", metavar="KEY", help="the server's public key, or a file with it")
    parser.add_argument("--timestamp-authority", metavar="FILE", help="its certificates, PEM; uses openssl")
    parser.add_argument("--checkpoint", metavar="FILE", help="a checkpoint of the audit log, kept elsewhere")
    given = parser.parse_args(arguments)
    try:
        key = _given(given.trusted_key) if os.path.isfile(given.trusted_key or "") else given.trusted_key
        report = verify(
            given.bag, key, given.timestamp_authority, given.checkpoint and _given(given.checkpoint)
        )
    except (OSError, UnicodeDecodeError) as error:
        parser.error(str(error))
    for file, text in report.problems:
        print(_shown("INVALID  %s: %s" % (file, text)))
    for file, text in report.warnings:
        print(_shown("warning  %s: %s" % (file, text)))
    words = {VALID: "valid", WARNINGS: "valid, with warnings", INVALID: "INVALID"}[report.exit_code]
    facts = ", ".join(
        "%s %s" % (name, report.facts[name]) for name in ("case", "exported") if name in report.facts
    )
    print(_shown("%s: %s%s" % (given.bag, words, " (%s)" % facts if facts else "")))
    return report.exit_code


def _given(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


def _shown(text):
    """The text in printable ASCII: nothing steers a terminal, and any standard output can encode it."""
    return "".join(
        each if each.isascii() and each.isprintable() else each.encode("unicode_escape").decode()
        for each in text
    )


if __name__ == "__main__":
    sys.exit(main())
