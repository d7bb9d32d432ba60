"""The page "My account": name, password, second factor, sessions and tokens of the signed-in person."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from functools import cache
from typing import Any
from zoneinfo import available_timezones

from aiohttp import web
from msgspec import Struct

from telemetry_server import app_keys
from telemetry_server.errors import BadRequest, Forbidden, NotFound
from telemetry_server.permissions import Permission
from telemetry_server.routing import HTML, Parameter, Route, get
from telemetry_server.show.access import codes, tokens
from telemetry_server.show.access.cookies import begin_session
from telemetry_server.show.access.forms import read_form_as
from telemetry_server.show.access.guard import local_path
from telemetry_server.show.access.invitation import name_in
from telemetry_server.show.access.notices import announce
from telemetry_server.show.access.oidc import providers_of
from telemetry_server.show.access.passkey_checks import passkeys_are_possible
from telemetry_server.show.access.passwords import PASSWORDS, WeakPassword, refuse_weak
from telemetry_server.show.access.sign_in import FORM_ERRORS, SignIn, compare_password
from telemetry_server.show.access.tokens import NewToken, Revoke, grantable
from telemetry_server.show.formatting import NUMBER_STYLES, zone_of
from telemetry_server.show.list_columns import read_columns
from telemetry_server.show.recorded_views import record, refused
from telemetry_server.show.render import page
from telemetry_server.show.responses import see_other
from telemetry_server.show.viewer import VIEWER
from telemetry_server.store.access import factors, people, throttle, trail
from telemetry_server.store.access.credentials import SignedIn, digest, list_tokens
from telemetry_server.store.access.identities import list_identities
from telemetry_server.store.access.passkeys import list_passkeys
from telemetry_server.store.access.people import Account
from telemetry_server.store.access.sessions import end_session, end_sessions, list_sessions
from telemetry_server.store.database import translated


class Profile(Struct):
    """The name, keyboard shortcuts ("on" or missing), the time zone, and how numbers are written."""

    csrf_token: str
    name: str
    shortcuts: str = ""
    time_zone: str = "UTC"
    number_style: str = "en"


class ListColumns(Struct):
    """The columns of the list of installations, separated by commas; empty: the usual ones."""

    csrf_token: str
    columns: str = ""
    next: str = "/installations"


class NewPassword(Struct):
    """The old and the new password."""

    csrf_token: str
    old: str
    password: str


class Plain(Struct):
    """A button."""

    csrf_token: str


class FirstCode(Struct):
    """The first code of the authenticator app."""

    csrf_token: str
    code: str


class EndSession(Struct):
    """The session to end; empty: all but this one."""

    csrf_token: str
    session: str = ""


async def show_account(request: web.Request) -> web.Response:
    return await account_page(request)


async def set_profile(request: web.Request) -> web.Response:
    form, person = await read_form_as(request, Profile), own_person(request)
    pool, name = request.app[app_keys.POOL], name_in(form.name)
    if zone_of(form.time_zone) is None or form.number_style not in NUMBER_STYLES:
        raise BadRequest("Choose a time zone and a style of numbers from the lists.")
    await people.set_profile(
        pool,
        person.person_id,
        name,
        shortcuts=form.shortcuts == "on",
        time_zone=form.time_zone,
        number_style=form.number_style,
    )
    return see_other("/account")


async def set_columns(request: web.Request) -> web.Response:
    """Remembers the columns of the list of installations, and goes back to it."""
    form, person = await read_form_as(request, ListColumns), own_person(request)
    chosen = read_columns(form.columns) if form.columns else None
    await people.set_list_columns(request.app[app_keys.POOL], person.person_id, chosen)
    return see_other(local_path(form.next))


async def set_password(request: web.Request) -> web.Response:
    """Ends all other sessions, and replaces this one."""
    form, person, pool = (
        await read_form_as(request, NewPassword),
        own_person(request),
        request.app[app_keys.POOL],
    )
    try:
        await refuse_weak(form.password, person.email, person.email.partition("@")[0], person.name)
    except WeakPassword as error:
        return await account_page(request, problem=error.detail)
    _, right, charged = await compare_password(request, SignIn(email=person.email, password=form.old))
    if not right:
        await refused(request, "password", person.email)
        return await account_page(request, problem="The old password is wrong.")
    await throttle.give_back(pool, charged)
    hashed, viewer = await request.app[PASSWORDS].hash(form.password), request[VIEWER]
    async with trail.transaction(pool) as connection:
        await people.set_password(connection, person.person_id, hashed, by=viewer.recorded_as)
        await end_sessions(connection, person.person_id)
    await announce(request, person.email, "The password of your account was changed.")
    return await begin_session(request, "/account", viewer.role, viewer.methods, person_id=person.person_id)


# ── the second factor ───────────────────────────────────────────────────────────────────────


async def begin_totp(request: web.Request) -> web.Response:
    """Shows the secret, until a first code confirms it."""
    person, pool = own_person(request), request.app[app_keys.POOL]
    salt = await factors.begin_totp(pool, person.person_id)
    if salt is None:
        raise BadRequest("You have an authenticator app; remove it first.")
    return _totp_page(request, person, salt)


async def confirm_totp(request: web.Request) -> web.Response:
    """Shows the recovery codes, once."""
    form, person, now = await read_form_as(request, FirstCode), own_person(request), datetime.now(UTC)
    account = await _account(request)
    if account.totp_salt is None or account.totp_since is not None:
        raise BadRequest("Set up the second factor from the beginning.")
    step = codes.step_of(codes.secret_of(request, person.person_id, account.totp_salt), form.code, now)
    if step is None:
        return _totp_page(request, person, account.totp_salt, problem="This is not the code of now.")
    async with translated(), request.app[app_keys.POOL].acquire() as connection:
        made = await factors.confirm_totp(connection, person.person_id, step, now=now)
    await announce(request, person.email, "A second factor was set up for your account.")
    return await account_page(request, recovery_codes=made)


async def renew_codes(request: web.Request) -> web.Response:
    """Shows the new recovery codes, once."""
    person, account = own_person(request), await _account(request)
    if not account.has_second_factor:
        raise BadRequest("You have no second factor.")
    async with translated(), request.app[app_keys.POOL].acquire() as connection:
        made = await factors.renew_codes(connection, person.person_id)
    await announce(request, person.email, "The recovery codes of your account were replaced.")
    return await account_page(request, recovery_codes=made)


async def remove_totp(request: web.Request) -> web.Response:
    person = own_person(request)
    async with translated(), request.app[app_keys.POOL].acquire() as connection:
        await factors.remove_totp(connection, person.person_id, by=request[VIEWER].recorded_as)
    await announce(request, person.email, "The second factor of your account was removed.")
    return see_other("/account")


def _totp_page(
    request: web.Request, person: SignedIn, salt: bytes, problem: str | None = None
) -> web.Response:
    secret = codes.secret_of(request, person.person_id, salt)
    return page(
        request,
        "totp.html",
        status=400 if problem else 200,
        image=codes.qr_code(secret, person.email),
        secret=codes.in_base32(secret),
        problem=problem,
    )


# ── sessions and tokens ─────────────────────────────────────────────────────────────────────


async def end(request: web.Request) -> web.Response:
    """Ends one session, or all others."""
    form, person, pool = (
        await read_form_as(request, EndSession),
        own_person(request),
        request.app[app_keys.POOL],
    )
    async with trail.transaction(pool) as connection:
        if not form.session:
            await end_sessions(connection, person.person_id, but=request[VIEWER].session)
        elif not await end_session(connection, person.person_id, form.session):
            raise NotFound("This session has ended already.")
        await record(connection, request, "session.end", None, which=form.session or "all others")
    return see_other("/account")


async def add_token(request: web.Request) -> web.Response:
    """Shows the token, once."""
    form, person = await read_form_as(request, NewToken), own_person(request)
    token = await tokens.make(request, form, request[VIEWER], person.person_id)
    await announce(request, person.email, "An API token was made for your account.")
    return await account_page(request, token=token)


async def revoke(request: web.Request) -> web.Response:
    form, person = await read_form_as(request, Revoke), own_person(request)
    await tokens.end(request, form.token_id, person.person_id)
    return see_other("/account")


# ── what they share ─────────────────────────────────────────────────────────────────────────


def own_person(request: web.Request) -> SignedIn:
    """The signed-in person. Raises Forbidden for a one-time link, which has none."""
    person = request[VIEWER].person
    if person is None:
        raise Forbidden("You signed in with a one-time link, which has no account.")
    return person


async def _account(request: web.Request) -> Account:
    found = await people.account_of(request.app[app_keys.POOL], own_person(request).person_id)
    if found is None:
        raise Forbidden("This account was deactivated.")
    return found


async def account_page(
    request: web.Request,
    *,
    problem: str | None = None,
    recovery_codes: list[str] | None = None,
    token: str | None = None,
) -> web.Response:
    """The page, with what is shown once."""
    viewer, pool, now = request[VIEWER], request.app[app_keys.POOL], datetime.now(UTC)
    if viewer.person is None:
        return page(request, "account.html", account=None)
    person_id = viewer.person.person_id
    titles = {each.issuer: each.title for each in providers_of(request)}
    return page(
        request,
        "account.html",
        status=400 if problem else 200,
        account=await people.person(pool, person_id),
        codes_left=await factors.codes_left(pool, person_id),
        passkeys=await list_passkeys(pool, person_id),
        new_passkeys=passkeys_are_possible(request),
        identities=await list_identities(pool, person_id),
        titles=titles,
        time_zones=_time_zones(),
        number_styles=NUMBER_STYLES,
        providers=providers_of(request),
        sessions=await list_sessions(pool, person_id, now),
        this_session=digest(viewer.session or "").hex(),
        tokens=[each for each in await list_tokens(pool, person_id) if each.revoked_at is None],
        scopes=sorted(grantable(viewer)),
        problem=problem,
        recovery_codes=recovery_codes,
        token=token,
    )


@cache
def _time_zones() -> list[str]:
    """The names of places; others, such as Etc/GMT+1, are for machines."""
    return ["UTC", *sorted(name for name in available_timezones() if "/" in name and "Etc/" not in name)]


def form_of_account(
    path: str,
    handler: Callable[[Any], Awaitable[Any]],
    summary: str,
    body: type[Struct],
    *,
    step_up: bool = True,
    parameters: tuple[Parameter, ...] = (),
) -> Route:
    """A form of this page; the page itself answers, or it is shown anew."""
    return Route(
        "POST",
        path,
        handler,
        summary,
        permission=Permission.ACCOUNT,
        step_up=step_up,
        page=True,
        parameters=parameters,
        body=body,
        answers={200: HTML, 303: "", 400: HTML},
        errors=(*FORM_ERRORS, NotFound),
    )


ROUTES = (
    get("/account", show_account, "The own account", HTML, permission=Permission.ACCOUNT),
    form_of_account("/account/profile", set_profile, "Change name and shortcuts", Profile, step_up=False),
    form_of_account("/account/columns", set_columns, "Choose columns of lists", ListColumns, step_up=False),
    form_of_account("/account/password", set_password, "Change the password", NewPassword),
    form_of_account("/account/totp", begin_totp, "Set up an authenticator app", Plain),
    form_of_account("/account/totp/confirm", confirm_totp, "Confirm it by its first code", FirstCode),
    form_of_account("/account/totp/remove", remove_totp, "Remove it", Plain),
    form_of_account("/account/codes", renew_codes, "Make new recovery codes", Plain),
    form_of_account("/account/sessions/end", end, "End sessions", EndSession),
    form_of_account("/account/tokens", add_token, "Make a personal API token", NewToken),
    form_of_account("/account/tokens/revoke", revoke, "Revoke a personal API token", Revoke, step_up=False),
)
