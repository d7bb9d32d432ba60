"""The witness of other servers' audit logs, as c2sp.org/tlog-witness describes it."""

from contextlib import suppress
from datetime import UTC, datetime

from aiohttp import web

from telemetry_server import app_keys
from telemetry_server.errors import BadRequest, Forbidden, Malformed, NotFound, TooLarge, TooManyRequests
from telemetry_server.logs import Severity, log
from telemetry_server.permissions import Permission
from telemetry_server.receive.body import read_body
from telemetry_server.routing import Route
from telemetry_server.show.recorded_views import record
from telemetry_server.signed_note import NoteVerifier
from telemetry_server.store.access.audit_witness import (
    AnotherSize,
    Inconsistent,
    Submission,
    cosigner_of,
    keep,
)
from telemetry_server.store.access.throttle import OF_WITNESS, Bucket, admit

LARGEST = 16 * 1024
_SIZE = "text/x.tlog.size"


async def add_checkpoint(request: web.Request) -> web.Response:
    """The cosignature of a checkpoint that is kept; what contradicts the one before is in the audit log."""
    body, app = await read_body(request), request.app
    if len(body) > LARGEST:
        raise TooLarge(f"A checkpoint with its proof may take {LARGEST} bytes.")
    try:
        submitted = Submission.parsed(body.decode())
    except UnicodeDecodeError:
        raise Malformed("The body is not UTF-8.") from None
    known = [NoteVerifier.of_key(key) for key in app[app_keys.SETTINGS].audit_witness_of]
    cosigner, pool = cosigner_of(app[app_keys.KEYRING]), app[app_keys.POOL]
    try:
        return web.Response(text=await keep(pool, submitted, known, cosigner, datetime.now(UTC)))
    except AnotherSize as other:
        return web.Response(status=other.status, text=f"{other.size}\n", headers={"Content-Type": _SIZE})
    except Inconsistent:
        origin = submitted.note.partition("\n")[0]
        log("audit log of another server was rewritten", Severity.ERROR, origin=origin)
        with suppress(TooManyRequests):  # it comes again and again
            await admit(pool, [Bucket(OF_WITNESS, origin)], datetime.now(UTC))
            await record(pool, request, "witness.refuse", origin, old=submitted.old, note=submitted.note)
        raise


ROUTES = (
    Route(
        "POST",
        "/api/v1/witness/add-checkpoint",
        add_checkpoint,
        "Keep a checkpoint of another server's audit log",
        permission=Permission.WITNESS,
        body="text/plain",
        answers={200: "text/plain", 409: _SIZE},
        errors=(BadRequest, Forbidden, Malformed, NotFound, TooLarge, Inconsistent),
    ),
)
