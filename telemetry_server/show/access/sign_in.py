"""Sign-in with a password, a code of the second factor, or a one-time link; and sign-out.

A link only shows a page; the button on that page uses the link up. So link previews and scanners do not use
it up.
"""

from datetime import UTC, datetime
from urllib.parse import quote

from aiohttp import web
from msgspec import UNSET, Struct, UnsetType

from telemetry_server import app_keys
from telemetry_server.errors import BadRequest, Forbidden, Malformed, TooLarge, TooManyRequests, Unavailable
from telemetry_server.logs import Severity
from telemetry_server.permissions import Permission
from telemetry_server.receive.limiter import network_of
from telemetry_server.routing import HTML, Access, Parameter, Route, get
from telemetry_server.show.access import codes, signing_in
from telemetry_server.show.access.cookies import begin_session, end_session_cookie, is_known_browser
from telemetry_server.show.access.forms import read_form_as
from telemetry_server.show.access.guard import (
    address_of,
    find_viewer,
    local_path,
    refuse_foreign,
)
from telemetry_server.show.access.notices import alert_administrators
from telemetry_server.show.access.oidc import providers_of
from telemetry_server.show.access.passkey_checks import passkeys_are_possible
from telemetry_server.show.access.passwords import PASSWORDS
from telemetry_server.show.access.proxy import METHOD, email_from_proxy
from telemetry_server.show.query import text
from telemetry_server.show.recorded_views import network, refused
from telemetry_server.show.render import page
from telemetry_server.show.responses import see_other
from telemetry_server.show.viewer import VIEWER
from telemetry_server.store.access import people, throttle, trail
from telemetry_server.store.access.credentials import use_sign_in_link
from telemetry_server.store.access.identities import list_identities
from telemetry_server.store.access.people import Account
from telemetry_server.store.access.sessions import delete_session
from telemetry_server.store.access.throttle import Bucket
from telemetry_server.store.database import answered
from telemetry_server.store.reading import SECONDS

WRONG = "E-mail address or password is wrong."
WRONG_CODE = "This code is wrong, or was used already."


class SignIn(Struct):
    """The form of the sign-in page: e-mail address and password, or the token of a link."""

    token: str = ""
    email: str = ""
    password: str = ""
    next: str = "/"


class Code(Struct):
    """A code of the authenticator app, or a recovery code."""

    code: str
    next: str = "/"


class Again(Struct):
    """The password, and the code where there is a second factor."""

    csrf_token: str
    password: str = ""
    code: str = ""
    next: str = "/"


class SignOut(Struct):
    """The form of the sign-out button."""

    csrf_token: str | UnsetType = UNSET


async def show_sign_in(request: web.Request) -> web.Response:
    """The page with the fields; with a token, only its button."""
    token, onward = request.query.get("token", ""), local_path(request.query.get("next", "/"))
    named = None if token else email_from_proxy(request)
    return await _by_proxy(request, named, onward) if named else _sign_in_page(request, token, onward)


async def _by_proxy(request: web.Request, email: str, onward: str) -> web.Response:
    """Signs in the person whom the proxy names; it makes no accounts."""
    account = await people.account_of(request.app[app_keys.POOL], email)
    if account is None:
        await refused(request, METHOD, email)
        return _sign_in_page(request, "", onward, status=403, problem=f"There is no account of {email} here.")
    return await signing_in.first_factor(request, account, onward, [METHOD])


async def sign_in(request: web.Request) -> web.Response:
    """Creates a session and ends the previous one of the browser."""
    refuse_foreign(request)
    form = await read_form_as(request, SignIn)
    if form.email or form.password:
        return await _with_password(request, form)
    onward, secret, now = local_path(form.next), _token_in(form.token), datetime.now(UTC)
    role = await answered(use_sign_in_link(request.app[app_keys.POOL], secret, now), SECONDS)
    if role is None:
        if await find_viewer(request):  # the button was pressed twice
            return see_other(onward)
        return _sign_in_page(request, "", onward, status=403, refused=True)
    await trail.record(
        request.app[app_keys.POOL],
        "session.link_used",
        by="link",
        network=network(request),
        severity=Severity.WARNING,
        role=role,
    )
    where = network(request) or "an unknown network"
    await alert_administrators(
        request, f"A one-time link of the command line was used, as {role}, from {where}."
    )
    return await begin_session(request, onward, role, ["link"])


async def _with_password(request: web.Request, form: SignIn) -> web.Response:
    """An account that does not exist takes the same time, and gives the same answer."""
    onward, account, right, charged = local_path(form.next), *await compare_password(request, form)
    pool = request.app[app_keys.POOL]
    if account is None or not right:
        await refused(request, "password", form.email)
        return _sign_in_page(request, "", onward, status=403, problem=WRONG, email=form.email)
    await throttle.give_back(pool, charged)
    assert account.password_hash is not None
    if request.app[PASSWORDS].is_outdated(account.password_hash):
        fresh = await request.app[PASSWORDS].hash(form.password)
        await people.renew_hash(pool, account.person_id, fresh)
    return await signing_in.first_factor(request, account, onward, ["password"])


async def compare_password(request: web.Request, form: SignIn) -> tuple[Account | None, bool, list[Bucket]]:
    """The account, whether the password is right, and what was charged. Raises TooManyRequests."""
    pool, now = request.app[app_keys.POOL], datetime.now(UTC)
    try:
        email = people.email_of(form.email)
    except people.WrongEmail:
        email = "-"  # no address of an account
    account = await answered(people.account_of(pool, email), SECONDS)
    known = account is not None and is_known_browser(request, account.person_id)
    charged = throttle.buckets(email, network_of(address_of(request)), known_browser=known)
    await throttle.admit(pool, charged, now)
    right = await request.app[PASSWORDS].is_right(account.password_hash if account else None, form.password)
    return account, right, charged


# ── the second factor ───────────────────────────────────────────────────────────────────────


async def show_code(request: web.Request) -> web.Response:
    """The field for the code, after the first factor."""
    onward, found = local_path(request.query.get("next", "/")), await signing_in.awaiting(request)
    if found is None:
        return _sign_in_page(request, "", onward)
    return _code_page(request, found.account, onward)


async def give_code(request: web.Request) -> web.Response:
    """Replaces the session that awaits the code by one that is signed in."""
    refuse_foreign(request)
    form = await read_form_as(request, Code)
    onward, found = local_path(form.next), await signing_in.awaiting(request)
    if found is None:
        return see_other(f"/sign-in?next={quote(onward, safe='/')}")
    method = await _code_is_right(request, found.account, form.code)
    if method is None:
        return _code_page(request, found.account, onward, WRONG_CODE)
    return await signing_in.signed_in(request, found.account, onward, [*found.methods, method])


def _code_page(
    request: web.Request, account: Account, onward: str, problem: str | None = None
) -> web.Response:
    return page(
        request,
        "sign_in_code.html",
        status=403 if problem else 200,
        onward=onward,
        problem=problem,
        with_app=account.totp_since is not None,
        with_passkey=account.has_passkey,
    )


async def _code_is_right(request: web.Request, account: Account, code: str) -> str | None:
    """How, None: it is not. Raises TooManyRequests: a code has six digits, so guesses are few.

    A browser that signed in before has guesses of its own, which who has the password cannot use up.
    """
    pool, now = request.app[app_keys.POOL], datetime.now(UTC)
    known = "known browser" if is_known_browser(request, account.person_id) else ""
    charged = [Bucket(throttle.OF_CODES, f"{account.person_id}\n{known}")]
    await throttle.admit(pool, charged, now)
    method = await codes.accepts(request, account, code, now)
    if method is None:
        await refused(request, "code", account.email)
    else:
        await throttle.give_back(pool, charged)
    return method


# ── again, for what needs recent credentials ────────────────────────────────────────────────


async def show_again(request: web.Request) -> web.Response:
    """The fields that this person signs in with. Behind a proxy that signs in, the proxy decides."""
    if METHOD in request[VIEWER].methods:
        named = email_from_proxy(request)
        assert named is not None
        return await _by_proxy(request, named, local_path(request.query.get("next", "/")))
    return await _again_page(request, local_path(request.query.get("next", "/")))


async def sign_in_again(request: web.Request) -> web.Response:
    """Replaces the session by a new one, whose credentials are recent."""
    viewer, form = request[VIEWER], await read_form_as(request, Again)
    onward = local_path(form.next)
    if viewer.person is None:
        return await _again_page(request, onward)
    asked = SignIn(email=viewer.person.email, password=form.password)
    account, right, charged = await compare_password(request, asked)
    method = None
    if account is not None and right:
        await throttle.give_back(request.app[app_keys.POOL], charged)
        if not account.has_second_factor:
            return await signing_in.signed_in(request, account, onward, ["password"])
        method = await _code_is_right(request, account, form.code)
    else:
        await refused(request, "password", viewer.person.email)
    if account is None or method is None:
        return await _again_page(request, onward, problem="Password or code is wrong.")
    return await signing_in.signed_in(request, account, onward, ["password", method])


async def _again_page(request: web.Request, onward: str, problem: str | None = None) -> web.Response:
    person = request[VIEWER].person
    pool = request.app[app_keys.POOL]
    account = await people.account_of(pool, person.person_id) if person else None
    linked = {each.issuer for each in await list_identities(pool, person.person_id)} if person else set()
    return page(
        request,
        "sign_in_again.html",
        status=403 if problem else 200,
        onward=onward,
        problem=problem,
        account=account,
        providers=[each for each in providers_of(request) if each.issuer in linked],
    )


async def sign_out(request: web.Request) -> web.Response:
    """Ends the session in the browser and in the database."""
    if session := request[VIEWER].session:
        await delete_session(request.app[app_keys.POOL], session)
    answer = see_other("/sign-in")
    end_session_cookie(request, answer)
    return answer


def _sign_in_page(
    request: web.Request,
    token: str,
    onward: str,
    *,
    status: int = 200,
    refused: bool = False,
    problem: str | None = None,
    email: str = "",
) -> web.Response:
    return page(
        request,
        "sign_in.html",
        status=status,
        token=token,
        onward=onward,
        refused=refused,
        problem=problem,
        email=email,
        providers=providers_of(request),
        passkeys=passkeys_are_possible(request),
    )


def _token_in(pasted: str) -> str:
    """The token in a pasted token or link."""
    return pasted.strip().rpartition("token=")[2].partition("&")[0]


FORM_ERRORS = (BadRequest, Forbidden, Malformed, TooLarge, TooManyRequests, Unavailable)
_NEXT = Parameter("next", "Where to go afterwards: a path of this server.", text())
_TOKEN = Parameter("token", "The one-time token of a sign-in link.", text())

ROUTES = (
    Route(
        "GET",
        "/sign-in",
        show_sign_in,
        "The page to sign in",
        Access.PUBLIC,
        page=True,
        parameters=(_TOKEN, _NEXT),
        answers={200: HTML, 303: "", 403: HTML},
    ),
    Route(
        "POST",
        "/sign-in",
        sign_in,
        "Sign in with a password or a one-time token",
        Access.PUBLIC,
        page=True,
        body=SignIn,
        answers={303: "", 403: HTML},
        errors=FORM_ERRORS,
    ),
    get("/sign-in/code", show_code, "The page for the code", HTML, (_NEXT,), access=Access.PUBLIC),
    Route(
        "POST",
        "/sign-in/code",
        give_code,
        "Give the code of the second factor",
        Access.PUBLIC,
        page=True,
        body=Code,
        answers={303: "", 403: HTML},
        errors=FORM_ERRORS,
    ),
    Route(
        "GET",
        "/sign-in/again",
        show_again,
        "The page to sign in again",
        permission=Permission.ACCOUNT,
        page=True,
        parameters=(_NEXT,),
        answers={200: HTML, 303: ""},
    ),
    Route(
        "POST",
        "/sign-in/again",
        sign_in_again,
        "Sign in again",
        permission=Permission.ACCOUNT,
        page=True,
        body=Again,
        answers={303: "", 403: HTML},
        errors=FORM_ERRORS,
    ),
    Route(
        "POST",
        "/sign-out",
        sign_out,
        "Sign out",
        permission=Permission.ACCOUNT,
        page=True,
        body=SignOut,
        answers={303: ""},
        errors=FORM_ERRORS,
    ),
)
