"""Whether this software can use a database; if not, what to do.

Checked before anything is written to it. Messages name the statements to run.
"""

from typing import Any

from telemetry_server.errors import MigrationError
from telemetry_server.store.database import Connection
from telemetry_server.store.queries import load

SQL = load(__name__)

_OURS = {"version", "name", "checksum", "applied_at"}
_SHOWN = 5


class UnfitDatabase(MigrationError):
    """The database is not one that this software can use."""


async def refuse_unfit(connection: Connection, *, to_write: bool = True) -> None:
    """Raises UnfitDatabase; without `to_write`, not for what only prevents writing."""
    row = await connection.fetchrow(SQL["fitness"])
    problem = _of_another(row) or (to_write and _unwritable(row))
    if not problem and to_write and row["columns"] is None:  # a database with our tables is not refused
        problem = _misencoded(row)
    if problem:
        raise UnfitDatabase(problem)


async def encoding_problem(connection: Connection) -> str | None:
    """The problem with the encoding of a database made by a version that did not refuse it; None: none."""
    problem = _misencoded(await connection.fetchrow(SQL["fitness"]))
    return problem and f'{problem} "db export" and "db import" copy its contents.'


def _of_another(row: Any) -> str | None:
    """The problem where tables are of another software, or belong to another role."""
    tables, columns = row["tables"] or [], set(row["columns"] or ())
    if (columns and not columns >= _OURS) or (tables and not columns):
        shown = ", ".join(tables[:_SHOWN]) + (" …" if len(tables) > _SHOWN else "")
        return f"The database {row['database']!r} has tables of another software ({shown}). {_another(row)}"
    if row["owns"] is False:
        return (
            f"The tables belong to the role {row['owner']!r}, and TELEMETRY_DATABASE_URL connects as "
            f"{row['role']!r}. Connect as their owner."
        )
    return None


def _unwritable(row: Any) -> str | None:
    database, role = _quoted(row["database"]), _quoted(row["role"])
    if row["is_standby"]:
        return (
            "This PostgreSQL is a standby, which takes no writes. Name the primary in "
            "TELEMETRY_DATABASE_URL, or both: postgresql://…@one,two/telemetry?target_session_attrs=read-write"
        )
    if row["is_read_only"]:
        return (
            "Transactions are read-only here. Run as a superuser: ALTER DATABASE "
            f"{database} RESET default_transaction_read_only; and the same with ALTER ROLE {role}."
        )
    if row["schema"] is None or not row["may_create"]:
        schema = _quoted(row["schema"] or "public")
        return (
            f"The role {role} may not make tables in the schema {schema} of the database {database}. Run "
            f"there as its owner: GRANT USAGE, CREATE ON SCHEMA {schema} TO {role}; or make the role the "
            f"owner: ALTER DATABASE {database} OWNER TO {role};"
        )
    return None


def _misencoded(row: Any) -> str | None:
    if row["encoding"] == "UTF8":
        return None
    return (
        f"The encoding of the database {row['database']!r} is {row['encoding']}, and names of all scripts "
        f"need UTF8. {_another(row)}"
    )


def _another(row: Any) -> str:
    return (
        "Make one for this software, and name it in TELEMETRY_DATABASE_URL: "
        f"CREATE DATABASE telemetry OWNER {_quoted(row['role'])} ENCODING 'UTF8' TEMPLATE template0;"
    )


def _quoted(name: str) -> str:
    return '"{}"'.format(name.replace('"', '""'))
