"""Exports, also as Parquet, and roles that read the views."""
