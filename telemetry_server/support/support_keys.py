"""The keys of the support team: files beside the keyring, never in the database.

    <id>.pem     a private key for one week (P-256), kept until the last grant sealed to it has expired
    ca.pem       the SSH authority (Ed25519)
    keys.json    the public keys, to be signed on another machine by the offline root (ECDSA, P-256)
    keys.signed  the same with the signature; this is what clients are sent

A destroyed key makes all that was sealed to it unreadable, in backups too. So these files belong into no
backup that is kept longer than a grant.
"""

import json
import re
from base64 import urlsafe_b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from secrets import token_hex
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from telemetry_server import durable
from telemetry_server.errors import OperatorError

FORMAT = "license-telemetry/support-keys/v1"
WEEK = timedelta(days=7)
LONGEST_GRANT = timedelta(days=14)
_MARGIN = timedelta(days=1)  # for clocks
_ID = re.compile(r"[0-9]{4}w[0-9]{2}-[0-9a-f]{8}")
_SUITE = 1


class SupportKeyError(OperatorError):
    """The support keys cannot be used."""

    code = "support_keys"


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A weekly key as clients see it: they seal to it from `use_from` until `use_until`."""

    id: str
    public_key: str
    use_from: datetime
    use_until: datetime
    kept_until: datetime

    @property
    def described(self) -> dict[str, Any]:
        """The key as the list has it."""
        times = {name: _text(getattr(self, name)) for name in ("use_from", "use_until", "kept_until")}
        return {"id": self.id, "suite": _SUITE, "public_key": self.public_key, **times}


class SupportKeys:
    """The keys in a directory, which `make` creates. All methods read and write files."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.payload = directory / "keys.json"
        self.signed = directory / "keys.signed"

    def public_keys(self) -> list[PublicKey]:
        """The keys of the unsigned list. Raises SupportKeyError."""
        try:
            listed = json.loads(self.payload.read_text("utf-8"))["keys"]
            return [_parsed(each) for each in listed]
        except FileNotFoundError:
            return []
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise SupportKeyError(f"{self.payload} cannot be read: {error}.") from error

    def key_of(self, moment: datetime) -> PublicKey | None:
        """The key to which clients seal at this time, if there is one."""
        now = [each for each in self.public_keys() if each.use_from <= moment < each.use_until]
        return max(now, key=lambda each: each.kept_until, default=None)

    def signed_list(self) -> str | None:
        """The signed list for clients; None if there is none yet."""
        try:
            return self.signed.read_text("utf-8")
        except (OSError, ValueError):
            return None

    def is_signed(self) -> bool:
        """Whether the signed list is that of the present keys."""
        try:
            return (self.signed_list() or "").partition("\n")[0] == self.payload.read_text("utf-8").strip()
        except OSError:
            return False

    def private_key(self, key_id: str) -> ec.EllipticCurvePrivateKey | None:
        """The private key of this id; None if it is destroyed, or was never here."""
        if not _ID.fullmatch(key_id):
            return None
        try:
            key = load_pem_private_key((self.directory / f"{key_id}.pem").read_bytes(), None)
        except (OSError, ValueError):
            return None
        return key if isinstance(key, ec.EllipticCurvePrivateKey) else None

    def authority(self) -> Ed25519PrivateKey:
        """The SSH authority. Raises SupportKeyError."""
        try:
            key = load_pem_private_key((self.directory / "ca.pem").read_bytes(), None)
        except (OSError, ValueError):
            key = None
        if not isinstance(key, Ed25519PrivateKey):
            raise SupportKeyError(
                "There is no SSH authority; `telemetry-server support keys make` creates it."
            )
        return key

    def make(self, weeks: int, networks: Sequence[str], now: datetime) -> list[PublicKey]:
        """Makes the missing keys of this week and the following ones, and the list to sign; returns the new.

        `networks`: those from which the support team signs in at customers.
        """
        durable.make_directory(self.directory)
        known = self.public_keys()
        if not (self.directory / "ca.pem").exists():
            self._write_private("ca", Ed25519PrivateKey.generate())
        monday = now.replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=now.weekday())
        begun = {each.use_from for each in known}
        starts = [monday + number * WEEK for number in range(weeks)]
        fresh = [self._make_one(start) for start in starts if start not in begun]
        self._write_list([each for each in known if now < each.kept_until] + fresh, networks, now)
        return fresh

    def _make_one(self, start: datetime) -> PublicKey:
        year, week, _ = start.isocalendar()
        key_id, key = f"{year}w{week:02}-{token_hex(4)}", ec.generate_private_key(ec.SECP256R1())
        self._write_private(key_id, key)
        until = start + WEEK
        return PublicKey(key_id, encoded(key.public_key()), start, until, until + LONGEST_GRANT + _MARGIN)

    def _write_private(self, name: str, key: ec.EllipticCurvePrivateKey | Ed25519PrivateKey) -> None:
        data = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        durable.write(self.directory / f"{name}.pem", data, replace=False)

    def _write_list(self, keys: Sequence[PublicKey], networks: Sequence[str], now: datetime) -> None:
        authority = self.authority().public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
        document = {
            "format": FORMAT,
            "made_at": _text(now),
            "keys": [each.described for each in keys],
            "ssh_ca": authority.decode(),
            "networks": list(networks),
        }
        durable.write(self.payload, json.dumps(document, separators=(",", ":")).encode())

    def destroy(self, key_id: str) -> None:
        """Destroys a private key; the list keeps the public one until it expires. Raises SupportKeyError."""
        path = self.directory / f"{key_id}.pem"
        if not _ID.fullmatch(key_id) or not path.exists():
            raise SupportKeyError(f"There is no key {key_id}; see `telemetry-server support keys list`.")
        durable.remove(path)

    def destroy_expired(self, now: datetime | None = None) -> list[str]:
        """Destroys each key to which no grant can be valid any more; returns their ids."""
        moment = now or datetime.now(UTC)
        kept = {each.id: each.kept_until for each in self.public_keys()}
        found = [path.stem for path in sorted(self.directory.glob("*.pem")) if _ID.fullmatch(path.stem)]
        expired = [key_id for key_id in found if kept.get(key_id, _longest(key_id)) <= moment]
        for key_id in expired:
            self.destroy(key_id)
        return expired


def _longest(key_id: str) -> datetime:
    """When a key that the list has no more is kept at the longest, by the week in its id."""
    week = datetime.strptime(f"{key_id[:7]}-1", "%Gw%V-%u").replace(tzinfo=UTC)
    return week + WEEK + LONGEST_GRANT + _MARGIN


# ── the offline root ─────────────────────────────────────────────────────────────────────────


def make_root(path: Path) -> str:
    """Makes the root key in a new file; returns its public half, which software pins.

    Raises FileExistsError.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    durable.write(path, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), replace=False)
    return encoded(key.public_key())


def sign_list(payload: str, root: Path) -> str:
    """The signed list: the payload in one line, and in the next its signature. Raises SupportKeyError."""
    try:
        key = load_pem_private_key(root.read_bytes(), None)
    except (OSError, ValueError) as error:
        raise SupportKeyError(f"{root} is no root key: {error}.") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise SupportKeyError(f"{root} is no root key.")
    line = payload.strip()
    if "\n" in line or json.loads(line).get("format") != FORMAT:
        raise SupportKeyError("This is no list of support keys; it is the file keys.json.")
    signature = urlsafe_b64encode(key.sign(_signed_text(line), ec.ECDSA(SHA256()))).decode().rstrip("=")
    return f"{line}\n{signature}\n"


def _signed_text(line: str) -> bytes:
    return f"{FORMAT}\n{line}".encode()


def encoded(key: ec.EllipticCurvePublicKey) -> str:
    """A public key as its uncompressed point, 65 bytes, in base64url without padding."""
    point = key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    return urlsafe_b64encode(point).decode().rstrip("=")


def _parsed(each: dict[str, Any]) -> PublicKey:
    times = (datetime.fromisoformat(each[name]) for name in ("use_from", "use_until", "kept_until"))
    return PublicKey(each["id"], each["public_key"], *times)


def _text(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
