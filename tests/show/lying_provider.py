"""An OpenID provider that answers as it should, or lies on demand."""

import base64
import hashlib
import json
import time
from contextlib import asynccontextmanager
from urllib.parse import parse_qs, urlencode, urlsplit

from aiohttp import web
from aiohttp.test_utils import TestServer
from joserfc import jws
from joserfc.jwk import ECKey, OctKey, RSAKey

CLIENT, SECRET = "license-telemetry", "a secret of provider and server"
KEY, STRANGERS_KEY = RSAKey.generate_key(2048), RSAKey.generate_key(2048)
EC_KEY = ECKey.generate_key("P-256")


def public(key, kid):
    return {**key.as_dict(private=False), "kid": kid, "use": "sig"}


def encoded(data):
    text = data if isinstance(data, bytes) else json.dumps(data).encode()
    return base64.urlsafe_b64encode(text).decode().rstrip("=")


class LyingProvider:
    """`claims` are those of the next ID token; `sign` makes the token; the other attributes are its lies."""

    def __init__(self):
        self.claims, self.more_claims, self.without = {"sub": "ann-there"}, {}, ()
        self.sign, self.keys = self.signed, [public(KEY, "k1"), public(EC_KEY, "e1")]
        self.answer, self.userinfo, self.token, self.metadata = {}, None, {}, {}
        self.codes, self.asked, self.authenticated_by = {}, [], None

    @property
    def issuer(self):
        return str(self.server.make_url("")).rstrip("/")

    async def describe(self, _):
        document = {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token",
            "jwks_uri": f"{self.issuer}/keys",
            "userinfo_endpoint": f"{self.issuer}/userinfo",
            "authorization_response_iss_parameter_supported": True,
        }
        return web.json_response(document | self.metadata)

    async def show_keys(self, _):
        return web.json_response({"keys": self.keys})

    def authorize(self, url):
        """What a browser that is sent to `url` brings back: the path and query on the server."""
        asked = {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}
        self.asked.append(asked)
        code = f"code-{len(self.codes)}"
        self.codes[code] = asked
        answer = {"code": code, "state": asked["state"], "iss": self.issuer} | self.answer
        back = urlsplit(asked["redirect_uri"])
        return f"{back.path}?{urlencode({k: v for k, v in answer.items() if v is not None})}"

    async def exchange(self, request):
        form = await request.post()
        self.authenticated_by = request.headers.get("Authorization", "").partition(" ")[0]
        asked = self.codes.pop(form.get("code", ""), None)  # each code once
        challenge = encoded(hashlib.sha256(form.get("code_verifier", "").encode()).digest())
        if asked is None or challenge != asked["code_challenge"]:
            return web.json_response({"error": "invalid_grant"}, status=400)
        return web.json_response(
            {"access_token": "a", "token_type": "Bearer", "id_token": self.sign(self.payload(asked))}
            | self.token
        )

    def payload(self, asked):
        now = int(time.time())
        claims = {
            "iss": self.issuer,
            "aud": CLIENT,
            "exp": now + 300,
            "iat": now,
            "auth_time": now,
            "nonce": asked["nonce"],
            "email": "ann@example.com",
            "email_verified": True,
            "name": "Ann There",
            "groups": ["staff"],
        }
        made = claims | self.claims | self.more_claims
        return {name: value for name, value in made.items() if name not in self.without}

    async def inform(self, _):
        return web.json_response(self.userinfo or {})

    def signed(self, claims, key=KEY, **header):
        header = {"alg": "RS256", "kid": "k1"} | header
        return jws.serialize_compact(
            header,
            json.dumps(claims).encode(),
            key,
            registry=jws.JWSRegistry(algorithms=[header["alg"]], strict_check_header=False),
        )

    # ── lies about the signature ──

    def unsigned(self, claims):
        return f"{encoded({'alg': 'none'})}.{encoded(claims)}."

    def with_the_public_key_as_secret(self, claims):
        import hmac

        text = f"{encoded({'alg': 'HS256', 'kid': 'k1'})}.{encoded(claims)}"
        secret = KEY.as_pem(private=False)
        return f"{text}.{encoded(hmac.digest(secret, text.encode(), 'sha256'))}"

    def with_its_own_key(self, claims):
        return self.signed(claims, STRANGERS_KEY, jwk=public(STRANGERS_KEY, "k1"))

    def with_the_address_of_its_key(self, claims):
        return self.signed(claims, STRANGERS_KEY, jku=f"{self.issuer}/keys")

    def by_a_stranger(self, claims):
        return self.signed(claims, STRANGERS_KEY)

    def by_an_unknown_key(self, claims):
        return self.signed(claims, STRANGERS_KEY, kid="k9")

    def by_another_algorithm(self, claims):
        return self.signed(claims, EC_KEY, alg="ES256", kid="e1")

    def with_a_shared_secret(self, claims):
        return self.signed(claims, OctKey.import_key(SECRET), alg="HS256")


@asynccontextmanager
async def lying_provider():
    provider, app = LyingProvider(), web.Application()
    app.router.add_get("/.well-known/openid-configuration", provider.describe)
    app.router.add_get("/keys", provider.show_keys)
    app.router.add_get("/userinfo", provider.inform)
    app.router.add_post("/token", provider.exchange)
    async with TestServer(app, host="127.0.0.1") as provider.server:
        yield provider
