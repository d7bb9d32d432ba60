"""The OpenID providers that people sign in with: a TOML file, named by TELEMETRY_SIGN_IN_PROVIDERS.

    [company]                                       # the name in addresses
    title = "Company account"                       # on the button
    issuer = "https://login.example.com/realms/company"
    client_id = "license-telemetry"
    client_secret_file = "/etc/license-telemetry/company-secret"

    [[company.roles]]                               # the first one that fits holds
    group = "license-admins"
    role = "admin"

All problems are reported together. Secrets are in files of their own, and in no message.
"""

import re
import stat
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import msgspec

from telemetry_server.errors import SettingsError
from telemetry_server.model import Role
from telemetry_server.text import decoded

_MOST = 10
_LARGEST_FILE = 65_536
_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_NAME = re.compile("[a-z][a-z0-9-]{0,31}")
_LOOPBACK = {"127.0.0.1", "::1", "localhost"}


class RoleOfGroup(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the members of a group are here; without `group`, everyone. `products` are slugs, missing: all."""

    role: Role
    group: str | None = None
    products: tuple[str, ...] | None = None


class Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A provider as the file has it."""

    title: str
    issuer: str
    client_id: str
    client_secret_file: str | None = None
    scopes: tuple[str, ...] = ("openid", "email", "profile")
    groups_claim: str = "groups"
    required_claims: dict[str, str] = {}
    roles: tuple[RoleOfGroup, ...] = ()
    new_people: bool = False
    unverified_email: bool = False
    userinfo: bool = False
    second_factor: bool = False
    without_auth_time: bool = False
    prompt_again: Literal["login", "select_account", "consent"] = "login"


@dataclass(frozen=True, slots=True)
class Provider:
    """A provider; with `roles`, it decides about the role of whom it signs in, at each sign-in."""

    name: str
    entry: Entry
    client_secret: str | None = field(default=None, repr=False)

    @property
    def title(self) -> str:
        return self.entry.title

    @property
    def issuer(self) -> str:
        return self.entry.issuer

    def rule_for(self, groups: frozenset[str]) -> RoleOfGroup | None:
        """The first rule that fits; None: no role."""
        return next((rule for rule in self.entry.roles if rule.group is None or rule.group in groups), None)


def read_providers(path: str) -> tuple[Provider, ...]:
    """The providers in the file, none without one. Raises SettingsError naming all problems."""
    if not path:
        return ()
    found, problems = [], []
    try:
        document = tomllib.loads(decoded(_read(Path(path))))
    except (OSError, ValueError) as error:  # also not TOML, and not UTF-8
        raise SettingsError(f"TELEMETRY_SIGN_IN_PROVIDERS={path}: {_in_words(error)}") from None
    if len(document) > _MOST:
        problems.append(f"has {len(document)} providers; write at most {_MOST}")
    for name, table in document.items():
        try:
            found.append(_provider(name, table))
        except (ValueError, msgspec.ValidationError) as error:
            problems.append(f"[{name[:80]}]: {error}")
    if len({each.issuer for each in found}) < len(found):
        problems.append("names an issuer twice: accounts are known by their issuer")
    if problems:
        lines = "\n".join(f"  {problem}" for problem in problems)
        raise SettingsError(f"The sign-in providers in {path} are wrong:\n{lines}")
    return tuple(found)


def is_safe(url: str) -> bool:
    """Whether no one on the way can read or change what is at this address: https, or this machine."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return bool(parts.hostname) and (
        parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOOPBACK)
    )


def _provider(name: str, table: Any) -> Provider:
    """Raises ValueError."""
    if not _NAME.fullmatch(name):
        raise ValueError("is no name; write small letters, digits and hyphens, such as [company]")
    entry = msgspec.convert(table, Entry)
    if not is_safe(entry.issuer) or urlsplit(entry.issuer).query or urlsplit(entry.issuer).fragment:
        raise ValueError("issuer: write the https:// address that the provider calls its issuer")
    if not entry.title.strip() or not entry.client_id.strip():
        raise ValueError("title and client_id: write both")
    if "openid" not in entry.scopes:
        raise ValueError('scopes: "openid" is missing')
    if entry.new_people and not entry.roles:
        raise ValueError("new_people: needs roles, which say what a new person is")
    secret = None if entry.client_secret_file is None else _secret(entry.client_secret_file)
    return Provider(name, entry, secret)


def _secret(path: str) -> str:
    """Raises ValueError."""
    try:
        if Path(path).stat().st_mode & _OTHERS:
            raise ValueError(f"client_secret_file: other users may read it; run: chmod 600 {path}")
        secret = decoded(_read(Path(path))).strip()
    except OSError as error:
        raise ValueError(f"client_secret_file: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise ValueError("client_secret_file: is not text") from None
    if not secret or not secret.isprintable():
        raise ValueError("client_secret_file: write the secret into it, on one line")
    return secret


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        content = file.read(_LARGEST_FILE + 1)
    if len(content) > _LARGEST_FILE:
        raise ValueError(f"has more than {_LARGEST_FILE} bytes")
    return content


def _in_words(error: Exception) -> str:
    if isinstance(error, UnicodeDecodeError):
        return "the file is not text; save it as UTF-8"
    if isinstance(error, OSError):
        return f"the file cannot be read ({error.strerror})"
    return f"the file is not TOML: {error}"
