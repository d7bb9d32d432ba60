"""The keyring: master keys and what is derived from them. It is a file outside the database.

    installation secret  HMAC-SHA256(master, "installation" + product's UUID + installation's UUID)
    license key hash     HMAC-SHA256(pepper, "license key" + key digest)
    state digest         keyed BLAKE2b, 16 bytes
    audit seed           HMAC-SHA256(pepper, "audit checkpoints"), the Ed25519 key of the audit log
    witness seed         HMAC-SHA256(pepper, "audit witness"), the Ed25519 key for logs of other servers
    authenticator app    HMAC-SHA256(pepper, "totp" + person's UUID + salt), its first 20 bytes
    figures key          HMAC-SHA256(pepper, "public figures"), which selects the noise of public figures
    known browser        HMAC-SHA256(pepper, "known browser" + person's UUID)

A lost file cannot be recreated: all installations would have to enrol again. Back it up.
`store/access/keyring_check.py` checks whether a file belongs to a database.
"""

import errno
import fcntl
import hmac
import json
import os
import secrets
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from hashlib import blake2b, sha256
from pathlib import Path
from typing import Any
from uuid import UUID

from telemetry_server import durable
from telemetry_server.errors import OperatorError
from telemetry_server.text import decoded

_KEY_BYTES = 32
_SHORT_OF = {errno.EMFILE, errno.ENFILE, errno.ENOMEM}
"""Limits of this process or machine, which say nothing about the file."""


class KeyringError(OperatorError):
    """The keyring file cannot be used."""

    code = "keyring"


class KeyringMissing(KeyringError):
    """The keyring file is missing."""


class KeyringUnreadable(KeyringError):
    """The keyring file cannot be read."""


class KeyringDamaged(KeyringError):
    """The keyring file is damaged."""


@dataclass(slots=True)
class Keyring:
    """The master keys by id, the id of the one for new installations, and the pepper for digests."""

    path: Path
    masters: dict[str, bytes] = field(repr=False)
    current: str
    pepper: bytes = field(repr=False)

    def take_up(self, fresh: "Keyring") -> None:
        """Replaces the master keys by those of `fresh`, a later state of the same keyring."""
        self.masters, self.current = fresh.masters, fresh.current

    def secret(self, key: str, product_id: UUID, installation_id: UUID) -> bytes:
        """The installation's secret, 32 bytes. Raises KeyError for an unknown master key."""
        return installation_secret(self.masters[key], product_id, installation_id)

    def license_key_hash(self, key_digest: str) -> bytes:
        """The stored hash of a license key's digest, 32 bytes."""
        return hmac.digest(self.pepper, b"license key" + key_digest.encode(), "sha256")

    def hash_of_key(self, slug: str, key: str) -> bytes:
        """The stored hash of a license key, 32 bytes; equal to that of its digest in pings of the product."""
        return self.license_key_hash(license_key_digest(slug, key))

    def totp_secret(self, person_id: UUID, salt: bytes) -> bytes:
        """The secret of a person's authenticator app, 20 bytes; the database stores the salt only."""
        return hmac.digest(self.pepper, b"totp" + person_id.bytes + salt, "sha256")[:20]

    def known_browser(self, person_id: UUID) -> str:
        """The mark of browsers that signed in as this person, in hex; it signs no one in."""
        return hmac.digest(self.pepper, b"known browser" + person_id.bytes, "sha256").hex()

    @property
    def check_value(self) -> bytes:
        """The check value of the keyring that a database stores, 32 bytes; does not reveal the keyring."""
        return hmac.digest(self.pepper, b"keyring check", "sha256")

    @property
    def master_check_values(self) -> dict[str, bytes]:
        """The check values of the master keys by id, 32 bytes each; they do not reveal the keys."""
        return {
            key: hmac.digest(master, b"keyring check" + key.encode(), "sha256")
            for key, master in self.masters.items()
        }

    @property
    def audit_seed(self) -> bytes:
        """The private key that signs the audit log's checkpoints, 32 bytes."""
        return hmac.digest(self.pepper, b"audit checkpoints", "sha256")

    @property
    def figures_key(self) -> bytes:
        """The key that selects the noise of public figures, 32 bytes."""
        return hmac.digest(self.pepper, b"public figures", "sha256")

    @property
    def witness_seed(self) -> bytes:
        """The private key that cosigns the checkpoints of other servers, 32 bytes."""
        return hmac.digest(self.pepper, b"audit witness", "sha256")

    def state_digest(self, *parts: bytes) -> bytes:
        """The digest of a state of an installation, 16 bytes."""
        prefixed = b"".join([len(part).to_bytes(4, "big") + part for part in parts])
        return blake2b(prefixed, key=self.pepper, digest_size=16).digest()


def installation_secret(master: bytes, product_id: UUID, installation_id: UUID) -> bytes:
    """The secret of an installation by its master key, 32 bytes."""
    return hmac.digest(master, b"installation" + product_id.bytes + installation_id.bytes, "sha256")


def license_key_digest(slug: str, key: str) -> str:
    """The digest of a license key on the wire, in hex; surrounding white space is stripped."""
    return sha256(f"license\n{slug}\n{key.strip()}".encode()).hexdigest()


def read_keyring(path: Path) -> Keyring:
    """The keyring in `path`. Raises KeyringError, and OSError where this process cannot open any file."""
    try:
        return _parse(
            path, json.loads(decoded(path.read_bytes()))
        )  # also UTF-16, as editors of Windows save it
    except (FileNotFoundError, NotADirectoryError) as error:
        raise KeyringMissing(
            f'There is no keyring {path}. The first "telemetry-server serve" creates it; if it was lost, '
            "restore it from a backup; if it is elsewhere, correct --data or TELEMETRY_KEYRING_FILE."
        ) from error
    except OSError as error:
        if error.errno in _SHORT_OF:
            raise OSError(error.errno, error.strerror) from None
        raise KeyringUnreadable(
            f"The keyring {path} cannot be read ({error.strerror}). Let the server's user read it, and check "
            "that its disk is mounted and in order."
        ) from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise KeyringDamaged(
            f"{path} is not a keyring ({error}). Restore it from a backup; "
            "without it all installations are refused."
        ) from error


def open_keyring(path: Path) -> Keyring:
    """The keyring in `path`, created if nothing is there: for the first start only.

    Raises KeyringError.
    """
    if not os.path.lexists(path):  # a dangling link is a disk that is not mounted
        key = _next_id([])
        fresh = Keyring(path, {key: _new_key()}, key, _new_key())
        durable.make_directory(path.parent)
        with suppress(FileExistsError):  # another process that starts at the same time was first
            durable.write(path, _encoded(fresh), replace=False)
    return read_keyring(path)


def rotate(path: Path, taken: Collection[str] = ()) -> str:
    """Adds a master key for new installations and returns its id; the old ones stay valid.

    The id is later than each of `taken`. Returns when the key is on the disk.
    """
    path = path.resolve()  # replaces the file, not a link to it
    with _alone(path):
        keyring = read_keyring(path)
        keyring.current = _next_id([*keyring.masters, *taken])
        keyring.masters[keyring.current] = _new_key()
        durable.write(path, _encoded(keyring))
    return keyring.current


def left_over(path: Path) -> list[Keyring]:
    """The keyrings in temporary files that a power cut left beside `path`, each with its path."""
    path = path.resolve()
    found = []
    for candidate in sorted(path.parent.glob("*")):
        if candidate.name.startswith(f".{path.name}."):
            with suppress(KeyringError):
                found.append(read_keyring(candidate))
    return found


def take_left_over(fresh: Keyring, path: Path) -> None:
    """Moves the file of `fresh` to `path`, unless another process was first."""
    with suppress(FileExistsError, FileNotFoundError):
        durable.link(fresh.path, path.resolve())


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Serializes rotations; in parallel, one would lose the key of the other."""
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def _new_key() -> bytes:
    return secrets.token_bytes(_KEY_BYTES)


def _parse(path: Path, document: dict[str, Any]) -> Keyring:
    masters = {key: bytes.fromhex(entry["secret"]) for key, entry in document["masters"].items()}
    pepper = bytes.fromhex(document["pepper"])
    if document["current"] not in masters or any(
        len(key) != _KEY_BYTES for key in [pepper, *masters.values()]
    ):
        raise ValueError("a key is missing or not 32 bytes long")
    return Keyring(path, masters, document["current"], pepper)


def _encoded(keyring: Keyring) -> bytes:
    document = {
        "version": 1,
        "current": keyring.current,
        "pepper": keyring.pepper.hex(),
        "masters": {key: {"secret": master.hex()} for key, master in keyring.masters.items()},
    }
    return json.dumps(document, indent=2).encode()


def _next_id(keys: Collection[str]) -> str:
    """The next id: k1, k2 …"""
    return f"k{1 + max((int(key[1:]) for key in keys if key[1:].isdecimal()), default=0)}"
