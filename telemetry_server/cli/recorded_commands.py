"""Entries of the audit log for commands: which one, by whom, about what and why.

Commands that change the registry (customers, licenses, editions, releases) or accounts are not in this list:
the store records each change in its own transaction.
"""

import os
import pwd
from contextlib import suppress
from typing import Any

import click

from telemetry_server.store.access import audit
from telemetry_server.store.database import Connection, operator_connection
from telemetry_server.store.migrate import pending_migrations

ACTIONS = {
    "audit list": "audit.list",
    "audit prove": "audit.view",
    "audit witness-restored": "witness.restore",
    "customer history": "customer.view",
    "customer list": "customer.list",
    "customer show": "customer.view",
    "db export": "database.export",
    "db psql": "database.psql",
    "db reader": "database.reader",
    "enroll": "installation.enroll",
    "export": "installation.export",
    "investigate cases": "case.list",
    "investigate try": "finding.list",
    "investigate pivot": "pivot.list",
    "keyring abandon": "keyring.abandon",
    "keyring rotate": "keyring.rotate",
    "license export": "license.export",
    "license history": "license.view",
    "license list": "license.list",
    "license show": "license.view",
    "privacy breach": "breach.export",
    "privacy disclosures list": "disclosure.list",
    "privacy hold list": "hold.list",
    "privacy levels": "privacy.list",
    "privacy request letter": "request.view",
    "privacy request list": "request.list",
    "privacy request show": "request.view",
    "privacy restrictions": "restriction.list",
    "privacy verify": "privacy.view",
    "product add": "product.add",
    "product change": "product.change",
    "product rotate-key": "product.rotate_key",
    "sign-in": "session.link",
    "support cases": "support_case.list",
    "support keys destroy": "support_key.destroy",
    "support keys make": "support_key.make",
    "token create": "token.create",
    "token list": "token.list",
    "token revoke": "token.revoke",
    "user list": "person.list",
}
"""The action of each command that shows personal data, gives access, or changes more than the registry."""

_NOT_RECORDED = {"key", "reason", "actor", "as_json"}
"""Parameters that stay out of the details: secrets, and what has a column."""


def user_of_process() -> str:
    """The user of this process: "cli:root"."""
    user = str(os.getuid())
    with suppress(KeyError):
        user = pwd.getpwuid(os.getuid()).pw_name
    return f"cli:{user}"


def operating_user() -> str:
    """The user of this process, and who became that user with sudo: "cli:root (sudo ann)"."""
    behind = os.environ.get("SUDO_USER")
    return f"{user_of_process()} (sudo {behind})" if behind else user_of_process()


def command_entry() -> audit.Entry | None:
    """The entry for the command that runs; None if it is not in the list."""
    context = click.get_current_context(silent=True)
    if context is None or (path := _path(context)) not in ACTIONS:
        return None
    given = {
        name: value
        for name, value in context.params.items()
        if value is not None and value is not False and value not in ("", ())
    }
    kind = ACTIONS[path].partition(".")[0]
    return audit.Entry(
        actor=operating_user(),
        action=ACTIONS[path],
        subject_kind=kind,
        subject_id=_subject(kind, given),
        product=given.get("product") or (given.get("slug") if kind == "product" else None),
        reason=given.get("reason"),
        details={
            "command": path,
            "options": {name: _shown(value) for name, value in given.items() if name not in _NOT_RECORDED},
        },
    )


async def record_command(dsn: str) -> None:
    """Records the command in a transaction of its own, unless the database is of another version."""
    entry = command_entry()
    async with operator_connection(dsn) as connection:
        if entry is not None and not await pending_migrations(connection):
            await audit.record(connection, entry)


async def record_with(connection: Connection) -> None:
    """Records the command in the transaction of the connection."""
    if (entry := command_entry()) is not None:
        await audit.record(connection, entry)


def _path(context: click.Context) -> str:
    """The words of the command after the name of the program."""
    above = context.parent
    return "" if above is None else f"{_path(above)} {context.info_name}".lstrip()


def _subject(kind: str, given: dict[str, Any]) -> str | None:
    names = (f"{kind}_id", "slug", "entry", "origin")
    return next((str(given[name]) for name in names if name in given), None)


def _shown(value: Any) -> Any:
    return value if isinstance(value, bool | int | list | tuple) else str(value)
