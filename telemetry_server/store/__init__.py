"""PostgreSQL. The modules here are what every room stands on; a room imports only rooms below it:

upkeep/               retention, addresses, health
counts/ reports/      the fleet in numbers; exports
fleet/                installations, their verdicts and lifecycle
ingest/               the group writer and what it notes
registry/ access/     products, customers, licenses; credentials
embedded/             a PostgreSQL of our own
"""
