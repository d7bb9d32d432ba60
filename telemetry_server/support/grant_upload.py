"""The requests with which an installation grants and revokes support access. PROTOCOL: Support access."""

import re
from base64 import urlsafe_b64decode
from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal, TypeVar
from uuid import UUID

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from telemetry_server.errors import FieldProblem, Gone, Malformed, TooManyRequests, Unprocessable
from telemetry_server.model import Moment
from telemetry_server.store.database import Connection
from telemetry_server.support import store
from telemetry_server.support.opening import TIME
from telemetry_server.support.sealed_format import OVERHEAD
from telemetry_server.support.support_keys import LONGEST_GRANT
from telemetry_server.text import hidden_in

LARGEST = 64 * 1024
MOST_RECENT = 50
_SLACK = timedelta(hours=1)  # for the clock of the installation
_DAY_SECONDS = 86_400
_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z")

Body = TypeVar("Body", bound=Struct)
CaseId = Annotated[str, Meta(pattern="^[a-z0-9][a-z0-9-]{0,62}$")]


class GrantUpload(Struct):
    """A grant; `sealed` is the envelope in base64url, and all else but `ssh` is bound by its seal."""

    grant_id: UUID
    case: CaseId
    key: Annotated[str, Meta(pattern="^[0-9]{4}w[0-9]{2}-[0-9a-f]{8}$")]
    not_after: Annotated[str, Meta(description="In UTC, to the second: 2026-12-06T12:00:00Z.")]
    sealed: Annotated[str, Meta(pattern="^[A-Za-z0-9_-]+$", max_length=LARGEST)]
    notice: Annotated[str, Meta(max_length=64)] = ""
    ssh: Literal["certificate", "key", "password"] | UnsetType | None = UNSET


class RevokedGrant(Struct):
    """The grant to end."""

    grant_id: UUID


class GrantAnswer(Struct):
    """The answer to both; it has a receipt."""

    grant_id: UUID
    server_time: Moment


def read_grant(body: bytes, now: datetime) -> store.NewGrant:
    """The grant in a body. Raises Malformed or Unprocessable."""
    upload = _decoded(body, GrantUpload)
    not_after = _moment(upload.not_after)
    if not now < not_after <= now + LONGEST_GRANT + _SLACK:
        days = LONGEST_GRANT.days
        problem = FieldProblem("/not_after", f"must be in the future, and at most {days} days off")
        raise Unprocessable(problems=[problem])
    if hidden_in(upload.notice):
        raise Unprocessable(problems=[FieldProblem("/notice", "has invisible characters")])
    sealed = _envelope(upload.sealed)
    return store.NewGrant(
        upload.grant_id, upload.case, upload.key, upload.notice, upload.ssh or None, not_after, sealed
    )


def read_revoked(body: bytes) -> UUID:
    """The id of the grant to end. Raises Malformed or Unprocessable."""
    return _decoded(body, RevokedGrant).grant_id


async def keep(
    connection: Connection, installation_id: UUID, product_id: UUID, grant: store.NewGrant, now: datetime
) -> None:
    """Stores the grant.

    Raises Gone for an installation that was erased, and TooManyRequests where too many came before.
    """
    if await store.is_erased(connection, installation_id):
        raise Gone
    if await store.recent_of(connection, installation_id, grant, now - LONGEST_GRANT) >= MOST_RECENT:
        days = LONGEST_GRANT.days
        raise TooManyRequests(
            f"{MOST_RECENT} grants came within {days} days; no more are taken.", retry_after=_DAY_SECONDS
        )
    await store.keep_grant(connection, installation_id, product_id, grant, now)


def _decoded(body: bytes, kind: type[Body]) -> Body:
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.ValidationError as error:
        raise Unprocessable(str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Malformed(f"The body is not valid JSON in UTF-8: {error}") from None


def _envelope(text: str) -> bytes:
    try:
        sealed = urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except ValueError:
        sealed = b""
    if len(sealed) <= OVERHEAD:
        raise Unprocessable(problems=[FieldProblem("/sealed", "is no envelope")])
    return sealed


def _moment(text: str) -> datetime:
    try:
        if _TIME.fullmatch(text):
            return datetime.strptime(text, TIME).replace(tzinfo=UTC)
    except ValueError:
        pass
    raise Unprocessable(problems=[FieldProblem("/not_after", "must be a time like 2026-12-06T12:00:00Z")])
