"""The license telemetry server. The folders are stages, in the order of the data:

    receive/      1  intake of bytes: connections, limits, client addresses, signatures
    check/        2  validation of pings, rows of license files and filters. Pure
    enrich/       3  additional facts: place, verdict, lifecycle
    store/        4  PostgreSQL: one room a subject, each .sql beside its module
    jobs/         5  background jobs: roll-ups, verdicts, retention
    show/         6  output: pages, API, sign-in

and wings, which stand above the stages and beside each other:

    simulate/        a simulated fleet, for demonstrations and measurements
    investigate/     leads to copies that should not exist, and their cases
    privacy/         the privacy policy, kept: notices, levels, the rights of those whom data is about
    support/         support access that customers grant, sealed, and its opening

`app.py` wires them; `cli/` is the command `telemetry-server`; `fields.toml` lists what is collected.
"""
