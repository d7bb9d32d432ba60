"""What people see: everything but the rows about restricted subjects.

For who may not see them, a connection finds views in front of the tables, by its search_path: each has the
rows of its table or view but these. All statements for people read through them, without a word of it. The
guard says for whom, with `hiding`; pools for pages and exports ask here. Jobs, and what is received, go on
with the tables: restricted installations are counted.

The schema of the views exists while a subject is restricted. Each start makes it again where it is missing
or of another version; its comment has the digest of `SHOWN`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from hashlib import sha256

import asyncpg

from telemetry_server.errors import OperatorError, Unavailable
from telemetry_server.store.database import Connection
from telemetry_server.store.queries import load
from telemetry_server.store.whole_words import named

SQL = load(__name__)

SCHEMA = "telemetry_visible"

_INSTALLATION = (
    "NOT EXISTS (SELECT FROM {schema}.restricted_installations AS r"
    " WHERE r.installation_id = x.installation_id)"
)
_CUSTOMER = (
    "NOT EXISTS (SELECT FROM {schema}.restrictions AS r"
    " WHERE r.ended_at IS NULL AND r.subject_kind = 'customer' AND r.subject = x.customer_id)"
)
_LICENSES = (
    "SELECT l.license_id FROM {schema}.licenses AS l JOIN {schema}.restrictions AS r"
    " ON r.subject = l.customer_id AND r.subject_kind = 'customer' AND r.ended_at IS NULL"
)
_NAMED = (
    "NOT EXISTS (SELECT FROM {schema}.restrictions AS r CROSS JOIN unnest(r.hides) AS h (word)"
    " WHERE r.ended_at IS NULL AND "
)

SHOWN = {
    **dict.fromkeys(
        (
            *("installations", "installation_facts", "states", "pings", "installation_days", "changes"),
            *("forks", "lineage", "quarantine", "followed_installations", "support_grants", "case_rows"),
            *("v_installations", "v_pings", "v_installation_days", "v_changes"),
        ),
        _INSTALLATION,
    ),
    **dict.fromkeys(("customers", "customer_notes", "licenses"), _CUSTOMER),
    "v_licenses": "x.license_id NOT IN (" + _LICENSES + ")",
    "registry_changes": _NAMED + "h.word = x.entity_id)",
    "audit_entries": _NAMED + f"(h.word = x.subject_id OR {named('lower(x.details::text)', 'h.word')}))",
    "clear_up_items": _NAMED + "h.word IN (x.subject, x.license_id::text))",
    "findings": _NAMED + "(h.word = x.subject_id OR x.evidence -> 'installations' ? h.word))",
    "cases": _NAMED + "(h.word = x.subject_id OR EXISTS (SELECT FROM {schema}.case_findings AS m"
    " JOIN {schema}.findings AS f ON f.finding_id = m.finding_id"
    " WHERE m.case_id = x.case_id AND f.evidence -> 'installations' ? h.word)))",
    "saved_views": _NAMED + f"{named('lower(x.address)', 'h.word')})",
    "chart_notes": _NAMED + f"{named('lower(x.note)', 'h.word')})",
}
"""Which rows `x` of a table or view are shown."""
_DIGEST = sha256(repr(sorted(SHOWN.items())).encode()).hexdigest()

_HIDING: ContextVar[bool] = ContextVar("hiding", default=False)


class MayNotHide(OperatorError):
    """This server may not make a schema. As the owner of the database: GRANT CREATE ON DATABASE … TO …"""


class Hidden(OperatorError):
    """There is a row with this name or key already, which you may not see. Ask the privacy officer."""

    status, code = 409, "hidden"


@contextmanager
def refusing_hidden() -> Iterator[None]:
    """A row that was not found, as it is hidden, refuses another one like it. Raises Hidden."""
    try:
        yield
    except asyncpg.UniqueViolationError as error:
        if is_hiding():
            raise Hidden from error
        raise


@contextmanager
def hiding(hide: bool = True) -> Iterator[None]:
    """Within the block, connections of `show_what_may_be_seen` hide restricted subjects."""
    token = _HIDING.set(hide)
    try:
        yield
    finally:
        _HIDING.reset(token)


def is_hiding() -> bool:
    return _HIDING.get()


async def show_what_may_be_seen(connection: Connection) -> None:
    """Prepares a connection for who asks; a pool resets it afterwards. Raises Unavailable."""
    if not _HIDING.get():
        return
    found = await connection.fetchrow(SQL["in_force"], SCHEMA)
    if not found["restricted"]:
        return
    if not found["ready"]:
        raise Unavailable("The database is being brought to another version; try again in a moment.")
    await connection.execute(SQL["hide"], SCHEMA)


async def views_are_wanted(connection: Connection) -> bool:
    """Whether there are views, or a restriction is in force. The database may be of any version, or empty."""
    known = await connection.fetchrow(SQL["known"], SCHEMA)
    if known["ready"] or not known["may_restrict"]:
        return bool(known["ready"])
    return bool(await connection.fetchval(SQL["any_restricted"]))


async def renew_views(connection: Connection) -> None:
    """Makes the views where they are missing or those of another version. Raises MayNotHide."""
    if (await connection.fetchrow(SQL["known"], SCHEMA))["digest"] != _DIGEST:
        await make_views(connection)


async def make_views(connection: Connection) -> None:
    """Makes the views anew. Raises MayNotHide."""
    try:
        async with connection.transaction():
            await remove_views(connection)
            await connection.execute(f"CREATE SCHEMA {SCHEMA}")
            await connection.execute(f"COMMENT ON SCHEMA {SCHEMA} IS '{_DIGEST}'")
            for row in await connection.fetch(SQL["tables"], list(SHOWN)):
                shown = SHOWN[row["name"]].replace("{schema}", row["schema"])
                await connection.execute(
                    f"CREATE VIEW {SCHEMA}.{row['name']} AS SELECT x.*"  # noqa: S608  names of ours
                    f" FROM {row['schema']}.{row['name']} AS x WHERE {shown}"
                )
    except asyncpg.InsufficientPrivilegeError:
        raise MayNotHide from None


async def remove_views(connection: Connection) -> None:
    """Removes them, before migrations change the tables."""
    await connection.execute(f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE")
