"""Passkeys: sign-in by one, alone or as the second factor, and those of the page "My account"."""

from collections.abc import Sequence
from datetime import UTC, datetime

from aiohttp import web
from msgspec import Struct

from telemetry_server import app_keys
from telemetry_server.errors import BadRequest, NotFound
from telemetry_server.permissions import Permission
from telemetry_server.routing import HTML, Access, Parameter, Route
from telemetry_server.show.access import passkey_checks, signing_in
from telemetry_server.show.access.account import account_page, form_of_account, own_person
from telemetry_server.show.access.cookies import set_flow_cookie
from telemetry_server.show.access.forms import read_form_as
from telemetry_server.show.access.guard import cookie_name, find_viewer, local_path, refuse_foreign
from telemetry_server.show.access.notices import announce
from telemetry_server.show.access.oidc import providers_of
from telemetry_server.show.access.refusals import SignInRefused, Why
from telemetry_server.show.access.sign_in import FORM_ERRORS
from telemetry_server.show.query import text
from telemetry_server.show.render import page
from telemetry_server.show.responses import see_other
from telemetry_server.show.viewer import VIEWER
from telemetry_server.store.access import passkeys, people
from telemetry_server.store.access.flows import Purpose
from telemetry_server.store.access.passkeys import Passkey
from telemetry_server.store.access.people import Account
from telemetry_server.store.access.ways_in import keeping_one

METHOD = "passkey"


class Answer(Struct):
    """The answer of an authenticator, as JSON."""

    credential: str
    next: str = "/"


class NewPasskey(Struct):
    """A new passkey, and its name."""

    csrf_token: str
    credential: str
    name: str


class Rename(Struct):
    """Another name of a passkey."""

    csrf_token: str
    passkey: str
    name: str


class Remove(Struct):
    """The passkey to remove."""

    csrf_token: str
    passkey: str


# ── signing in ──────────────────────────────────────────────────────────────────────────────


async def show_passkey(request: web.Request) -> web.Response:
    """A page whose script asks for a passkey: of the person who is signed in, or half signed in, else any."""
    account, methods = await _expected(request)
    onward = local_path(request.query.get("next", "/"))
    challenge, browser = await signing_in.begin_flow(
        request, Purpose.PASSKEY, session=_session(request), onward=onward
    )
    known = await passkeys.list_passkeys(request.app[app_keys.POOL], account.person_id) if account else []
    options = passkey_checks.options_to_sign_in(
        request.app[app_keys.SETTINGS], known, challenge, alone=not methods
    )
    answer = page(request, "sign_in_passkey.html", options=options, onward=onward)
    set_flow_cookie(request, answer, browser)
    return answer


async def give_passkey(request: web.Request) -> web.Response:
    """Signs in: as the second factor after the first one, else alone, with the user verified."""
    refuse_foreign(request)
    form = await read_form_as(request, Answer)
    try:
        return await _sign_in(request, form)
    except SignInRefused as refused:
        await signing_in.record_refusal(request, METHOD, refused)
        raise


async def _sign_in(request: web.Request, form: Answer) -> web.Response:
    """Raises SignInRefused."""
    pool, settings, now = request.app[app_keys.POOL], request.app[app_keys.SETTINGS], datetime.now(UTC)
    passkey_checks.demand_passkeys(settings)
    expected, methods = await _expected(request)
    challenge = passkey_checks.challenge_in(form.credential)
    flow = await signing_in.end_flow(request, challenge, [Purpose.PASSKEY], _session(request))
    found = await passkeys.find_passkey(pool, passkey_checks.credential_id_in(form.credential))
    account = await people.account_of(pool, found.person_id) if found else None
    if found is None or account is None:
        raise SignInRefused(Why.UNKNOWN_CREDENTIAL)
    if expected is not None and expected.person_id != account.person_id:
        raise SignInRefused(Why.ANOTHER_PERSON, email=account.email)
    alone = not methods
    try:
        count = passkey_checks.new_sign_count(settings, form.credential, challenge, found, alone=alone)
    except SignInRefused as refused:
        refused.email = account.email
        raise
    if not await passkeys.note_use(pool, found, count, now):
        raise SignInRefused(Why.SIGN_COUNT, email=account.email)
    return await signing_in.signed_in(request, account, flow.onward, [*methods, METHOD])


async def _expected(request: web.Request) -> tuple[Account | None, Sequence[str]]:
    """Whose passkey is expected (None: anyone's), and the methods of the first factor before it."""
    awaiting = await signing_in.awaiting(request)
    if awaiting is not None:
        return awaiting.account, awaiting.methods
    viewer = await find_viewer(request)
    if viewer is None or viewer.person is None:
        return None, ()
    return await people.account_of(request.app[app_keys.POOL], viewer.person.person_id), ()


def _session(request: web.Request) -> str | None:
    """The session of the browser, also one that awaits the second factor."""
    return request.cookies.get(cookie_name(request.app[app_keys.SETTINGS]))


# ── on the page "My account" ────────────────────────────────────────────────────────────────


async def show_new(request: web.Request) -> web.Response:
    """A page whose script makes the passkey."""
    person, pool = own_person(request), request.app[app_keys.POOL]
    challenge, browser = await signing_in.begin_flow(
        request, Purpose.NEW_PASSKEY, session=request[VIEWER].session
    )
    known = await passkeys.list_passkeys(pool, person.person_id)
    options = passkey_checks.options_to_register(request.app[app_keys.SETTINGS], person, known, challenge)
    answer = page(request, "new_passkey.html", options=options)
    set_flow_cookie(request, answer, browser)
    return answer


async def add(request: web.Request) -> web.Response:
    """Shows the recovery codes of a first second factor, once."""
    form, person, pool = (
        await read_form_as(request, NewPasskey),
        own_person(request),
        request.app[app_keys.POOL],
    )
    try:
        made = await _made(request, form)
    except SignInRefused as refused:
        refused.email = person.email
        await signing_in.record_refusal(request, "new passkey", refused)
        raise
    codes = await passkeys.add_passkey(pool, made)
    if codes is None:
        raise BadRequest(f"This passkey is known already, or you have {passkeys.MOST} of them.")
    await announce(request, person.email, f"The passkey “{made.name}” was added to your account.")
    return await account_page(request, recovery_codes=codes) if codes else see_other("/account#passkeys")


async def _made(request: web.Request, form: NewPasskey) -> Passkey:
    """Raises SignInRefused, BadRequest or NotFound."""
    settings, name = request.app[app_keys.SETTINGS], passkey_checks.name_of(form.name)
    passkey_checks.demand_passkeys(settings)
    challenge, session = passkey_checks.challenge_in(form.credential), request[VIEWER].session
    await signing_in.end_flow(request, challenge, [Purpose.NEW_PASSKEY], session)
    person_id, now = own_person(request).person_id, datetime.now(UTC)
    return passkey_checks.registered(
        settings, form.credential, challenge, person_id=person_id, name=name, now=now
    )


async def rename(request: web.Request) -> web.Response:
    form, person = await read_form_as(request, Rename), own_person(request)
    name = passkey_checks.name_of(form.name)
    if not await passkeys.rename_passkey(request.app[app_keys.POOL], person.person_id, form.passkey, name):
        raise NotFound("You have no such passkey.")
    return see_other("/account#passkeys")


async def remove(request: web.Request) -> web.Response:
    """Ends a passkey; not where it is the only way to sign in."""
    form, person, pool = (
        await read_form_as(request, Remove),
        own_person(request),
        request.app[app_keys.POOL],
    )
    issuers, by = [each.issuer for each in providers_of(request)], request[VIEWER].recorded_as
    async with keeping_one(pool, person.person_id, issuers) as connection:
        if not await passkeys.remove_passkey(connection, person.person_id, form.passkey, by=by):
            raise NotFound("You have no such passkey.")
    await announce(request, person.email, "A passkey of your account was removed.")
    return see_other("/account#passkeys")


_NEXT = Parameter("next", "Where to go afterwards: a path of this server.", text())

ROUTES = (
    Route(
        "GET",
        "/sign-in/passkey",
        show_passkey,
        "The page that asks for a passkey",
        Access.PUBLIC,
        page=True,
        parameters=(_NEXT,),
        answers={200: HTML},
        errors=FORM_ERRORS,
    ),
    Route(
        "POST",
        "/sign-in/passkey",
        give_passkey,
        "Sign in by a passkey",
        Access.PUBLIC,
        page=True,
        body=Answer,
        answers={303: ""},
        errors=FORM_ERRORS,
    ),
    Route(
        "GET",
        "/account/passkeys/new",
        show_new,
        "The page that makes a passkey",
        permission=Permission.ACCOUNT,
        step_up=True,
        page=True,
        answers={200: HTML, 303: ""},
        errors=FORM_ERRORS,
    ),
    form_of_account("/account/passkeys", add, "Add a passkey", NewPasskey),
    form_of_account("/account/passkeys/rename", rename, "Rename a passkey", Rename, step_up=False),
    form_of_account("/account/passkeys/remove", remove, "Remove a passkey", Remove),
)
