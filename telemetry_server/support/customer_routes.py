"""The addresses for customers: signed requests of installations, and the page for a browser."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import TypeAlias
from uuid import UUID

import msgspec
from aiohttp import web
from msgspec import Struct

from telemetry_server import app_keys
from telemetry_server.errors import (
    BadRequest,
    Gone,
    Malformed,
    NotFound,
    SlowClient,
    TooLarge,
    TooManyRequests,
    Unauthenticated,
    Unavailable,
    Unprocessable,
    UnsupportedEncoding,
)
from telemetry_server.middleware import problem
from telemetry_server.model import Sender
from telemetry_server.receive.body import inflate, read_body
from telemetry_server.receive.limiter import Limiter
from telemetry_server.receive.signature import (
    RECEIPT,
    LookAgain,
    SignedRequest,
    Verifier,
    receipt,
    sender_of,
)
from telemetry_server.routing import HTML, Access, Parameter, Route, get
from telemetry_server.show.access.forms import read_form_as
from telemetry_server.show.access.sign_in import FORM_ERRORS
from telemetry_server.show.query import read_query, text
from telemetry_server.show.render import page
from telemetry_server.store.database import Pool, translated
from telemetry_server.store.ingest.privacy_cache import all_notices, in_force, notice_for_enrolment
from telemetry_server.support import grant_upload, store
from telemetry_server.support.grant_upload import GrantAnswer, GrantUpload, RevokedGrant
from telemetry_server.support.support_keys import SupportKeys

SUPPORT_KEYS = web.AppKey("support_keys", SupportKeys)

Done: TypeAlias = Callable[[Sender, bytes, datetime], Awaitable[UUID]]


# ── for installations ────────────────────────────────────────────────────────────────────────


class SupportGrants:
    """The handlers of signed requests. A refusal of a signed request has a receipt, too."""

    def __init__(self, pool: Pool, verifier: Verifier, look_again: LookAgain, limiter: Limiter) -> None:
        self._pool = pool
        self._verifier = verifier
        self._look_again = look_again
        self._limiter = limiter

    async def grant(self, request: web.Request) -> web.Response:
        return await self.take_grant(await _signed(request))

    async def revoke(self, request: web.Request) -> web.Response:
        return await self.take_revocation(await _signed(request))

    async def take_grant(self, asked: SignedRequest) -> web.Response:
        """The answer to a grant, which may have come in a bundle."""
        return await self._answer(asked, self._keep)

    async def take_revocation(self, asked: SignedRequest) -> web.Response:
        """The answer to a revocation, which may have come in a bundle."""
        return await self._answer(asked, self._revoke)

    async def _answer(self, asked: SignedRequest, do: Done) -> web.Response:
        now = datetime.now(UTC)
        sender = await sender_of(asked, self._verifier, self._look_again)
        try:
            self._limiter.admit(sender.installation_id)
            body = inflate(asked.sent, asked.headers.get("content-encoding"), grant_upload.LARGEST * 2)
            grant_id = await do(sender, body, now)
            content = msgspec.json.encode(GrantAnswer(grant_id, now))
            answer = web.Response(body=content, content_type="application/json")
        except (BadRequest, Gone, TooManyRequests, Unavailable) as error:
            answer = problem(error)
        assert isinstance(answer.body, bytes)
        answer.headers[RECEIPT] = receipt(sender.secret, asked.sent, answer.body)
        return answer

    async def _keep(self, sender: Sender, body: bytes, now: datetime) -> UUID:
        grant = grant_upload.read_grant(body, now)
        async with translated(), self._pool.acquire() as connection:
            await grant_upload.keep(connection, sender.installation_id, sender.product.id, grant, now)
        return grant.grant_id

    async def _revoke(self, sender: Sender, body: bytes, now: datetime) -> UUID:
        grant_id = grant_upload.read_revoked(body)
        async with translated(), self._pool.acquire() as connection:
            await store.revoke_grant(connection, sender.installation_id, grant_id, now)
        return grant_id


async def _signed(request: web.Request) -> SignedRequest:
    headers = {name.lower(): value for name, value in request.headers.items()}
    return SignedRequest(request.path, headers, await read_body(request))


async def support_keys(request: web.Request) -> web.Response:
    """The list as the offline root has signed it: two lines of text."""
    signed = await asyncio.to_thread(request.app[SUPPORT_KEYS].signed_list)
    if signed is None:
        raise NotFound("This server takes no support grants: its list of support keys is not signed yet.")
    return web.Response(text=signed, headers={"Cache-Control": "no-store"})


# ── for a browser ────────────────────────────────────────────────────────────────────────────

_SSH = (
    ("user", "User", "text"),
    ("host", "Host", "text"),
    ("port", "Port", "text"),
    ("password", "Password", "password"),
)
_ACCOUNTS = (("email", "E-mail account"), ("mysql", "MySQL account"), ("other", "Another account"))


class SealedForm(Struct):
    """What the script of the page sends: the envelope, and what it is bound to."""

    key: str
    grant_id: str
    not_after: str
    sealed: str
    notice: str = ""


async def grant_form(request: web.Request) -> web.Response:
    return await _page(request, await _link(request))


async def grant_in_browser(request: web.Request) -> web.Response:
    form, now = await read_form_as(request, SealedForm), datetime.now(UTC)
    link = await _link(request)
    bound = {"grant_id": form.grant_id, "key": form.key, "not_after": form.not_after, "notice": form.notice}
    body = msgspec.json.encode({**bound, "case": link.case_id, "sealed": form.sealed})
    grant = grant_upload.read_grant(body, now)
    async with translated(), request.app[app_keys.POOL].acquire() as connection:
        await grant_upload.keep(connection, store.NO_INSTALLATION, link.product_id, grant, now)
    return await _page(request, link, sent=grant)


async def _link(request: web.Request) -> store.Link:
    """What the link in the address is for. Raises NotFound."""
    secret = read_query(request, _PARAMETERS).get("token", "")
    async with translated(), request.app[app_keys.POOL].acquire() as connection:
        link = await store.find_link(connection, secret, datetime.now(UTC))
    if link is None:
        raise NotFound("This link has expired, or its case is closed. Ask the support team for another one.")
    return link


async def _page(request: web.Request, link: store.Link, sent: store.NewGrant | None = None) -> web.Response:
    settings, now = request.app[app_keys.SETTINGS], datetime.now(UTC)
    async with translated(), request.app[app_keys.POOL].acquire() as connection:
        found = in_force(await all_notices(connection, settings.base_url), now)
    notice = notice_for_enrolment(found, settings.notice)
    return page(
        request,
        "support/grant.html",
        link=link,
        action=request.path_qs,
        key=await asyncio.to_thread(request.app[SUPPORT_KEYS].key_of, now),
        notice=notice.version if notice else "",
        ssh=_SSH,
        accounts=_ACCOUNTS,
        sent=sent,
    )


# ── the table ────────────────────────────────────────────────────────────────────────────────

_SIGNED = (
    *(Malformed, Unauthenticated, SlowClient, TooLarge, UnsupportedEncoding, Unprocessable),
    *(TooManyRequests, Unavailable),
)
_PARAMETERS = (Parameter("token", "The secret of the link.", text()),)


_IN_A_BROWSER = (
    get(
        "/grant",
        grant_form,
        "Form to grant support access",
        HTML,
        _PARAMETERS,
        access=Access.PUBLIC,
        errors=(NotFound,),
    ),
    Route(
        "POST",
        "/grant",
        grant_in_browser,
        "Grant support access, in a browser",
        Access.PUBLIC,
        page=True,
        parameters=_PARAMETERS,
        body=SealedForm,
        answers={200: HTML},
        errors=(*FORM_ERRORS, NotFound, Unprocessable),
    ),
)


def customer_routes(grants: SupportGrants) -> tuple[Route, ...]:
    """The routes for customers."""
    return (
        get(
            "/v1/support-keys",
            support_keys,
            "The keys to seal support grants to",
            "text/plain",
            access=Access.PUBLIC,
        ),
        Route(
            "POST",
            "/v1/support-grants",
            grants.grant,
            "Grant support access",
            Access.SIGNATURE,
            body=GrantUpload,
            answers={200: GrantAnswer},
            errors=(*_SIGNED, Gone),
        ),
        Route(
            "POST",
            "/v1/support-grants/revoke",
            grants.revoke,
            "Revoke support access",
            Access.SIGNATURE,
            body=RevokedGrant,
            answers={200: GrantAnswer},
            errors=_SIGNED,
        ),
        *_IN_A_BROWSER,
    )
