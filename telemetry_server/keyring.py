"""Master keys and what is derived from them. They live outside the database, in one file.

    installation secret  HMAC-SHA256(master, "installation" + product's UUID + installation's UUID)
    license key hash     HMAC-SHA256(pepper, "license key" + key digest)
    state digest         keyed BLAKE2b, 16 bytes

A lost file cannot be made again: every installation would have to enrol anew. Back it up.
"""

import fcntl
import hmac
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import blake2b, sha256
from pathlib import Path
from typing import Any
from uuid import UUID

from telemetry_server.errors import OperatorError

_KEY_BYTES = 32


class KeyringError(OperatorError):
    """The keyring file cannot be used."""

    code = "keyring"


@dataclass(slots=True)
class Keyring:
    """The master keys by id, which of them is for new installations, and the pepper for digests."""

    path: Path
    masters: dict[str, bytes]
    current: str
    pepper: bytes

    def reload(self) -> None:
        """Takes up what "keyring rotate" added since. Raises KeyringError."""
        fresh = open_keyring(self.path)
        self.masters, self.current = fresh.masters, fresh.current

    def secret(self, key: str, product_id: UUID, installation_id: UUID) -> bytes:
        """The installation's secret, 32 bytes. Raises KeyError when there is no master key of that id."""
        message = b"installation" + product_id.bytes + installation_id.bytes
        return hmac.digest(self.masters[key], message, "sha256")

    def license_key_hash(self, key_digest: str) -> bytes:
        """What is kept of a license key's digest, 32 bytes."""
        return hmac.digest(self.pepper, b"license key" + key_digest.encode(), "sha256")

    def hash_of_key(self, slug: str, key: str) -> bytes:
        """What is kept of a license key, 32 bytes: the same as of its digest in the pings of that product."""
        return self.license_key_hash(license_key_digest(slug, key))

    @property
    def check_value(self) -> bytes:
        """What a database remembers of the keyring it was made with; gives nothing away."""
        return hmac.digest(self.pepper, b"keyring check", "sha256")

    def state_digest(self, *parts: bytes) -> bytes:
        """What stands for a state of an installation, 16 bytes."""
        told_apart = b"".join([len(part).to_bytes(4, "big") + part for part in parts])
        return blake2b(told_apart, key=self.pepper, digest_size=16).digest()


def license_key_digest(slug: str, key: str) -> str:
    """What stands for a license key on the wire, in hex; white space around the key is no part of it."""
    return sha256(f"license\n{slug}\n{key.strip()}".encode()).hexdigest()


def open_keyring(path: Path) -> Keyring:
    """The keyring in `path`, which is made if it is not there. Raises KeyringError."""
    if not path.exists():
        _create(path)
    try:
        return _parse(path, json.loads(path.read_text("utf-8")))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise KeyringError(
            f"{path} is not a keyring ({error}). Restore it from a backup; "
            "without it no installation is known."
        ) from error


def rotate(path: Path) -> str:
    """Adds a master key for new installations and gives its id; the old ones go on working."""
    path = path.resolve()  # a link goes on pointing at the file that is mounted or backed up
    with _alone(path):
        document = _document(open_keyring(path))
        key = _next_id(document["masters"])
        document["masters"][key] = {"secret": secrets.token_hex(_KEY_BYTES)}
        document["current"] = key
        _write_beside(path, document).replace(path)
    return key


def _create(path: Path) -> None:
    """Two processes may start at once: the first to link its file wins, the other reads that one."""
    key = _next_id({})
    document = {
        "version": 1,
        "current": key,
        "pepper": secrets.token_hex(_KEY_BYTES),
        "masters": {key: {"secret": secrets.token_hex(_KEY_BYTES)}},
    }
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fresh = _write_beside(path, document)
    try:
        path.hardlink_to(fresh)
    except FileExistsError:
        return
    finally:
        fresh.unlink()


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Two rotations at once would lose one's key."""
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def _write_beside(path: Path, document: dict[str, Any]) -> Path:
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump(document, file, indent=2)
        file.flush()
        os.fsync(file.fileno())
    return fresh


def _parse(path: Path, document: dict[str, Any]) -> Keyring:
    masters = {key: bytes.fromhex(entry["secret"]) for key, entry in document["masters"].items()}
    pepper = bytes.fromhex(document["pepper"])
    if document["current"] not in masters or any(
        len(key) != _KEY_BYTES for key in [pepper, *masters.values()]
    ):
        raise ValueError("a key is missing or not 32 bytes long")
    return Keyring(path, masters, document["current"], pepper)


def _document(keyring: Keyring) -> dict[str, Any]:
    return {
        "version": 1,
        "current": keyring.current,
        "pepper": keyring.pepper.hex(),
        "masters": {key: {"secret": master.hex()} for key, master in keyring.masters.items()},
    }


def _next_id(masters: dict[str, Any]) -> str:
    """Short, rising and never reused: k1, k2 …"""
    return f"k{1 + max((int(key[1:]) for key in masters if key[1:].isdigit()), default=0)}"
