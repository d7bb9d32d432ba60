"""The page "Ways to sign in", with the accounts at providers that are linked; and linking the own one."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from importlib.util import find_spec
from uuid import UUID

from aiohttp import web
from msgspec import Struct

from telemetry_server import app_keys
from telemetry_server.errors import BadRequest, NotFound
from telemetry_server.permissions import Permission
from telemetry_server.routing import HTML, Parameter, Route, get
from telemetry_server.show.access.account import Plain, form_of_account, own_person
from telemetry_server.show.access.forms import read_form_as
from telemetry_server.show.access.notices import MAILER, announce
from telemetry_server.show.access.oidc import OIDC, begin_link, providers_of
from telemetry_server.show.access.passkey_checks import host_for_passkeys
from telemetry_server.show.access.refusals import SignInRefused
from telemetry_server.show.access.sign_in import FORM_ERRORS
from telemetry_server.show.query import text
from telemetry_server.show.render import page
from telemetry_server.show.responses import see_other
from telemetry_server.show.viewer import VIEWER
from telemetry_server.store.access import identities, people
from telemetry_server.store.access.identities import Identity
from telemetry_server.store.access.people import NoSuchPerson, WrongEmail
from telemetry_server.store.access.ways_in import keeping_one


class Link(Struct):
    """An account at a provider, by its subject there, and the person of this address here."""

    csrf_token: str
    provider: str
    subject: str
    email: str


class Unlink(Struct):
    """The account at a provider that signs the person in no longer."""

    csrf_token: str
    issuer: str
    subject: str


class UnlinkOf(Struct):
    """The same, of any person."""

    csrf_token: str
    issuer: str
    subject: str
    person_id: UUID


async def show_ways(request: web.Request) -> web.Response:
    """The page; asks each provider for its metadata and keys."""
    return await _page(request)


async def _page(request: web.Request, problem: str | None = None) -> web.Response:
    settings, problems = request.app[app_keys.SETTINGS], {}
    for name, client in request.app[OIDC].items():
        try:
            await client.look()
        except SignInRefused as refused:
            problems[name] = f"{refused.why.value}: {refused.cause}"
    return page(
        request,
        "sign_in_ways.html",
        status=400 if problem else 200,
        clients=request.app[OIDC],
        problems=problems,
        problem=problem,
        identities=await identities.list_identities(request.app[app_keys.POOL]),
        titles={each.issuer: each.title for each in providers_of(request)},
        host=host_for_passkeys(settings),
        webauthn=find_spec("webauthn") is not None,
        settings=settings,
        mail=request.app[MAILER].is_configured,
    )


async def link(request: web.Request) -> web.Response:
    """Links an account at a provider to a person, by an administrator."""
    form, pool = await read_form_as(request, Link), request.app[app_keys.POOL]
    client, subject = request.app[OIDC].get(form.provider), form.subject.strip()
    if client is None or not 0 < len(subject) <= identities.LONGEST_SUBJECT or not subject.isprintable():
        raise BadRequest("Name a provider, and the subject (sub) of the account there.")
    try:
        person_id = await people.person_id_of(pool, form.email)
    except (NoSuchPerson, WrongEmail) as error:
        return await _page(request, problem=error.detail)
    identity = Identity(client.provider.issuer, subject)
    await identities.link(pool, identity, person_id, by=request[VIEWER].recorded_as, now=datetime.now(UTC))
    title = client.provider.title
    await announce(
        request,
        people.email_of(form.email),
        f"An administrator let your account sign in by {title}, with the account {subject} there.",
    )
    return see_other("/people/sign-in#linked")


async def unlink_of(request: web.Request) -> web.Response:
    """Ends that, and the sessions of the person."""
    form, pool = await read_form_as(request, UnlinkOf), request.app[app_keys.POOL]
    person = await people.person(pool, form.person_id)
    identity = Identity(form.issuer, form.subject)
    if not await identities.unlink(pool, identity, form.person_id, by=request[VIEWER].recorded_as):
        raise NotFound("This account is not linked.")
    await announce(request, person.email, "An administrator unlinked an account with which you signed in.")
    return see_other("/people/sign-in#linked")


async def unlink_own(request: web.Request) -> web.Response:
    """Ends that, and the other sessions; not where it is the only way to sign in."""
    form, person, pool = (
        await read_form_as(request, Unlink),
        own_person(request),
        request.app[app_keys.POOL],
    )
    identity, viewer = Identity(form.issuer, form.subject), request[VIEWER]
    issuers, by = [each.issuer for each in providers_of(request)], viewer.recorded_as
    async with keeping_one(pool, person.person_id, issuers) as connection:
        if not await identities.unlink(connection, identity, person.person_id, by=by, but=viewer.session):
            raise NotFound("This account is not linked.")
    await announce(request, person.email, "An account with which you signed in was unlinked.")
    return see_other("/account#providers")


_PROVIDER = Parameter("provider", "The name of the provider.", text(), where="path", required=True)


def _post(
    path: str, handler: Callable[[web.Request], Awaitable[web.Response]], summary: str, body: type[Struct]
) -> Route:
    return Route(
        "POST",
        path,
        handler,
        summary,
        permission=Permission.PEOPLE,
        step_up=True,
        page=True,
        audited="person",
        body=body,
        answers={303: "", 400: HTML},
        errors=(*FORM_ERRORS, NotFound, identities.IdentityTaken),
    )


ROUTES = (
    get(
        "/people/sign-in",
        show_ways,
        "Ways to sign in, and linked accounts",
        HTML,
        permission=Permission.PEOPLE,
        audited="person",
    ),
    _post("/people/sign-in/link", link, "Link an account at a provider to a person", Link),
    _post("/people/sign-in/unlink", unlink_of, "Unlink an account at a provider", UnlinkOf),
    form_of_account("/account/identities/unlink", unlink_own, "Unlink an account at a provider", Unlink),
    form_of_account(
        "/account/link/{provider}",
        begin_link,
        "Link an account at a provider",
        Plain,
        parameters=(_PROVIDER,),
    ),
)
