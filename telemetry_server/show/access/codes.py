"""Codes of authenticator apps (TOTP, RFC 6238), and the image to set one up."""

import base64
from datetime import datetime
from uuid import UUID

import pyotp
import segno
from aiohttp import web

from telemetry_server import app_keys
from telemetry_server.store.access import factors
from telemetry_server.store.access.people import Account

ISSUER = "License telemetry"
_STEP_SECONDS = 30
_DRIFT_STEPS = 1


def step_of(secret: bytes, code: str, now: datetime) -> int | None:
    """The time step whose code this is: the present one, or one next to it; None: no such step."""
    totp = _totp(secret)
    bare = "".join(filter(str.isdigit, code))
    present = int(now.timestamp()) // _STEP_SECONDS
    for step in range(present - _DRIFT_STEPS, present + _DRIFT_STEPS + 1):
        if pyotp.utils.strings_equal(totp.at(step * _STEP_SECONDS), bare):
            return step
    return None


async def accepts(request: web.Request, account: Account, code: str, now: datetime) -> str | None:
    """How the code is right: totp or recovery_code; None if it is wrong or was used. Uses it up."""
    pool = request.app[app_keys.POOL]
    if account.totp_salt is not None:
        step = step_of(secret_of(request, account.person_id, account.totp_salt), code, now)
        if step is not None:
            return "totp" if await factors.use_step(pool, account.person_id, step) else None
    if await factors.use_recovery_code(pool, account.person_id, code, now):
        return "recovery_code"
    return None


def secret_of(request: web.Request, person_id: UUID, salt: bytes) -> bytes:
    return request.app[app_keys.KEYRING].totp_secret(person_id, salt)


def in_base32(secret: bytes) -> str:
    """The secret as a person types it into an app."""
    return base64.b32encode(secret).decode()


def qr_code(secret: bytes, email: str) -> str:
    """The image for the app's camera as an SVG data URI, which the Content-Security-Policy allows."""
    uri = _totp(secret).provisioning_uri(name=email, issuer_name=ISSUER)
    return segno.make(uri, error="m").svg_data_uri(scale=5, border=4, dark="#000", light="#fff")


def _totp(secret: bytes) -> pyotp.TOTP:
    return pyotp.TOTP(in_base32(secret), interval=_STEP_SECONDS)
