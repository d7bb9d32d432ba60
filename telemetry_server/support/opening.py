"""Opening the grants of a case: conditions, audit entry, and only then the plaintext.

An opening needs an open case, a reason, and with `two_persons` the approval of somebody else. Its audit entry
is committed before anything is decrypted. The plaintext is returned once and kept nowhere; it must not be
logged, stored or cached by whoever gets it.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from telemetry_server.errors import BadRequest, Forbidden, NotFound
from telemetry_server.store.access import audit
from telemetry_server.store.database import Connection
from telemetry_server.support import ssh_certificate, store
from telemetry_server.support.sealed_format import Bound, NotOpened, open_sealed
from telemetry_server.support.support_keys import SupportKeys
from telemetry_server.text import hidden_in

TIME = "%Y-%m-%dT%H:%M:%SZ"
LONGEST_REASON, LONGEST_TITLE = 1_000, 300
_MOST_NESTED = 100  # brackets; a parser and a printer of JSON have a limit to their depth


class NoSuchCase(NotFound):
    """There is no case of this name."""

    code = "no_such_case"


class CaseClosed(Forbidden):
    """This case is closed, so its grants stay sealed."""

    code = "case_closed"


class ApprovalNeeded(Forbidden):
    """A second person has to approve this opening within an hour; the request is on the page of the case."""

    code = "approval_needed"


@dataclass(frozen=True, slots=True)
class Opened:
    """A grant with what was sealed, which is not in its `repr`; or with the `problem`.

    `certificate` is for the engineer's public key, where the grant is for sign-in by certificate.
    """

    grant: store.Grant
    content: Mapping[str, Any] | None = field(default=None, repr=False)
    certificate: str | None = None
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class Opener:
    """Who opens, and why. `network`: from where; `public_key`: the engineer's, for certificates."""

    actor: str
    reason: str
    network: str | None = None
    public_key: str | None = None


async def open_case(
    connection: Connection, keys: SupportKeys, case_id: str, by: Opener, now: datetime
) -> list[Opened]:
    """Opens the valid grants of a case, after the audit entry is committed. The newest comes first.

    Raises NoSuchCase, CaseClosed, BadRequest without a reason, WrongPublicKey, and ApprovalNeeded, which asks
    for the approval. Must not be called in a transaction.
    """
    assert not connection.is_in_transaction(), "the entry would be committed after the plaintext has left"
    case = await _open_one(connection, case_id)
    reason = checked_reason(by.reason)
    if by.public_key:
        ssh_certificate.checked(by.public_key)
    found = [each for each in await store.grants_of(connection, case_id, now) if each.is_valid(now)]
    async with connection.transaction():
        second = None
        if case.two_persons:
            second = await store.use_approval(connection, case_id, by=by.actor, now=now)
        if not case.two_persons or second is not None:
            await audit.record(connection, _entry(case_id, by, reason, found, second), now)
    if case.two_persons and second is None:
        await store.ask_approval(connection, case_id, by=by.actor, reason=reason, now=now)
        raise ApprovalNeeded
    return [_opened(keys, grant, by, now) for grant in found]


async def _open_one(connection: Connection, case_id: str) -> store.Case:
    case = await store.find_case(connection, case_id)
    if case is None:
        raise NoSuchCase
    if case.closed_at is not None:
        raise CaseClosed
    return case


def checked_reason(text: str) -> str:
    """The reason without surrounding space. Raises BadRequest."""
    reason = text.strip()
    if not 1 <= len(reason) <= LONGEST_REASON or hidden_in(reason):
        raise BadRequest(f"A reason has 1 to {LONGEST_REASON} characters, no invisible ones.")
    return reason


def checked_title(text: str) -> str:
    """The title of a case without surrounding space; may be empty. Raises BadRequest."""
    title = text.strip()
    if len(title) > LONGEST_TITLE or hidden_in(title):
        raise BadRequest(f"A title has at most {LONGEST_TITLE} characters, no invisible ones.")
    return title


def _entry(
    case_id: str, by: Opener, reason: str, found: list[store.Grant], second: str | None
) -> audit.Entry:
    return audit.Entry(
        actor=by.actor,
        action="support_case.open",
        subject_kind="support_case",
        subject_id=case_id,
        network=by.network,
        reason=reason,
        details={"grants": [str(each.grant_id) for each in found], "approved_by": second},
    )


def _opened(keys: SupportKeys, grant: store.Grant, by: Opener, now: datetime) -> Opened:
    key = keys.private_key(grant.key_id)
    if key is None:
        return Opened(grant, problem=f"Its key {grant.key_id} is destroyed.")
    assert grant.sealed is not None
    try:
        plaintext = open_sealed(grant.sealed, key, bound_of(grant))
    except NotOpened as error:
        return Opened(grant, problem=f"It cannot be opened. {error}")
    signed = None
    if grant.ssh == "certificate" and by.public_key:
        signed = ssh_certificate.certificate(
            keys.authority(),
            by.public_key,
            case_id=grant.case_id,
            grant=str(grant.grant_id),
            engineer=by.actor,
            now=now,
            not_after=grant.not_after,
        )
    return Opened(grant, _read(plaintext), signed)


def bound_of(grant: store.Grant) -> Bound:
    """What the seal of a grant is bound to."""
    installation = "" if grant.installation_id == store.NO_INSTALLATION else str(grant.installation_id)
    until = grant.not_after.strftime(TIME)
    return Bound(grant.product, installation, grant.case_id, grant.key_id, until, grant.notice)


def _read(plaintext: bytes) -> Mapping[str, Any]:
    """The content of a grant, a JSON object; what is none, or too nested for a person, is shown as a text."""
    try:
        is_nested = plaintext.count(b"[") + plaintext.count(b"{") > _MOST_NESTED
        content = None if is_nested else json.loads(plaintext)
    except ValueError:
        content = None
    return content if isinstance(content, dict) else {"text": plaintext.decode("utf-8", "replace")}


def flattened(value: Any, name: str = "") -> list[tuple[str, object]]:
    """The content as lines of a name and a value, for a person."""
    parts: Iterable[tuple[Any, Any]]
    match value:
        case dict():
            parts = value.items()
        case list():
            parts = enumerate(value, 1)
        case None | "":
            return []
        case _:
            return [(name.replace("_", " "), value)]
    return [line for inner, each in parts for line in flattened(each, f"{name} {inner}".strip())]
