"""Checkpoints of a log as signed notes: c2sp.org/signed-note and c2sp.org/tlog-checkpoint, with Ed25519.

    license-telemetry/audit/5f0c2a7d9e11b3c4
    20852
    CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=

    — license-telemetry/audit/5f0c2a7d9e11b3c4 Az3grlgtzPICa5OS…

The lines are the log's origin, its number of entries and the root of its Merkle tree. A witness adds a line
with its cosignature (c2sp.org/tlog-cosignature): that, and when, it saw this head of the log.
"""

import base64
import re
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

_ED25519, _COSIGNATURE = b"\x01", b"\x04"
_HASH_BYTES = 32
_SIGNATURE = re.compile("^— ([^\\s+]+) ([A-Za-z0-9+/]+=*)$")
_NOTE = re.compile(
    "^[^\\s+]+\n(?:0|[1-9][0-9]{0,18})\n[A-Za-z0-9+/]{43}=\n(?:.+\n)*\n(?:— [^\\s+]+ [A-Za-z0-9+/]+=*\n)+",
    re.MULTILINE,
)


class WrongNote(ValueError):
    """The text is not a checkpoint, or is not signed by this key."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The head of a log: its origin, its number of entries and its root of 32 bytes."""

    origin: str
    size: int
    root: bytes

    @property
    def text(self) -> str:
        """The text that is signed."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"


class NoteVerifier:
    """A public key and its name. `kind`: the byte of its format for what it signs, notes or cosignatures."""

    def __init__(self, name: str, public_key: Ed25519PublicKey, kind: bytes = _ED25519) -> None:
        self.name = name
        self._key = public_key
        self._raw = kind + public_key.public_bytes_raw()
        self.key_id = sha256(f"{name}\n".encode() + self._raw).digest()[:4]

    @classmethod
    def of_key(cls, key: str) -> "NoteVerifier":
        """The verifier of a log's public key, as the settings have it. Raises ValueError."""
        name, _, raw = key.split("+", 2)
        return cls(name, Ed25519PublicKey.from_public_bytes(base64.b64decode(raw)[1:]))

    @property
    def key(self) -> str:
        """The public key as others of its format expect it: NAME+ID+KEY."""
        return f"{self.name}+{self.key_id.hex()}+{base64.b64encode(self._raw).decode()}"

    def open(self, note: str) -> Checkpoint:
        """The checkpoint in a note that this key has signed. Raises WrongNote."""
        return _parsed(self.text_of(note))

    def text_of(self, note: str) -> str:
        """The text of a note that this key has signed. Raises WrongNote."""
        text, _, signatures = note.rpartition("\n\n")
        text += "\n"
        found = [match for line in signatures.splitlines() if (match := _SIGNATURE.match(line))]
        try:
            signed = [base64.b64decode(match[2]) for match in found if match[1] == self.name]
            ours = [each[4:] for each in signed if each[:4] == self.key_id]
            for signature in ours:
                self._key.verify(signature, text.encode())
        except (InvalidSignature, ValueError):
            raise WrongNote("Its signature is wrong: its text was changed.") from None
        if not ours:
            raise WrongNote(f"It is not signed by {self.name}.")
        return text


class NoteSigner:
    """An Ed25519 key that signs checkpoints under a name that follows from it.

    `seed`: the private key, 32 bytes.
    """

    def __init__(self, seed: bytes, prefix: str) -> None:
        self._key, self.verifier = _named_key(seed, prefix, _ED25519)

    def sign(self, size: int, root: bytes) -> str:
        """The signed note of the head of this key's log."""
        return self.sign_text(Checkpoint(self.verifier.name, size, root).text)

    def sign_text(self, text: str) -> str:
        """The signed note of a text that ends with a line end, and is not that of a head of a log."""
        signature = base64.b64encode(self.verifier.key_id + self._key.sign(text.encode())).decode()
        return f"{text}\n— {self.verifier.name} {signature}\n"


class Cosigner:
    """An Ed25519 key of a witness, under a name that follows from it. `seed`: the private key, 32 bytes."""

    def __init__(self, seed: bytes, prefix: str) -> None:
        self._key, self.verifier = _named_key(seed, prefix, _COSIGNATURE)

    def cosign(self, checkpoint: Checkpoint, now: datetime) -> str:
        """The line that says that, at this time, the checkpoint is the largest of its log that was seen."""
        seconds = int(now.timestamp())
        signed = self._key.sign(f"cosignature/v1\ntime {seconds}\n{checkpoint.text}".encode())
        line = base64.b64encode(self.verifier.key_id + seconds.to_bytes(8, "big") + signed).decode()
        return f"— {self.verifier.name} {line}\n"


def _named_key(seed: bytes, prefix: str, kind: bytes) -> tuple[Ed25519PrivateKey, NoteVerifier]:
    key = Ed25519PrivateKey.from_private_bytes(seed)
    public = key.public_key()
    name = f"{prefix}/{sha256(public.public_bytes_raw()).hexdigest()[:16]}"
    return key, NoteVerifier(name, public, kind)


def notes_in(text: str) -> list[str]:
    """The notes in a file or an e-mail, which may have other lines around them."""
    return _NOTE.findall(text.replace("\r\n", "\n") + "\n")


def _parsed(text: str) -> Checkpoint:
    try:
        origin, size, root, *_ = text.splitlines()
        checkpoint = Checkpoint(origin, int(size), base64.b64decode(root, validate=True))
    except ValueError:
        raise WrongNote("It is no checkpoint.") from None
    if len(checkpoint.root) != _HASH_BYTES or checkpoint.size < 0:
        raise WrongNote("It is no checkpoint.")
    return checkpoint
