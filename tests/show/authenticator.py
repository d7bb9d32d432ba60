"""An authenticator in software: what a browser would send for one, and what an attacker would."""

import base64
import json
import os
from hashlib import sha256

import cbor2
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256

UP, UV, BACKED_UP, ATTESTED = 0x01, 0x04, 0x18, 0x40


def encoded(data):
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


class Authenticator:
    """One passkey; the attributes can be set to something else than a browser would send."""

    def __init__(self, origin):
        self.origin, self.rp_id = origin, origin.partition("//")[2].partition(":")[0]
        self.key, self.id = ec.generate_private_key(ec.SECP256R1()), os.urandom(16)
        self.count, self.flags = 0, UP | UV | BACKED_UP

    def register(self, options):
        """The answer to navigator.credentials.create(), as JSON."""
        point = self.key.public_key().public_numbers()
        key = {1: 2, 3: -7, -1: 1, -2: point.x.to_bytes(32, "big"), -3: point.y.to_bytes(32, "big")}
        attested = bytes(16) + len(self.id).to_bytes(2, "big") + self.id + cbor2.dumps(key)
        made = {"fmt": "none", "attStmt": {}, "authData": self._data(self.flags | ATTESTED) + attested}
        data = self._client_data("webauthn.create", options)
        return self._credential(clientDataJSON=data, attestationObject=cbor2.dumps(made))

    def answer(self, options, user=None):
        """The answer to navigator.credentials.get(), as JSON."""
        self.count += 1
        authenticator, data = self._data(self.flags), self._client_data("webauthn.get", options)
        signature = self.key.sign(authenticator + sha256(data).digest(), ec.ECDSA(SHA256()))
        return self._credential(
            clientDataJSON=data, authenticatorData=authenticator, signature=signature, userHandle=user or b"x"
        )

    def _data(self, flags):
        return sha256(self.rp_id.encode()).digest() + bytes([flags]) + self.count.to_bytes(4, "big")

    def _client_data(self, kind, options):
        data = {"type": kind, "challenge": options["challenge"], "origin": self.origin, "crossOrigin": False}
        return json.dumps(data).encode()

    def _credential(self, **response):
        return json.dumps(
            {
                "id": encoded(self.id),
                "rawId": encoded(self.id),
                "type": "public-key",
                "response": {name: encoded(value) for name, value in response.items()},
                "clientExtensionResults": {},
            }
        )
