"""Roles of PostgreSQL that may read our views v_* and nothing else: for Grafana, Metabase and psql."""

import hashlib
import hmac
import re
import secrets
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import asyncpg

from telemetry_server.errors import OperatorError
from telemetry_server.store.database import Connection
from telemetry_server.store.distribution import has_citus, is_distributed
from telemetry_server.store.queries import load

SQL = load(__name__)

VIEWS = (
    *("v_installations", "v_pings", "v_unknown_keys", "v_licenses", "v_changes"),
    *("v_installation_days", "v_fleet_days", "v_active_days", "v_feature_days", "v_cohort_weeks"),
)
"""The views of a reader: only ours, as custom views may show anything."""

_NAME = re.compile(r"(?!pg_|(?:public|none)$)[a-z][a-z0-9_]{0,62}")
_ITERATIONS = 4_096
"""PostgreSQL's own default; enough for a random password."""


class NotAReader(OperatorError):
    """There is a role of that name that is no reader."""


class MayNotMakeReaders(OperatorError):
    """The server's account may not make roles in this PostgreSQL."""


class ReadsMore(OperatorError):
    """All roles may read tables in this database, and so would a reader."""


class NoReadersOnACluster(OperatorError):
    """On a cluster, a reader would have to read the tables behind the views; use "export" or the API."""


@dataclass(frozen=True, slots=True)
class Reader:
    """A role, its password if it got a new one, and the views it reads."""

    name: str
    password: str | None
    views: tuple[str, ...]


async def make_reader(connection: Connection, name: str, *, new_password: bool = False) -> Reader:
    """Creates the role `name`, or lets an existing reader read our VIEWS, in one transaction.

    A new role gets a password; an existing one keeps its own unless `new_password`. Raises NotAReader,
    MayNotMakeReaders with the SQL to run as another role, ReadsMore and NoReadersOnACluster.
    """
    if await has_citus(connection) and await is_distributed(connection):
        raise NoReadersOnACluster
    there = await _is_there(connection, name)
    change = ("reader_password" if new_password else None) if there else "reader_made"
    password = secrets.token_urlsafe(24) if change else None

    async def statements(kept: str) -> list[str]:
        asked = await connection.fetch(SQL[change], name, kept) if change else []
        return [
            statement for [statement] in (*asked, *await connection.fetch(SQL["reader_rights"], name, VIEWS))
        ]

    by_hand = [f"{statement};" for statement in await statements("")]
    if change:
        by_hand.append(rf"\password {name}")  # psql prompts for it: it is in no file and in no log
    async with _with_advice(by_hand), connection.transaction():
        for statement in await statements(_kept(password or "")):
            await connection.execute(statement)
        return Reader(name, password, await _views(connection, name))


async def drop_reader(connection: Connection, name: str) -> None:
    """Drops the role, and what it owns. Raises NotAReader and MayNotMakeReaders.

    Its rights are revoked first, as far as the account may do so, in case the role cannot be dropped.
    """
    if not await _is_there(connection, name):
        raise NotAReader(f"There is no role {name}.")
    shut_out, dropped = [
        [statement for [statement] in await connection.fetch(SQL[query], name)]
        for query in ("reader_shut_out", "reader_dropped")
    ]
    async with _with_advice([f"{statement};" for statement in (*shut_out, *dropped)]):
        for statement in shut_out:
            await connection.execute(statement)
        async with connection.transaction():
            for statement in dropped:
                await connection.execute(statement)


async def _is_there(connection: Connection, name: str) -> bool:
    """Whether there is such a reader. Raises NotAReader for another role or a bad name."""
    if not _NAME.fullmatch(name):
        raise NotAReader(
            f"{name!r:.80} is no good name: take small letters, digits and _, a letter first; "
            "not pg_…, public or none."
        )
    reader = await connection.fetchval(SQL["reader_known"], name)
    if reader is False:
        raise NotAReader(f"There is a role {name} that this command did not make. Choose another name.")
    return reader is True


@asynccontextmanager
async def _with_advice(by_hand: list[str]) -> AsyncIterator[None]:
    """Turns missing rights into MayNotMakeReaders with the statements to run as another role."""
    try:
        yield
    except (asyncpg.InsufficientPrivilegeError, asyncpg.DependentObjectsStillExistError) as error:
        raise MayNotMakeReaders(
            f"PostgreSQL refuses: {error}. Run this in psql on this database, as a role that may:\n\n"
            + "\n".join(by_hand)
        ) from error


async def _views(connection: Connection, name: str) -> tuple[str, ...]:
    """The views that the role reads. Raises ReadsMore."""
    reads = await connection.fetch(SQL["reader_reads"], name, VIEWS)
    if more := [row["name"] for row in reads if not row["view"]]:
        raise ReadsMore(
            f"{name} could read or write {', '.join(more[:3])}{' …' if more[3:] else ''}, by a right that it "
            "did not get here, such as one of everybody. Take that away (REVOKE … FROM PUBLIC), try again."
        )
    return tuple(row["name"] for row in reads)


def _kept(password: str) -> str:
    """The stored form of a password (RFC 5803), so that the password is in no statement and in no log."""
    salt = secrets.token_bytes(16)
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, _ITERATIONS)
    client, server = (hmac.digest(salted, word, "sha256") for word in (b"Client Key", b"Server Key"))
    parts = (b64encode(part).decode() for part in (salt, hashlib.sha256(client).digest(), server))
    return "SCRAM-SHA-256${}:{}${}:{}".format(_ITERATIONS, *parts)
