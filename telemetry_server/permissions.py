"""The permissions of each role: the one table that the guard reads and docs/accounts.md shows."""

from collections.abc import Collection, Mapping
from enum import StrEnum
from typing import Self, TypeAlias

from telemetry_server.model import Role


class Permission(StrEnum):
    """What a route requires; also a scope of a token. `meaning` is its line in the documents."""

    meaning: str

    def __new__(cls, value: str, meaning: str = "") -> Self:
        member = str.__new__(cls, value)
        member._value_ = value
        member.meaning = meaning
        return member

    ACCOUNT = "account", "the own account: name, password, second factor, sessions, tokens"
    NUMBERS = "numbers", "overview, counts and products"
    INSTALLATIONS = "installations", "installations, their pings and changes; addresses shortened"
    ADDRESSES = "addresses", "full addresses and hostnames"
    EXPORT = "export", "exports of the fleet; addresses in them only with `addresses`"
    LICENSES = "licenses", "licenses and their history"
    LICENSES_CHANGE = "licenses.change", "adding, changing and importing licenses"
    CUSTOMERS = "customers", "customers, and the export of licenses with their customers"
    CUSTOMERS_CHANGE = "customers.change", "adding and changing customers"
    CLEAR_UP = "clear_up", "state, owner and explanation of what is to be cleared up"
    CASES = "cases", "cases of the investigations, their rows, and the export of their evidence"
    VIEWS = "views", "saving views, and notes on charts"
    SHARE = "share", "links that show numbers to people without an account"
    SUPPORT = "support", "support cases, and opening the access that customers grant"
    SETTINGS = "settings", "the settings of the server: schedules, releases, editions, running a job"
    PEOPLE = "people", "people, invitations, roles and service tokens"
    AUDIT = "audit", "the audit log"
    WITNESS = "witness", "sending checkpoints of another server's audit log, which this server keeps"
    PRIVACY = "privacy", "notices, levels, and the requests of those whom data is about"


Permissions: TypeAlias = frozenset[Permission]

_VIEWER = frozenset({Permission.ACCOUNT, Permission.NUMBERS, Permission.INSTALLATIONS})
_KEEPING = frozenset({Permission.VIEWS, Permission.SHARE})
_ANALYST = _VIEWER | _KEEPING | {Permission.LICENSES, Permission.EXPORT, Permission.CLEAR_UP}

BY_ROLE: Mapping[Role, Permissions] = {
    Role.VIEWER: _VIEWER,
    Role.ANALYST: _ANALYST,
    Role.INVESTIGATOR: _ANALYST
    | {Permission.ADDRESSES, Permission.CASES, Permission.CUSTOMERS, Permission.CUSTOMERS_CHANGE},
    Role.SUPPORT: _VIEWER | {Permission.SUPPORT},
    Role.PRIVACY_OFFICER: _VIEWER
    | {
        Permission.ADDRESSES,
        Permission.LICENSES,
        Permission.CUSTOMERS,
        Permission.AUDIT,
        Permission.PRIVACY,
    },
    Role.ADMIN: _VIEWER
    | _KEEPING
    | {
        Permission.LICENSES,
        Permission.LICENSES_CHANGE,
        Permission.CLEAR_UP,
        Permission.SETTINGS,
        Permission.PEOPLE,
        Permission.AUDIT,
        Permission.WITNESS,
    },
}
"""The permissions of people, and of tokens with the other roles."""

FROM_THE_SHELL: Mapping[Role, Permissions] = {
    **BY_ROLE,
    Role.VIEWER: (_ANALYST - _KEEPING - {Permission.CLEAR_UP}) | {Permission.ADDRESSES},
    Role.ADMIN: frozenset(Permission),
}
"""Tokens and links of the command line: "viewer" and "admin" keep the rights they had before accounts.

Who has the shell can read the database anyway.
"""


IN_A_BROWSER_ONLY = _KEEPING | {Permission.ACCOUNT, Permission.PEOPLE, Permission.SUPPORT}
"""What no token may do: a stolen one must not make accounts, tokens or links, or open support access."""


OF_ALL_PRODUCTS = frozenset(
    {
        Permission.CASES,
        Permission.CUSTOMERS,
        Permission.CUSTOMERS_CHANGE,
        Permission.PEOPLE,
        Permission.SUPPORT,
        Permission.AUDIT,
        Permission.WITNESS,
        Permission.PRIVACY,
    }
)
"""What no one has who is limited to products: customers, people, cases and audit logs belong to none."""


def permissions_of(
    role: Role, *, person: bool, scopes: Collection[str] | None = None, limited: bool = False
) -> Permissions:
    """The permissions of a credential; `scopes` narrow those of its role, and unknown ones give nothing."""
    held = (BY_ROLE if person else FROM_THE_SHELL)[role] - (OF_ALL_PRODUCTS if limited else frozenset())
    return held if scopes is None else frozenset(one for one in held if one in scopes)
