"""The conversation with an OpenID provider: its metadata and keys, and the exchange of a code for claims.

Authlib makes the requests of OAuth, joserfc checks the token. Needs the extra "oidc".
"""

import asyncio
import base64
import hmac
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any

import httpx2
from authlib.common.errors import AuthlibBaseError
from authlib.integrations.httpx_client import AsyncOAuth2Client

from telemetry_server.show.access.oidc_claims import Claims
from telemetry_server.show.access.oidc_tokens import Expected, Key, check, usable_keys
from telemetry_server.show.access.refusals import SignInRefused, Why
from telemetry_server.sign_in_providers import Provider, is_safe

_SECONDS = 10.0
_FRESH_SECONDS, _KEYS_AGAIN_SECONDS = 3_600.0, 30.0
_OLDEST_SECONDS = 30 * 24 * 3_600
_LONGEST_ERROR = 80
_OF_THE_TOKEN = frozenset(
    {"iss", "sub", "aud", "azp", "exp", "iat", "nbf", "nonce", "auth_time", "amr", "acr"}
)


@dataclass(frozen=True, slots=True)
class Metadata:
    """What the provider publishes about itself."""

    authorization: str
    token: str
    keys: str
    userinfo: str | None
    names_issuer: bool
    takes_secret_by_basic: bool


@dataclass(frozen=True, slots=True)
class Answer:
    """The query with which a browser comes back from the provider."""

    code: str | None
    error: str | None
    issuer: str | None


class OidcClient:
    """One provider, for one process; `base_url` is that of this server."""

    def __init__(self, provider: Provider, base_url: str) -> None:
        self.provider = provider
        self.redirect_uri = f"{base_url}/sign-in/with/{provider.name}/back"
        self._metadata: tuple[float, Metadata] | None = None
        self._keys: tuple[float, list[Key]] | None = None

    async def address(self, state: str, browser: str, *, ask_again: bool = False) -> str:
        """Where to send the browser; with `ask_again`, the provider asks for the credentials in any case."""
        metadata = await self._read_metadata()
        more: dict[str, Any] = {"max_age": _OLDEST_SECONDS}  # with it, auth_time is in the token
        if ask_again:
            more = {"prompt": self.provider.entry.prompt_again, "max_age": 0}
        async with self._client(metadata) as client:
            url, _ = client.create_authorization_url(
                metadata.authorization,
                state=state,
                code_verifier=_derived("verifier", browser, state),
                nonce=_derived("nonce", browser, state),
                **more,
            )
        return str(url)

    async def claims(self, answer: Answer, state: str, browser: str, now: datetime) -> Claims:
        """The claims about the person. Raises SignInRefused."""
        metadata = await self._read_metadata()
        if answer.issuer is None and metadata.names_issuer:
            raise SignInRefused(Why.WRONG_ISSUER_PARAMETER, "missing")
        if answer.issuer is not None and answer.issuer != self.provider.issuer:
            raise SignInRefused(Why.WRONG_ISSUER_PARAMETER, answer.issuer[:_LONGEST_ERROR])
        if answer.error is not None or not answer.code:
            raise SignInRefused(Why.REFUSED_THERE, _plain(answer.error or "no code"))
        async with self._client(metadata) as client:
            token = await self._exchange(client, metadata, answer.code, _derived("verifier", browser, state))
            if not isinstance(text := token.get("id_token"), str):
                raise SignInRefused(Why.NO_TOKEN)
            nonce = _derived("nonce", browser, state)
            expected = Expected(self.provider.issuer, self.provider.entry.client_id, nonce)
            claims = await self._check(text, expected, metadata, now)
            return await self._with_userinfo(client, metadata, claims)

    async def look(self) -> None:
        """Reads metadata and keys anew. Raises SignInRefused."""
        self._metadata = self._keys = None
        await self._read_keys(await self._read_metadata(), oldest=0)

    async def _exchange(
        self, client: AsyncOAuth2Client, metadata: Metadata, code: str, verifier: str
    ) -> Mapping[str, Any]:
        try:
            token = await client.fetch_token(
                metadata.token, grant_type="authorization_code", code=code, code_verifier=verifier
            )
        except httpx2.TransportError:
            raise SignInRefused(Why.UNREACHABLE, "token endpoint") from None
        except AuthlibBaseError as error:
            raise SignInRefused(Why.CODE_REFUSED, _plain(str(error.error))) from None
        except (httpx2.HTTPError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise SignInRefused(Why.CODE_REFUSED, type(error).__name__) from None
        if not isinstance(token, Mapping):
            raise SignInRefused(Why.CODE_REFUSED, "no object")
        return token

    async def _check(self, text: str, expected: Expected, metadata: Metadata, now: datetime) -> Claims:
        """A token with an unknown key is checked once more with the keys of now: providers rotate them."""
        try:
            return check(text, await self._read_keys(metadata, oldest=_FRESH_SECONDS), expected, now)
        except SignInRefused as refused:
            if refused.why is not Why.UNKNOWN_KEY:
                raise
        return check(text, await self._read_keys(metadata, oldest=_KEYS_AGAIN_SECONDS), expected, now)

    async def _with_userinfo(self, client: AsyncOAuth2Client, metadata: Metadata, claims: Claims) -> Claims:
        """The claims with those of the userinfo endpoint, where the settings ask for them."""
        if not self.provider.entry.userinfo:
            return claims
        if metadata.userinfo is None:
            raise SignInRefused(Why.WRONG_METADATA, "userinfo_endpoint")
        try:
            answer = await client.get(metadata.userinfo)
            more = answer.raise_for_status().json()
        except (httpx2.HTTPError, AuthlibBaseError, ValueError):
            raise SignInRefused(Why.UNREACHABLE, "userinfo") from None
        if not isinstance(more, dict) or more.get("sub") != claims["sub"]:
            raise SignInRefused(Why.SUBJECT, "userinfo")
        return {**{name: value for name, value in more.items() if name not in _OF_THE_TOKEN}, **claims}

    async def _read_metadata(self) -> Metadata:
        if self._metadata is None or _since(self._metadata[0]) > _FRESH_SECONDS:
            url = f"{self.provider.issuer.rstrip('/')}/.well-known/openid-configuration"
            self._metadata = _now(), _metadata(await _load(url), self.provider)
        return self._metadata[1]

    async def _read_keys(self, metadata: Metadata, *, oldest: float) -> list[Key]:
        if self._keys is None or _since(self._keys[0]) > oldest:
            self._keys = _now(), usable_keys(await _load(metadata.keys))
        return self._keys[1]

    def _client(self, metadata: Metadata) -> AsyncOAuth2Client:
        secret, method = self.provider.client_secret, "none"
        if secret is not None:
            method = "client_secret_basic" if metadata.takes_secret_by_basic else "client_secret_post"
        return AsyncOAuth2Client(
            self.provider.entry.client_id,
            secret,
            token_endpoint_auth_method=method,
            scope=" ".join(self.provider.entry.scopes),
            redirect_uri=self.redirect_uri,
            code_challenge_method="S256",
            timeout=_SECONDS,
            verify=_authorities(),
        )


def _metadata(document: Mapping[str, Any], provider: Provider) -> Metadata:
    """Raises SignInRefused: the document has to be that of the issuer, with addresses to be trusted."""
    if document.get("issuer") != provider.issuer:
        raise SignInRefused(Why.WRONG_METADATA, "issuer")
    endpoints, plain = {}, provider.issuer.startswith("http:")  # of a provider on this machine
    for name in ("authorization_endpoint", "token_endpoint", "jwks_uri", "userinfo_endpoint"):
        url = document.get(name)
        if url is None and name == "userinfo_endpoint":
            continue
        if not isinstance(url, str) or not is_safe(url) or (url.startswith("http:") and not plain):
            raise SignInRefused(Why.WRONG_METADATA, name)
        endpoints[name] = url
    methods = document.get("token_endpoint_auth_methods_supported")
    return Metadata(
        endpoints["authorization_endpoint"],
        endpoints["token_endpoint"],
        endpoints["jwks_uri"],
        endpoints.get("userinfo_endpoint"),
        document.get("authorization_response_iss_parameter_supported") is True,
        not isinstance(methods, list) or "client_secret_basic" in methods,
    )


async def _load(url: str) -> dict[str, Any]:
    """The JSON object at an address. Raises SignInRefused."""
    try:
        async with httpx2.AsyncClient(timeout=_SECONDS, verify=_authorities()) as client:
            document = (await client.get(url)).raise_for_status().json()
    except (httpx2.HTTPError, httpx2.InvalidURL, ValueError) as error:
        raise SignInRefused(Why.UNREACHABLE, f"{url[:_LONGEST_ERROR]}: {type(error).__name__}") from None
    if not isinstance(document, dict):
        raise SignInRefused(Why.WRONG_METADATA, url[:_LONGEST_ERROR])
    return document


def _derived(what: str, browser: str, state: str) -> str:
    """The PKCE verifier or the nonce: known only with the cookie, so that the database has neither."""
    return (
        base64.urlsafe_b64encode(hmac.digest(browser.encode(), f"{what} {state}".encode(), "sha256"))
        .decode()
        .rstrip("=")
    )


@cache
def _authorities() -> ssl.SSLContext:
    """The certificates of this system; SSL_CERT_FILE names others."""
    return ssl.create_default_context()


def _plain(error: str) -> str:
    return error[:_LONGEST_ERROR] if error.isprintable() else "not printable"


def _now() -> float:
    return asyncio.get_running_loop().time()


def _since(moment: float) -> float:
    return _now() - moment
