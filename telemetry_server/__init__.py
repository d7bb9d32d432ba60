"""The license telemetry server. The folders are the way of the data:

    receive/      1  bytes come in: handlers, limits, whose address it is, signatures
    check/        2  is it a ping, and may we keep it?
    enrich/       3  what more do we know: place, verdict, life
    store/        4  PostgreSQL: writer, queries, migrations, the embedded server
    rollup/       5  rows become counts; retention
    investigate/  6  counts become suspicions
    show/         7  people look: pages, API, sign-in

    simulate/        beside rollup/: a fleet that does not exist, for demonstrations and measuring

`app.py` wires them; `cli/` is the command `telemetry-server`; `fields.toml` says what is collected.
"""
