"""Passkeys by WebAuthn: options for browsers, and the check of their answers. Needs the extra "passkeys".

The RP id is the host of the public URL, and the origin is that URL: passkeys work at this address only.
"""

import re
from collections.abc import Sequence
from datetime import datetime
from importlib.util import find_spec
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import orjson
from aiohttp import web

from telemetry_server import app_keys
from telemetry_server.errors import BadRequest, NotFound
from telemetry_server.settings import Settings
from telemetry_server.show.access.refusals import SignInRefused, Why
from telemetry_server.store.access.credentials import SignedIn
from telemetry_server.store.access.passkeys import LONGEST_NAME, Passkey

RP_NAME = "License telemetry"
INSTALL = 'pip install "license-telemetry-server[passkeys]"'
_MILLISECONDS = 5 * 60 * 1_000
_LARGEST_ANSWER = 7_168


def host_for_passkeys(settings: Settings) -> str | None:
    """The RP id; None where browsers have none: without HTTPS, except on localhost, or at an IP address."""
    url = urlsplit(settings.base_url)
    host = url.hostname or ""
    is_address = ":" in host or re.fullmatch(r"[0-9.]+", host) is not None
    return host if not is_address and (url.scheme == "https" or host == "localhost") else None


def passkeys_are_possible(request: web.Request) -> bool:
    """Whether to offer them: the extra is installed, and the address is one that browsers take."""
    settings = request.app[app_keys.SETTINGS]
    return host_for_passkeys(settings) is not None and find_spec("webauthn") is not None


def demand_passkeys(settings: Settings) -> str:
    """The RP id. Raises NotFound, which says what is missing."""
    host = host_for_passkeys(settings)
    if host is None:
        raise NotFound("Passkeys need TELEMETRY_PUBLIC_URL with https:// and the name of a host.")
    if find_spec("webauthn") is None:
        raise NotFound(f"Passkeys need the package webauthn. Run: {INSTALL}")
    return host


def name_of(text: str) -> str:
    """The name of a passkey. Raises BadRequest."""
    name = text.strip()
    if not 0 < len(name) <= LONGEST_NAME or not name.isprintable():
        raise BadRequest(f"Give the passkey a name of at most {LONGEST_NAME} characters.")
    return name


def options_to_register(
    settings: Settings, person: SignedIn, known: Sequence[Passkey], challenge: str
) -> str:
    """The options for navigator.credentials.create(), as JSON. Raises NotFound."""
    host = demand_passkeys(settings)
    import webauthn  # noqa: PLC0415  an extra
    from webauthn.helpers import structs  # noqa: PLC0415

    options = webauthn.generate_registration_options(
        rp_id=host,
        rp_name=RP_NAME,
        user_id=person.person_id.bytes,
        user_name=person.email,
        user_display_name=person.name or person.email,
        challenge=challenge.encode(),
        timeout=_MILLISECONDS,
        authenticator_selection=structs.AuthenticatorSelectionCriteria(
            resident_key=structs.ResidentKeyRequirement.PREFERRED,
            user_verification=structs.UserVerificationRequirement.PREFERRED,
        ),
        exclude_credentials=[structs.PublicKeyCredentialDescriptor(id=key.credential_id) for key in known],
    )
    return webauthn.options_to_json(options)


def registered(
    settings: Settings, credential: str, challenge: str, *, person_id: UUID, name: str, now: datetime
) -> Passkey:
    """The new passkey in the answer of an authenticator. Raises SignInRefused."""
    host, answer = demand_passkeys(settings), _parsed(credential)
    import webauthn  # noqa: PLC0415  an extra

    try:
        made = webauthn.verify_registration_response(
            credential=answer,
            expected_challenge=challenge.encode(),
            expected_rp_id=host,
            expected_origin=settings.base_url,
        )
    except _problems() as error:
        raise SignInRefused(Why.WRONG_CREDENTIAL, _plain(error)) from None
    return Passkey(
        made.credential_id,
        person_id,
        made.credential_public_key,
        made.sign_count,
        name,
        made.credential_backed_up,
        now,
        None,
    )


def options_to_sign_in(settings: Settings, known: Sequence[Passkey], challenge: str, *, alone: bool) -> str:
    """The options for navigator.credentials.get(), as JSON; `alone`: with the user verified.

    Raises NotFound.
    """
    host = demand_passkeys(settings)
    import webauthn  # noqa: PLC0415  an extra
    from webauthn.helpers import structs  # noqa: PLC0415

    verification = structs.UserVerificationRequirement
    options = webauthn.generate_authentication_options(
        rp_id=host,
        challenge=challenge.encode(),
        timeout=_MILLISECONDS,
        allow_credentials=[structs.PublicKeyCredentialDescriptor(id=key.credential_id) for key in known],
        user_verification=verification.REQUIRED if alone else verification.PREFERRED,
    )
    return webauthn.options_to_json(options)


def challenge_in(credential: str) -> str:
    """The challenge that the browser says it answered: a state to look up, not yet checked.

    Raises SignInRefused.
    """
    from webauthn.helpers import base64url_to_bytes  # noqa: PLC0415  an extra

    try:
        data = orjson.loads(base64url_to_bytes(_parsed(credential)["response"]["clientDataJSON"]))
        return bytes(base64url_to_bytes(data["challenge"])).decode("ascii")
    except (ValueError, TypeError, KeyError):
        raise SignInRefused(Why.WRONG_CREDENTIAL, "client data") from None


def credential_id_in(credential: str) -> bytes:
    """The id of the passkey. Raises SignInRefused."""
    from webauthn.helpers import base64url_to_bytes  # noqa: PLC0415  an extra

    try:
        return bytes(base64url_to_bytes(_parsed(credential)["id"]))
    except (ValueError, TypeError, KeyError):
        raise SignInRefused(Why.WRONG_CREDENTIAL, "id") from None


def new_sign_count(
    settings: Settings, credential: str, challenge: str, passkey: Passkey, *, alone: bool
) -> int:
    """The counter in a right answer of this passkey. Raises SignInRefused."""
    host, answer = demand_passkeys(settings), _parsed(credential)
    import webauthn  # noqa: PLC0415  an extra

    try:
        checked = webauthn.verify_authentication_response(
            credential=answer,
            expected_challenge=challenge.encode(),
            expected_rp_id=host,
            expected_origin=settings.base_url,
            credential_public_key=passkey.public_key,
            credential_current_sign_count=0,
            require_user_verification=alone,
        )
    except _problems() as error:
        raise SignInRefused(Why.WRONG_CREDENTIAL, _plain(error)) from None
    if (checked.new_sign_count or passkey.sign_count) and checked.new_sign_count <= passkey.sign_count:
        raise SignInRefused(Why.SIGN_COUNT, f"{checked.new_sign_count} after {passkey.sign_count}")
    return checked.new_sign_count


def _parsed(credential: str) -> dict[str, Any]:
    """Raises SignInRefused."""
    try:
        answer = orjson.loads(credential[:_LARGEST_ANSWER])
    except ValueError:
        raise SignInRefused(Why.WRONG_CREDENTIAL, "not JSON") from None
    if not isinstance(answer, dict) or not isinstance(answer.get("response"), dict):
        raise SignInRefused(Why.WRONG_CREDENTIAL, "no credential")
    return answer


def _problems() -> tuple[type[Exception], ...]:
    """What webauthn raises for answers that are wrong in some way."""
    from webauthn.helpers import exceptions  # noqa: PLC0415  an extra

    found = [each for each in vars(exceptions).values() if isinstance(each, type)]
    return (*(each for each in found if issubclass(each, Exception)), ValueError, TypeError, KeyError)


def _plain(error: Exception) -> str:
    text = str(error)
    return text[:120] if text.isprintable() else type(error).__name__
