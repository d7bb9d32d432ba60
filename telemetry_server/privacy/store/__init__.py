"""What the wing has in PostgreSQL."""
