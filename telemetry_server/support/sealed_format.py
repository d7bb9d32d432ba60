"""Opens sealed support access: RFC 9180, base mode, single shot, with everything bound by `info`.

    envelope = suite (2 bytes) ‖ enc (65 bytes) ‖ ciphertext ‖ tag (16 bytes)
    info     = format, product, installation, case, key id, not-after, notice; each after its length (2 bytes)

Suite 1 is DHKEM(P-256, HKDF-SHA256), HKDF-SHA256, AES-256-GCM. docs/support.md describes it for producers;
tests/wire/grants.json has its vectors.
"""

from dataclasses import astuple, dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

FORMAT = "license-telemetry/grant/v1"
OVERHEAD = 2 + 65 + 16
"""The bytes of an envelope beside the plaintext's."""

_SUITES = {1: Suite(KEM.P256, KDF.HKDF_SHA256, AEAD.AES_256_GCM)}


class NotOpened(ValueError):
    """The envelope was not sealed to this key, or for another case, installation or expiry."""


@dataclass(frozen=True, slots=True)
class Bound:
    """What a seal is bound to, as texts. `installation`: its UUID, or empty for a grant from a browser."""

    product: str
    installation: str
    case: str
    key_id: str
    not_after: str
    notice: str

    @property
    def info(self) -> bytes:
        """The `info` of RFC 9180. Raises OverflowError for a text of 64 KiB or more."""
        fields = [text.encode() for text in (FORMAT, *astuple(self))]
        return b"".join(len(field).to_bytes(2, "big") + field for field in fields)


def open_sealed(sealed: bytes, key: EllipticCurvePrivateKey, bound: Bound) -> bytes:
    """The plaintext of an envelope. Raises NotOpened."""
    suite = _SUITES.get(int.from_bytes(sealed[:2], "big"))
    if suite is None or len(sealed) < OVERHEAD:
        raise NotOpened("It is no envelope of a known suite.")
    try:
        return suite.decrypt(sealed[2:], key, info=bound.info)
    except (InvalidTag, ValueError):
        raise NotOpened from None
