"""The versions of the privacy notice. They are never changed: pings name the one in force then."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256

from telemetry_server.errors import NotFound, OperatorError
from telemetry_server.model import Author
from telemetry_server.store.access import audit
from telemetry_server.store.database import Connection, Pool
from telemetry_server.store.queries import load
from telemetry_server.text import written_out

SQL = load(__name__)

LONGEST_TEXT = 200_000
VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
LANGUAGE = re.compile(r"[a-z]{2,3}(-[A-Za-z0-9]{2,8}){0,3}")


class WrongNotice(OperatorError):
    """The version of the notice cannot be added."""

    status, code = 422, "wrong_notice"


class NoSuchNotice(NotFound):
    """There is no such version of the notice."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NoticeVersion:
    """A version of the notice in one language; `text` is None in a list."""

    version: str
    language: str
    sha256: bytes
    valid_from: datetime
    added_at: datetime
    added_by: str
    characters: int
    text: str | None = None


async def add_notice(
    connection: Connection,
    version: str,
    text: str,
    *,
    language: str,
    valid_from: datetime | None,
    by: Author,
    now: datetime,
) -> NoticeVersion:
    """A new version, or one more language of a version; `valid_from` is now by default. Raises WrongNotice.

    Line ends become those of Unix. A repetition of what is there changes nothing.
    """
    text = "\n".join(text.removeprefix("\ufeff").splitlines()).strip() + "\n"
    _check(version, language, text)
    digest = sha256(text.encode()).digest()
    async with connection.transaction():
        starts = await connection.fetchval(SQL["starts"], version)
        valid_from = valid_from or starts or now
        if starts not in {None, valid_from}:
            raise WrongNotice(
                f"Version {version} is valid from {starts:%Y-%m-%d %H:%M} UTC in all its languages."
            )
        who = by.recorded_as or by.actor
        row = version, language, text, digest, valid_from, now, who
        if await connection.fetchval(SQL["add_notice"], *row) is not None:
            await audit.record(connection, _entry(version, language, digest, valid_from, by), now)
        found = await notice(connection, version, language)
    if found.sha256 != digest:
        raise WrongNotice(f"Version {version} has another text in {language!r}; a text is never changed.")
    return found


async def notices(database: Connection | Pool) -> list[NoticeVersion]:
    """All versions in all languages, the newest first."""
    return [NoticeVersion(**row) for row in await database.fetch(SQL["versions"])]


async def notice(database: Connection | Pool, version: str, language: str | None = None) -> NoticeVersion:
    """A version, in another language where it has none in this one. Raises NoSuchNotice."""
    row = await database.fetchrow(SQL["one"], version, language)
    if row is None:
        raise NoSuchNotice
    return NoticeVersion(**row)


def in_force(found: Sequence[NoticeVersion], now: datetime) -> NoticeVersion | None:
    """The version in force of a list of the newest first; None before the first one."""
    return next((each for each in found if each.valid_from <= now), None)


def _check(version: str, language: str, text: str) -> None:
    if not VERSION.fullmatch(version):
        raise WrongNotice("A version has 1 to 64 letters, digits, dots and hyphens, such as 2026-12-01.")
    if not LANGUAGE.fullmatch(language):
        raise WrongNotice("A language is a tag such as en, de or pt-BR.")
    if not text.strip() or len(text) > LONGEST_TEXT:
        raise WrongNotice(f"A notice has 1 to {LONGEST_TEXT} characters.")
    if written_out(text, lines=True) != text:
        raise WrongNotice("The notice has control characters.")


def _entry(version: str, language: str, digest: bytes, valid_from: datetime, by: Author) -> audit.Entry:
    return audit.Entry(
        actor=by.recorded_as or by.actor,
        action="notice.add",
        subject_kind="notice",
        subject_id=version,
        network=by.network,
        reason=by.reason,
        details={
            "language": language,
            "sha256": digest.hex(),
            "valid_from": valid_from.astimezone(UTC).isoformat(),
        },
    )
