"""Certificates with which an engineer signs in at a customer's server: for one case, for hours."""

import re
from datetime import datetime, timedelta
from secrets import randbits

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import (
    SSHCertificateBuilder,
    SSHCertificateType,
    load_ssh_public_key,
)

from telemetry_server.errors import BadRequest

VALID = timedelta(hours=4)
_EARLIER = timedelta(minutes=5)  # for a clock of the customer's server that is late
_SERIAL_BITS = 63


class WrongPublicKey(BadRequest):
    """This is no public key of OpenSSH; send the line of a file like ~/.ssh/id_ed25519.pub."""

    code = "wrong_public_key"


def principal_of(case_id: str) -> str:
    """The principal of a case, which the customer's authorized_keys names."""
    return f"case-{case_id}"


def checked(public_key: str) -> Ed25519PublicKey | EllipticCurvePublicKey | RSAPublicKey:
    """The public key in a line of OpenSSH. Raises WrongPublicKey."""
    try:
        key = load_ssh_public_key(public_key.strip().encode())
    except (ValueError, UnsupportedAlgorithm):
        raise WrongPublicKey from None
    if isinstance(key, Ed25519PublicKey | EllipticCurvePublicKey | RSAPublicKey):
        return key
    raise WrongPublicKey


def certificate(
    authority: Ed25519PrivateKey,
    public_key: str,
    *,
    case_id: str,
    grant: str,
    engineer: str,
    now: datetime,
    not_after: datetime,
) -> str:
    """The certificate of a public key, as one line. It is valid for four hours, never beyond `not_after`.

    sshd logs its key id: case, engineer and grant. Raises WrongPublicKey.
    """
    who = re.sub(r"[^\w.@+:-]", "_", engineer, flags=re.ASCII)[:64]
    builder = (
        SSHCertificateBuilder()
        .public_key(checked(public_key))
        .serial(randbits(_SERIAL_BITS))
        .type(SSHCertificateType.USER)
        .key_id(f"{principal_of(case_id)} engineer={who} grant={grant}".encode())
        .valid_principals([principal_of(case_id).encode()])
        .valid_after(int((now - _EARLIER).timestamp()))
        .valid_before(int(min(now + VALID, not_after).timestamp()))
        .add_extension(b"permit-pty", b"")
    )
    return builder.sign(authority).public_bytes().decode()
