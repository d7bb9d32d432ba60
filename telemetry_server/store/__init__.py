"""PostgreSQL. The modules here serve all rooms; a room imports only rooms below it:

upkeep/               retention, addresses, health
counts/ reports/      counts of the fleet; exports
fleet/                installations, their verdicts and lifecycle
ingest/               the group writer and the projection
registry/ access/     products, customers, licenses; people, tokens, sessions
embedded/             the embedded PostgreSQL
"""
