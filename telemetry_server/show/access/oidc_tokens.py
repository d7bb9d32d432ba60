"""The check of an ID token, by joserfc. Needs the extra "oidc".

The token chooses nothing: the algorithm is one of a list without "none" and without shared secrets, the key
is one of the provider's published set. A token that brings a key, or the address of one, is refused.
"""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson
from joserfc import jws, jwt
from joserfc.errors import BadSignatureError, JoseError
from joserfc.jwk import ECKey, KeySet, OKPKey, RSAKey

from telemetry_server.show.access.oidc_claims import is_time
from telemetry_server.show.access.refusals import SignInRefused, Why
from telemetry_server.store.access.identities import LONGEST_SUBJECT

Claims = dict[str, Any]
Key = RSAKey | ECKey | OKPKey

ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
LEEWAY_SECONDS = 60

_KEY_HEADERS = ("jwk", "jku", "x5c", "x5u", "crit")
_LEAST_RSA_BITS = 2_048
_LARGEST_PAYLOAD = 65_536
_LARGEST_HEADER = 4_096


@dataclass(frozen=True, slots=True)
class Expected:
    """What the token has to say."""

    issuer: str
    client_id: str
    nonce: str


def usable_keys(document: Mapping[str, Any]) -> list[Key]:
    """The keys of a JWK set that verify signatures; others, and those that are too weak, are left out."""
    found: list[Key] = []
    entries = document.get("keys")
    for entry in entries if isinstance(entries, list) else ():
        if not isinstance(entry, dict) or entry.get("kty") not in {"RSA", "EC", "OKP"}:
            continue
        if entry.get("use", "sig") != "sig":
            continue
        try:
            [key] = KeySet.import_key_set({"keys": [entry]}).keys
        except (JoseError, ValueError, TypeError, KeyError):  # a key of a kind to come
            continue
        if isinstance(key, RSAKey) and key.public_key.key_size < _LEAST_RSA_BITS:
            continue
        if isinstance(key, Key):
            found.append(key)
    return found


def check(text: str, keys: Sequence[Key], expected: Expected, now: datetime) -> Claims:
    """The claims of an ID token. Raises SignInRefused; with UNKNOWN_KEY, newer keys may help."""
    header = _header(text)
    if forbidden := [name for name in _KEY_HEADERS if name in header]:
        raise SignInRefused(Why.FORBIDDEN_HEADER, ", ".join(forbidden))
    if header.get("alg") not in ALGORITHMS:
        raise SignInRefused(Why.ALGORITHM, str(header.get("alg"))[:40])
    key = _key_for(header, keys)
    registry = jws.JWSRegistry(algorithms=[header["alg"]], strict_check_header=False)
    registry.max_payload_length, registry.max_header_length = _LARGEST_PAYLOAD, _LARGEST_HEADER
    try:
        token = jwt.decode(text, key, registry=registry)
    except BadSignatureError:
        raise SignInRefused(Why.SIGNATURE) from None
    except (JoseError, ValueError, TypeError) as error:
        raise SignInRefused(Why.MALFORMED, type(error).__name__) from None
    if not isinstance(token.claims, dict):
        raise SignInRefused(Why.MALFORMED, "claims")
    _check_claims(token.claims, expected, now)
    return token.claims


def _header(text: str) -> dict[str, Any]:
    """The header as it was sent: nothing of it is believed yet."""
    encoded = text.partition(".")[0]
    try:
        header = orjson.loads(base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)))
    except ValueError:
        raise SignInRefused(Why.MALFORMED, "header") from None
    if not isinstance(header, dict):
        raise SignInRefused(Why.MALFORMED, "header")
    return header


def _key_for(header: Mapping[str, Any], keys: Sequence[Key]) -> Key:
    """The key that the header names, of those published; without a name, the only one there is."""
    kinds = {"R": "RSA", "P": "RSA", "E": "EC"}
    wanted = "OKP" if header["alg"] == "EdDSA" else kinds[header["alg"][0]]
    fits = [key for key in keys if key.key_type == wanted and key.get("alg") in {None, header["alg"]}]
    if "kid" in header:
        fits = [key for key in fits if key.get("kid") == header["kid"]]
    if len(fits) != 1:
        raise SignInRefused(Why.UNKNOWN_KEY, str(header.get("kid"))[:80])
    return fits[0]


def _check_claims(claims: Claims, expected: Expected, now: datetime) -> None:
    audience = claims.get("aud")
    several = audience if isinstance(audience, list) else [audience]
    if not all(isinstance(each, str) for each in several):
        raise SignInRefused(Why.AUDIENCE)
    for name, why in (("iss", Why.ISSUER), ("nonce", Why.NONCE), ("sub", Why.SUBJECT)):
        if not isinstance(claims.get(name), str):  # a list would pass if the right value is in it
            raise SignInRefused(why)
    for name, why in (("exp", Why.EXPIRED), ("iat", Why.NOT_YET_VALID), ("nbf", Why.NOT_YET_VALID)):
        if name in claims and not is_time(claims[name]):
            raise SignInRefused(why)
    _hold(claims, now, Why.ISSUER, "iss", {"essential": True, "value": expected.issuer})
    _hold(claims, now, Why.AUDIENCE, "aud", {"essential": True, "value": expected.client_id})
    if (len(several) > 1 or "azp" in claims) and claims.get("azp") != expected.client_id:
        raise SignInRefused(Why.AUTHORIZED_PARTY)
    _hold(claims, now, Why.NONCE, "nonce", {"essential": True, "value": expected.nonce})
    _hold(claims, now, Why.EXPIRED, "exp", {"essential": True})
    _hold(claims, now, Why.NOT_YET_VALID, "iat", {"essential": True})
    if "nbf" in claims:
        _hold(claims, now, Why.NOT_YET_VALID, "nbf", {"essential": True})
    if not 0 < len(claims["sub"]) <= LONGEST_SUBJECT or not claims["sub"].isprintable():
        raise SignInRefused(Why.SUBJECT)


def _hold(claims: Claims, now: datetime, why: Why, name: str, option: Any) -> None:
    registry = jwt.JWTClaimsRegistry(int(now.timestamp()), LEEWAY_SECONDS, **{name: option})
    try:
        registry.validate({name: claims.get(name)})
    except JoseError:
        raise SignInRefused(why) from None
