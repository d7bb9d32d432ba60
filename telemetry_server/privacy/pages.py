"""The public page of the notice, the fields and the levels; and the page of the privacy officer."""

from datetime import UTC, date, datetime, time
from typing import Annotated

from aiohttp import web
from msgspec import Meta, Struct

from telemetry_server import app_keys
from telemetry_server.check.fields import Carrier, Level, load_registry
from telemetry_server.errors import BadRequest, TelemetryError
from telemetry_server.privacy.store import erasing, level_limits, notice_versions, requests
from telemetry_server.privacy.store.notice_versions import NoticeVersion
from telemetry_server.routing import Parameter
from telemetry_server.show.access.forms import UPLOADED, read_form_as
from telemetry_server.show.query import IDENTIFIER, read_path, read_query, text
from telemetry_server.show.recorded_views import author
from telemetry_server.show.render import page
from telemetry_server.show.responses import see_other
from telemetry_server.store.database import translated
from telemetry_server.store.registry.customers import NoSuchCustomer
from telemetry_server.text import decoded

LANGUAGE = Parameter("language", "The language of the text, such as de.", text())
VERSION = Parameter("version", "The version of the notice.", text(), where="path", required=True)
ERASURE = Parameter("erasure_id", "Its id.", IDENTIFIER, where="path", required=True)
_MOST_ERASURES = 100

LEVEL_WORDS = {
    Level.LICENSE: "which license the copy runs under, and in which version.",
    Level.SYSTEM: "also the system that the copy runs on.",
    Level.USAGE: "also how often each feature is used.",
}


class NewNotice(Struct):
    """A version of the notice; its text in the field, or in a file."""

    csrf_token: str
    version: str
    language: str = "en"
    valid_from: str = ""
    text: str = ""
    reason: str = ""


class NewLevel(Struct):
    """A limit: of an installation by its id, or of a customer by e-mail or id."""

    csrf_token: str
    subject: str
    level: Level
    reason: Annotated[str, Meta(max_length=1000)] = ""


class NewErasure(Struct):
    """An erasure: of an installation by its id, or of a customer by e-mail or id, which is repeated."""

    csrf_token: str
    subject: str
    confirmed: str
    reason: str


# ── for everyone ────────────────────────────────────────────────────────────────────────────


async def public_page(request: web.Request) -> web.Response:
    """The notice in force, with all that may be collected."""
    asked = read_query(request, (LANGUAGE,))
    pool = request.app[app_keys.POOL]
    async with translated():
        found = await notice_versions.notices(pool)
        current = notice_versions.in_force(found, datetime.now(UTC))
        shown = current and await notice_versions.notice(pool, current.version, asked.get("language"))
    return _public(request, shown, found, current)


async def public_version(request: web.Request) -> web.Response:
    """Any version of the notice."""
    asked, version = read_query(request, (LANGUAGE,)), request.match_info["version"]
    if not notice_versions.VERSION.fullmatch(version):
        raise notice_versions.NoSuchNotice
    pool = request.app[app_keys.POOL]
    async with translated():
        shown = await notice_versions.notice(pool, version, asked.get("language"))
        found = await notice_versions.notices(pool)
    return _public(request, shown, found, notice_versions.in_force(found, datetime.now(UTC)))


def _public(
    request: web.Request,
    shown: NoticeVersion | None,
    found: list[NoticeVersion],
    current: NoticeVersion | None,
) -> web.Response:
    settings = request.app[app_keys.SETTINGS]
    registry = load_registry().keeping(settings.retention_days)
    return page(
        request,
        "privacy/public.html",
        notice=shown,
        notices=found,
        current=current,
        elsewhere=settings.notice,
        registry=registry,
        fields=[(level, [f for f in registry.fields.values() if f.level is level]) for level in Level],
        level_words=LEVEL_WORDS,
        in_each_ping=Carrier.PING,
        address_days=settings.address_retention_days,
    )


# ── for the privacy officer ─────────────────────────────────────────────────────────────────


async def office(request: web.Request) -> web.Response:
    read_query(request, ())
    return await _office(request)


async def add_notice(request: web.Request) -> web.Response:
    """Adds a version; a wrong one is shown again with what is wrong."""
    form = await read_form_as(request, NewNotice)
    try:
        content = decoded(request[UPLOADED].content) if UPLOADED in request else form.text
        valid_from = _day(form.valid_from)
        async with translated(), request.app[app_keys.POOL].acquire() as connection:
            await notice_versions.add_notice(
                connection,
                form.version.strip(),
                content,
                language=form.language.strip() or "en",
                valid_from=valid_from,
                by=author(request, form.reason.strip() or None),
                now=datetime.now(UTC),
            )
    except UnicodeDecodeError:
        return await _office(request, problem=BadRequest("The file is no text in UTF-8."), filled=form)
    except (notice_versions.WrongNotice, BadRequest) as problem:
        return await _office(request, problem=problem, filled=form)
    return see_other("/privacy/office#notices")


async def set_level(request: web.Request) -> web.Response:
    """Limits what is kept of a subject, or removes its limit."""
    form = await read_form_as(request, NewLevel)
    try:
        async with translated(), request.app[app_keys.POOL].acquire() as connection:
            subject = await level_limits.subject_named(connection, form.subject.strip())
            by, now = author(request, form.reason.strip() or None), datetime.now(UTC)
            await level_limits.set_limit(connection, subject, form.level, by=by, now=now)
    except (level_limits.NoSuchInstallation, NoSuchCustomer) as problem:
        return await _office(request, level_problem=problem)
    return see_other("/privacy/office#levels")


async def ask_for_erasure(request: web.Request) -> web.Response:
    """Asks for an erasure, which a job carries out within a minute."""
    form = await read_form_as(request, NewErasure)
    if form.subject.strip() != form.confirmed.strip():
        differ = BadRequest("The two fields differ. Name the subject twice: an erasure cannot be undone.")
        return await _office(request, erasure_problem=differ)
    try:
        async with translated(), request.app[app_keys.POOL].acquire() as connection:
            subject = await level_limits.subject_named(connection, form.subject.strip())
            by = author(request, form.reason.strip()[:1000] or None)
            await erasing.ask(
                connection,
                subject,
                by=by.recorded_as or by.actor,
                reason=by.reason,
                now=datetime.now(UTC),
            )
    except NoSuchCustomer as problem:
        return await _office(request, erasure_problem=problem)
    return see_other("/privacy/office#erasures")


async def certificate(request: web.Request) -> web.Response:
    """The signed text."""
    read_query(request, ())
    async with translated():
        found = await erasing.certificate_of(request.app[app_keys.POOL], read_path(request, "erasure_id"))
    return web.Response(text=found, headers={"Cache-Control": "no-store"})


async def _office(
    request: web.Request,
    *,
    problem: TelemetryError | None = None,
    filled: NewNotice | None = None,
    level_problem: TelemetryError | None = None,
    erasure_problem: TelemetryError | None = None,
) -> web.Response:
    today = datetime.now(UTC).date()
    async with translated(), request.app[app_keys.POOL].acquire() as connection:
        found = await notice_versions.notices(connection)
        limits = await level_limits.limits(connection)
        erasures = await erasing.newest(connection, _MOST_ERASURES)
        unanswered = await requests.unanswered(connection)
    return page(
        request,
        "privacy/office.html",
        status=422 if problem or level_problem or erasure_problem else 200,
        notices=found,
        current=notice_versions.in_force(found, datetime.now(UTC)),
        limits=limits,
        erasures=erasures,
        unanswered=[each for each in unanswered if each.is_overdue(today) or each.is_due_soon(today)],
        waiting=len(unanswered),
        today=today,
        erasure_problem=erasure_problem and erasure_problem.detail,
        levels=list(Level),
        problem=problem and problem.detail,
        level_problem=level_problem and level_problem.detail,
        filled=filled,
    )


def _day(words: str) -> datetime | None:
    """The start of the day (UTC). Raises BadRequest."""
    if not words.strip():
        return None
    try:
        return datetime.combine(date.fromisoformat(words.strip()), time(), UTC)
    except ValueError:
        raise BadRequest("Valid from is a day, like 2026-12-01.") from None
