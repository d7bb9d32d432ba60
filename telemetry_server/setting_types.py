"""The types of settings, each with bounds: functions that parse a text.

They raise ValueError, whose message follows the setting and its value: the problem, and what to write. The
message for a secret contains no part of the text.
"""

import base64
import ipaddress
import re
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple, TypeAlias
from urllib.parse import urlsplit

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

FOREVER = "forever"
MOST_DAYS = 36_500

_ON, _OFF = ("1", "true", "yes", "on"), ("0", "false", "no", "off")
_PORTS = {"http": 80, "https": 443}
_HIGHEST_PORT = 65_535
_HOST = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,62})(\.[a-z0-9_][a-z0-9_-]{0,62})*\.?", re.IGNORECASE)
_LONGEST_URL = 2_048
_LOOPBACK = {"127.0.0.1", "::1", "localhost"}

_MOST_NETWORKS = 1_000
# Wider networks contain strangers, who could then choose the client address of their pings.
_WIDEST_PREFIX = {4: 8, 6: 16}

_TAKEN_HEADERS = {"authorization", "cookie", "host", "origin", "referer", "from", "x-forwarded-for"}
_MOST_SECRETS = 10
_SECRET_BYTES = range(24, 65)  # as in Standard Webhooks


def whole(least: int, most: int) -> Callable[[str], int]:
    """A whole number from `least` to `most`."""

    def parse(text: str) -> int:
        if not re.fullmatch(r"[+-]?[0-9]{1,18}", text.strip()) or not least <= int(text) <= most:
            raise ValueError(f"write a whole number from {least} to {most}")
        return int(text)

    return parse


def one_of(*numbers: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if text.strip() not in map(str, numbers):
            raise ValueError(f"write {' or '.join(map(str, numbers))}")
        return int(text)

    return parse


def switch(text: str) -> bool:
    if text.lower() not in {*_ON, *_OFF}:
        raise ValueError(f"write one of {', '.join((*_ON, *_OFF))}")
    return text.lower() in _ON


def words(longest: int) -> Callable[[str], str]:
    """One line of text; may be empty."""

    def parse(text: str) -> str:
        if len(text) > longest:
            raise ValueError(f"has {len(text)} characters; write at most {longest}")
        return text

    return parse


def user(text: str) -> str:
    if not re.fullmatch(r"[^\s:/,]{1,64}", text):
        raise ValueError("is not a user name of this system; write one such as postgres")
    return text


def directory(text: str) -> Path:
    return Path(_path(text, "a directory"))


def optional_directory(text: str) -> str:
    return _path(text, "a directory") if text else ""


def optional_file(text: str) -> str:
    return _path(text, "a file") if text else ""


def _path(text: str, what: str) -> str:
    if not text.strip():
        raise ValueError(f"is empty; write the path of {what}")
    if text.startswith("~"):
        raise ValueError("begins with ~, which only a shell replaces; write the whole path")
    return text


# ── the network ─────────────────────────────────────────────────────────────────────────────


def listen(text: str) -> str:
    """HOST:PORT; HOST is a name or an address, IPv6 in brackets."""
    host, _, port = text.strip().rpartition(":")
    if not _is_host(host) or not re.fullmatch("[0-9]{1,5}", port) or int(port) > _HIGHEST_PORT:
        raise ValueError(
            f"write HOST:PORT, such as 127.0.0.1:8080 or [::]:8080, with a port from 0 to {_HIGHEST_PORT}"
        )
    return f"{host}:{int(port)}"


def address_of_site(text: str) -> str:
    """The origin of a site as browsers write it: in small letters, without default port and path."""
    if not text:
        return ""
    scheme, host, port, rest = _url(text)
    if rest not in {"", "/"}:
        raise ValueError(
            f"goes on after the host; write {scheme}://HOST only: the server answers at the root of a host"
        )
    return f"{scheme}://{host}{port}"


def address_of_page(text: str) -> str:
    """An http or https URL."""
    if not text:
        return ""
    scheme, host, port, rest = _url(text)
    return f"{scheme}://{host}{port}{rest}"


def address_for_a_secret(text: str) -> str:
    """An https URL without a slash at its end; http only on this machine, as others could read the secret."""
    url = address_of_page(text).rstrip("/")
    if url and urlsplit(url).scheme != "https" and urlsplit(url).hostname not in _LOOPBACK:
        raise ValueError("is not encrypted; write an address that begins with https://")
    return url


def _url(text: str) -> tuple[str, str, str, str]:
    """Scheme, host, ":port" if it is not the default, and the rest."""
    example = "write an address such as https://telemetry.example.com"
    if len(text) > _LONGEST_URL:
        raise ValueError(f"has more than {_LONGEST_URL} characters; {example}")
    try:
        parts = urlsplit(text)
        port, host = parts.port, (parts.hostname or "").encode("idna").decode().lower()
    except ValueError:  # a UnicodeError, too
        raise ValueError(f"is not an address; {example}") from None
    if parts.scheme not in _PORTS:
        raise ValueError(f"does not begin with https:// or http://; {example}")
    if "@" in parts.netloc:
        raise ValueError(f"has a user or a password in it, which would be public; {example}")
    host = f"[{host}]" if ":" in host else host
    if not _is_host(host) or " " in text or port == 0:
        raise ValueError(f"names no host; {example}")
    rest = text.partition("://")[2][len(parts.netloc) :]
    shown_port = "" if port in {None, _PORTS[parts.scheme]} else f":{port}"
    return parts.scheme, host, shown_port, rest


def _is_host(text: str) -> bool:
    if text.startswith("[") and text.endswith("]"):
        return _is_address(text[1:-1], 6)
    # A host that ends in a number must be an address: 300.1.1.1 and 127.1 are invalid.
    if text.rstrip(".").rpartition(".")[2].isdigit():
        return _is_address(text, 4)
    return len(text) <= 253 and _HOST.fullmatch(text) is not None  # noqa: PLR2004  the longest of DNS


def _is_address(text: str, version: int) -> bool:
    try:
        return ipaddress.ip_address(text).version == version
    except ValueError:
        return False


def proxies(text: str) -> tuple[Network, ...]:
    """Networks, separated by commas."""
    found = tuple(_proxy(number, part) for number, part in enumerate(_parts(text), 1))
    if len(found) > _MOST_NETWORKS:
        raise ValueError(f"has {len(found)} networks; write at most {_MOST_NETWORKS}")
    return found


def networks(text: str) -> tuple[Network, ...]:
    """Networks of any size, separated by commas."""
    try:
        return tuple(ipaddress.ip_network(part) for part in _parts(text))
    except ValueError as error:
        raise ValueError(f"{error}; write networks such as 203.0.113.0/24, separated by commas") from None


def _proxy(number: int, text: str) -> Network:
    which = f"network {number}"
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise ValueError(
            f"entry {number} is not a network; "
            "write networks such as 10.0.0.0/8 or 2001:db8::/32, separated by commas"
        ) from None
    if isinstance(network, ipaddress.IPv6Network) and network.network_address.ipv4_mapped:
        raise ValueError(f"{which} is one of IPv4 written as IPv6; write it as IPv4, such as 10.0.0.0/8")
    if _address(text) != network.network_address:
        raise ValueError(f"{which} has bits set behind its length; write {_address(text)} or {network}")
    if network.prefixlen < _WIDEST_PREFIX[network.version] and not network.is_private:
        raise ValueError(
            f"{which} contains large parts of the Internet, and strangers could claim any address in "
            "X-Forwarded-For; write the addresses of your proxies only, such as 127.0.0.1 or 10.0.0.0/8"
        )
    return network


def _address(text: str) -> object:
    return ipaddress.ip_address(text.partition("/")[0])


# ── the database ────────────────────────────────────────────────────────────────────────────

_ENCODED = r"%[0-9A-Fa-f]{2}"
_IN_USER = rf"(?:{_ENCODED}|(?![@:/?#\[\]%])[!-~])"
_IN_NAME = rf"(?:{_ENCODED}|[A-Za-z0-9._~$!*,;+=-])"
_HOST_OF_DATABASE = rf"(?:\[[0-9A-Fa-f:.]+\]|(?:{_ENCODED}|[A-Za-z0-9._-])*)(?::[0-9]{{1,5}})?"
_PARAMETER = rf"(?!password=)[a-z_]+=(?:{_IN_NAME}|[/:])*"
_DATABASE = re.compile(
    rf"postgres(?:ql)?://(?:{_IN_USER}+(?::(?:{_IN_USER}|:)*)?@)?{_HOST_OF_DATABASE}(?:,{_HOST_OF_DATABASE})*"
    rf"(?:/{_IN_NAME}*)?(?:\?{_PARAMETER}(?:&{_PARAMETER})*)?"
)
_RESERVED = {"@": "%40", ":": "%3A", "/": "%2F", "?": "%3F", "#": "%23", "[": "%5B", "]": "%5D", "%": "%25"}


def database(text: str) -> str:
    """A URI of PostgreSQL.

    Reserved characters must be escaped: otherwise a part of the password is parsed as a host or port, and
    appears in the error of the connection.
    """
    if text and not _DATABASE.fullmatch(text):
        escapes = ", ".join(f"{character} as {escaped}" for character, escaped in _RESERVED.items())
        raise ValueError(
            "is not an address of PostgreSQL; write postgresql://USER:PASSWORD@HOST:PORT/DATABASE, "
            f"and in USER and PASSWORD a space as %20, {escapes}, other characters than ASCII likewise"
        )
    return text


def header(text: str) -> str:
    """The name of an HTTP header; not one that clients and proxies commonly set for other ends."""
    if text and (not re.fullmatch(r"[A-Za-z][A-Za-z0-9-]{2,63}", text) or text.lower() in _TAKEN_HEADERS):
        raise ValueError("is no name for this header; write one such as X-Forwarded-Email")
    return text


def shared_secret(text: str) -> str:
    if text and not re.fullmatch(r"[!-~]{24,200}", text):
        raise ValueError("write 24 to 200 characters without spaces, such as of: openssl rand -hex 32")
    return text


def token(text: str) -> str:
    if not re.fullmatch(r"[!-~]{0,500}", text):
        raise ValueError("write a token: one word, without spaces")
    return text


# ── e-mail ──────────────────────────────────────────────────────────────────────────────────


def smtp(text: str) -> str:
    """The URL of an SMTP server."""
    example = "write an address such as smtp+starttls://USER:PASSWORD@mail.example.com:587"
    try:
        parts = urlsplit(text)
        known = parts.scheme in {"smtp", "smtps", "smtp+starttls"} and bool(parts.hostname)
        plain = parts.port != 0 and not (parts.path or parts.query or parts.fragment)
    except ValueError:
        known = plain = False
    if text and not (known and plain):
        raise ValueError(f"is not the address of an SMTP server; {example}, with reserved characters escaped")
    return text


# ── retention, and secrets ───────────────────────────────────────────────────────────────


class Keep(NamedTuple):
    """The retention of a class of fields in days; None: forever."""

    name: str
    days: int | None

    def __str__(self) -> str:
        return f"{self.name}={FOREVER if self.days is None else self.days}"


def retention(text: str) -> tuple[Keep, ...]:
    parts = [part.partition("=") for part in _parts(text)]
    kept = tuple(Keep(name.strip(), _days(days.strip())) for name, _, days in parts)
    if len({keep.name for keep in kept}) < len(kept):
        raise ValueError("names a class twice; write each once")
    return kept


def _days(text: str) -> int | None:
    if text == FOREVER:
        return None
    if not re.fullmatch("[0-9]{1,9}", text) or not 1 <= int(text) <= MOST_DAYS:
        raise ValueError(f"write it like ping=400,fact=400,usage={FOREVER}, with 1 to {MOST_DAYS} days")
    return int(text)


def webhook_secrets(text: str) -> tuple[bytes, ...]:
    found = tuple(map(_webhook_secret, _parts(text)))
    if len(found) > _MOST_SECRETS:
        raise ValueError(f"has {len(found)} secrets; write at most {_MOST_SECRETS}")
    return found


def _webhook_secret(text: str) -> bytes:
    try:
        secret = base64.b64decode(text.removeprefix("whsec_"), validate=True)
    except ValueError:
        raise ValueError("write whsec_ and base64, as the shop shows it") from None
    if len(secret) not in _SECRET_BYTES:
        raise ValueError(
            f"is a secret of {len(secret)} bytes; write one of {_SECRET_BYTES[0]} to {_SECRET_BYTES[-1]}"
        )
    return secret


def log_keys(text: str) -> tuple[str, ...]:
    """Public keys of audit logs: NAME+ID+KEY, as "audit checkpoint" prints them."""
    return tuple(map(_log_key, _parts(text)))


def _log_key(text: str) -> str:
    match = re.fullmatch(r"([!-*,-~]{1,300})\+([0-9a-f]{8})\+([A-Za-z0-9+/]{44})", text)
    raw = base64.b64decode(match[3]) if match else b""
    if not match or raw[:1] != b"\1" or sha256(f"{match[1]}\n".encode() + raw).hexdigest()[:8] != match[2]:
        raise ValueError('write the key that "telemetry-server audit checkpoint" of the other server prints')
    return text


def _parts(text: str) -> list[str]:
    """The values between commas. Raises ValueError for commas only, which is not an empty list."""
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if text.strip() and not parts:
        raise ValueError("has commas and nothing between them; remove the setting, or write its values")
    return parts
