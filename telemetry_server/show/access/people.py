"""The page "People": who has an account, and who is invited."""

from datetime import UTC, datetime
from enum import StrEnum
from uuid import UUID

from aiohttp import web
from msgspec import Struct

from telemetry_server import app_keys
from telemetry_server.errors import BadRequest, NotFound
from telemetry_server.model import Role
from telemetry_server.permissions import BY_ROLE, Permission
from telemetry_server.routing import HTML, Parameter, Route, get
from telemetry_server.show.access.forms import days_in, names_in, read_form_as
from telemetry_server.show.access.notices import MAILER, announce, link_to
from telemetry_server.show.access.sign_in import FORM_ERRORS
from telemetry_server.show.query import IDENTIFIER, read_path
from telemetry_server.show.render import page
from telemetry_server.show.responses import see_other
from telemetry_server.show.viewer import VIEWER
from telemetry_server.store.access import people as store
from telemetry_server.store.access.factors import remove_totp
from telemetry_server.store.access.passkeys import remove_passkeys
from telemetry_server.store.database import Connection, translated


class Action(StrEnum):
    """What an administrator does with an account."""

    ROLE = "role"
    DEACTIVATE = "deactivate"
    REACTIVATE = "reactivate"
    PASSWORD_LINK = "password_link"  # noqa: S105  a word of the form
    REMOVE_FACTOR = "remove_factor"


class Invite(Struct):
    """An invitation; `products` are slugs, empty: all."""

    csrf_token: str
    email: str
    role: Role
    products: str = ""
    days: str = str(store.INVITATION_DAYS)


class Change(Struct):
    """A change of one account; role and products only with `action=role`."""

    csrf_token: str
    action: Action
    role: Role = Role.VIEWER
    products: str = ""


class Withdraw(Struct):
    """The invitation to end."""

    csrf_token: str
    invitation: str


async def show_people(request: web.Request) -> web.Response:
    return await _page(request)


async def invite(request: web.Request) -> web.Response:
    """Shows the link, once; also sends it where SMTP is configured."""
    form = await read_form_as(request, Invite)
    days = days_in(form.days, store.MOST_DAYS, "An invitation")
    async with translated(), request.app[app_keys.POOL].acquire() as connection:
        secret = await store.invite(
            connection,
            form.email,
            form.role,
            names_in(form.products),
            by=request[VIEWER].recorded_as,
            inviter=_inviter(request),
            now=datetime.now(UTC),
            days=days,
        )
    link = link_to(request, "/invitation", secret)
    text = (
        "You are invited to the license telemetry server. Choose a password here, "
        f"within {days} days:\n\n{link}\n"
    )
    sent = await request.app[MAILER].send(store.email_of(form.email), "Your invitation", text)
    return await _page(request, link=link, link_for=form.email, sent=sent)


async def change(request: web.Request) -> web.Response:
    """One action on one account. Role, deactivation and second factor hold from the next request on."""
    form, person_id = await read_form_as(request, Change), read_path(request, "person_id")
    async with translated(), request.app[app_keys.POOL].acquire() as connection:
        person = await store.person(connection, person_id)
        link = await _carry_out(request, connection, form, person_id)
    if form.action is not Action.REACTIVATE and person.deactivated_at is None:
        await announce(request, person.email, _ANNOUNCED[form.action])
    if link is None:
        return see_other("/people")
    return await _page(request, link=link, link_for=person.email, sent=False)


async def _carry_out(
    request: web.Request, connection: Connection, form: Change, person_id: UUID
) -> str | None:
    """The link to hand over, if the action made one."""
    by, now = request[VIEWER].recorded_as, datetime.now(UTC)
    match form.action:
        case Action.ROLE:
            await store.set_role(connection, person_id, form.role, names_in(form.products), by=by)
        case Action.DEACTIVATE:
            await store.deactivate(connection, person_id, by=by, now=now)
        case Action.REACTIVATE:
            await store.reactivate(connection, person_id, by=by)
        case Action.PASSWORD_LINK:
            secret, _ = await store.invite_to_set_password(
                connection, person_id, by=by, inviter=_inviter(request), now=now
            )
            return link_to(request, "/invitation", secret)
        case Action.REMOVE_FACTOR:
            app = await remove_totp(connection, person_id, by=by)
            if not await remove_passkeys(connection, person_id, by=by) and not app:
                raise BadRequest("This person has no second factor.")
    return None


def _inviter(request: web.Request) -> UUID | None:
    """Whose right to invite an invitation rests on; None: a one-time link's."""
    person = request[VIEWER].person
    return None if person is None else person.person_id


async def withdraw(request: web.Request) -> web.Response:
    form = await read_form_as(request, Withdraw)
    if not await store.withdraw_invitation(
        request.app[app_keys.POOL], form.invitation, by=request[VIEWER].recorded_as
    ):
        raise NotFound("This invitation was used or withdrawn already.")
    return see_other("/people")


async def _page(
    request: web.Request, *, link: str | None = None, link_for: str = "", sent: bool = False
) -> web.Response:
    pool, now = request.app[app_keys.POOL], datetime.now(UTC)
    return page(
        request,
        "people.html",
        people=await store.list_people(pool),
        invitations=await store.list_invitations(pool, now),
        roles=[role.value for role in Role],
        permissions=[(each, [each in BY_ROLE[role] for role in Role]) for each in Permission],
        days=store.INVITATION_DAYS,
        most_days=store.MOST_DAYS,
        link=link,
        link_for=link_for,
        sent=sent,
        mail=request.app[MAILER].is_configured,
    )


_ANNOUNCED = {
    Action.ROLE: "An administrator changed your role or your products.",
    Action.DEACTIVATE: "An administrator deactivated your account.",
    Action.PASSWORD_LINK: "An administrator made a link with which you can set a new password.",
    Action.REMOVE_FACTOR: "An administrator removed the second factor of your account.",
}
_ID = Parameter("person_id", "Its id.", IDENTIFIER, where="path", required=True)

ROUTES = (
    get(
        "/people",
        show_people,
        "People and invitations",
        HTML,
        permission=Permission.PEOPLE,
        audited="person",
    ),
    Route(
        "POST",
        "/people/invite",
        invite,
        "Invite a person",
        permission=Permission.PEOPLE,
        step_up=True,
        page=True,
        audited="person",
        body=Invite,
        answers={200: HTML},
        errors=(*FORM_ERRORS, store.PersonExists),
    ),
    Route(
        "POST",
        "/people/withdraw",
        withdraw,
        "Withdraw an invitation",
        permission=Permission.PEOPLE,
        step_up=True,
        page=True,
        audited="person",
        body=Withdraw,
        answers={303: ""},
        errors=(*FORM_ERRORS, NotFound),
    ),
    Route(
        "POST",
        "/people/{person_id}",
        change,
        "Change an account",
        permission=Permission.PEOPLE,
        step_up=True,
        page=True,
        audited="person",
        parameters=(_ID,),
        body=Change,
        answers={200: HTML, 303: ""},
        errors=(*FORM_ERRORS, store.NoSuchPerson),
    ),
)
