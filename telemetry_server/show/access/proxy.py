"""Sign-in by a proxy that has authenticated the person: it names the e-mail address in a header.

The header counts only on connections from the trusted proxies that also send the shared secret: an address
alone can be that of another program on the proxy's host.
"""

import hmac
from ipaddress import ip_address

from aiohttp import web

from telemetry_server import app_keys
from telemetry_server.check.networks import Network
from telemetry_server.logs import log_rationed
from telemetry_server.store.access.people import WrongEmail, email_of

SECRET_HEADER = "X-Telemetry-Proxy-Secret"  # noqa: S105  the name of the header
METHOD = "proxy"


def email_from_proxy(request: web.Request) -> str | None:
    """The address that a trusted proxy names; None: there is none, or it is not to be believed."""
    settings = request.app[app_keys.SETTINGS]
    named = request.headers.getall(settings.proxy_sign_in_header, ()) if settings.proxy_sign_in_header else ()
    if not named:
        return None
    secret = request.headers.get(SECRET_HEADER, "").encode("utf-8", "surrogateescape")
    right = hmac.compare_digest(secret, settings.proxy_sign_in_secret.encode())
    if not right or not _comes_from(request, settings.trusted_proxies) or len(named) > 1:
        log_rationed("sign-in header refused", reason="not from the proxy" if right else "wrong secret")
        return None
    try:
        return email_of(named[0])
    except WrongEmail:
        log_rationed("sign-in header refused", reason="not an e-mail address")
        return None


def _comes_from(request: web.Request, proxies: tuple[Network, ...]) -> bool:
    """Whether the connection itself, and not an address in a header, is that of a trusted proxy."""
    try:
        peer = ip_address(request.remote or "")
    except ValueError:
        return False
    mapped = getattr(peer, "ipv4_mapped", None) or peer
    return any(mapped in proxy for proxy in proxies if proxy.version == mapped.version)
