"""The license telemetry server. The folders are stages, in the order of the data:

    receive/      1  bytes come in: connections, limits, client addresses, signatures
    check/        2  is it a ping; is it a row of a license file; is it a filter. Pure
    enrich/       3  what more do we know: place, verdict, lifecycle
    store/        4  PostgreSQL: one room a subject, each .sql beside its module
    jobs/         5  what runs by itself: roll-ups, verdicts, retention
    show/         6  people look: pages, API, sign-in

and wings, which stand above the stages and beside each other:

    simulate/        a simulated fleet, for demonstrations and measurements

`app.py` wires them; `cli/` is the command `telemetry-server`; `fields.toml` lists what is collected.
"""
