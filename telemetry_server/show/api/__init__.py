"""The API, one module per area."""
