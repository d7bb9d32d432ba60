"""Maintenance of the database: retention, addresses, health."""
