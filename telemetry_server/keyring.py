"""Master keys and what is derived from them. They live outside the database, in one file.

    installation secret  HMAC-SHA256(master, "installation" + product's UUID + installation's UUID)
    license key hash     HMAC-SHA256(pepper, "license key" + key digest)
    state digest         keyed BLAKE2b, 16 bytes

A lost file cannot be made again: every installation would have to enrol anew. Back it up. Whether a file is
the one that a database knows, says `store/access/keyring_check.py`.
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
"""This process or this machine has no file descriptor or memory left, which says nothing about the file."""


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
    """The master keys by id, which of them is for new installations, and the pepper for digests."""

    path: Path
    masters: dict[str, bytes] = field(repr=False)
    current: str
    pepper: bytes = field(repr=False)

    def take_up(self, fresh: "Keyring") -> None:
        """The master keys become those of `fresh`, which is the same keyring at a later time."""
        self.masters, self.current = fresh.masters, fresh.current

    def secret(self, key: str, product_id: UUID, installation_id: UUID) -> bytes:
        """The installation's secret, 32 bytes. Raises KeyError when there is no master key of that id."""
        return installation_secret(self.masters[key], product_id, installation_id)

    def license_key_hash(self, key_digest: str) -> bytes:
        """What is kept of a license key's digest, 32 bytes."""
        return hmac.digest(self.pepper, b"license key" + key_digest.encode(), "sha256")

    def hash_of_key(self, slug: str, key: str) -> bytes:
        """What is kept of a license key, 32 bytes: the same as of its digest in the pings of that product."""
        return self.license_key_hash(license_key_digest(slug, key))

    @property
    def check_value(self) -> bytes:
        """What a database remembers of the keyring it was made with, 32 bytes; gives nothing away."""
        return hmac.digest(self.pepper, b"keyring check", "sha256")

    @property
    def master_check_values(self) -> dict[str, bytes]:
        """What a database remembers of each master key by id, 32 bytes each; gives nothing away."""
        return {
            key: hmac.digest(master, b"keyring check" + key.encode(), "sha256")
            for key, master in self.masters.items()
        }

    def state_digest(self, *parts: bytes) -> bytes:
        """What stands for a state of an installation, 16 bytes."""
        told_apart = b"".join([len(part).to_bytes(4, "big") + part for part in parts])
        return blake2b(told_apart, key=self.pepper, digest_size=16).digest()


def installation_secret(master: bytes, product_id: UUID, installation_id: UUID) -> bytes:
    """What an installation's secret is by its master key, 32 bytes."""
    return hmac.digest(master, b"installation" + product_id.bytes + installation_id.bytes, "sha256")


def license_key_digest(slug: str, key: str) -> str:
    """What stands for a license key on the wire, in hex; white space around the key is no part of it."""
    return sha256(f"license\n{slug}\n{key.strip()}".encode()).hexdigest()


def read_keyring(path: Path) -> Keyring:
    """The keyring in `path`. Raises KeyringError, and OSError where this process cannot open any file."""
    try:
        return _parse(path, json.loads(decoded(path.read_bytes())))  # as an editor of Windows saves it, too
    except (FileNotFoundError, NotADirectoryError) as error:
        raise KeyringMissing(
            f'There is no keyring {path}. The first "telemetry-server serve" makes it; if it was lost, '
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
            "without it no installation is known."
        ) from error


def open_keyring(path: Path) -> Keyring:
    """The keyring in `path`, which is made if nothing is there: for the first start only.

    Raises KeyringError.
    """
    if not os.path.lexists(path):  # a link to nothing is a disk that is not mounted
        key = _next_id([])
        document = {
            "version": 1,
            "current": key,
            "pepper": secrets.token_hex(_KEY_BYTES),
            "masters": {key: {"secret": secrets.token_hex(_KEY_BYTES)}},
        }
        durable.make_directory(path.parent)
        with suppress(FileExistsError):  # two processes may start at once: the first one's file counts
            durable.write(path, _encoded(document), replace=False)
    return read_keyring(path)


def rotate(path: Path, taken: Collection[str] = ()) -> str:
    """Adds a master key for new installations and gives its id; the old ones go on working.

    The id is none of `taken`, and later than each of them. Returns when the key is on the disk.
    """
    path = path.resolve()  # a link goes on pointing at the file that is mounted or backed up
    with _alone(path):
        document = _document(read_keyring(path))
        key = _next_id([*document["masters"], *taken])
        document["masters"][key] = {"secret": secrets.token_hex(_KEY_BYTES)}
        document["current"] = key
        durable.write(path, _encoded(document))
    return key


def left_over(path: Path) -> list[Keyring]:
    """The keyrings in files that a power cut kept from getting the name `path`, each with its own path."""
    path = path.resolve()
    found = []
    for candidate in sorted(path.parent.glob("*")):
        if candidate.name.startswith(f".{path.name}."):
            with suppress(KeyringError):
                found.append(read_keyring(candidate))
    return found


def take_left_over(fresh: Keyring, path: Path) -> None:
    """Gives the file of `fresh` the name `path`, unless another process was first."""
    with suppress(FileExistsError, FileNotFoundError):
        durable.link(fresh.path, path.resolve())


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Two rotations at once would lose one's key."""
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def _encoded(document: dict[str, Any]) -> bytes:
    return json.dumps(document, indent=2).encode()


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


def _next_id(keys: Collection[str]) -> str:
    """Short, rising and never reused: k1, k2 …"""
    return f"k{1 + max((int(key[1:]) for key in keys if key[1:].isdecimal()), default=0)}"
