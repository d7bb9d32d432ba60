"""Background jobs: `runner` runs the table of `app.py`, every other module is a job."""
