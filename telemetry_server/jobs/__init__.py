"""Background jobs: `runner` runs the table of `app.py`; `clock` and `kept_days` guard what is deleted."""
