"""Where the checkout is, what day it is, and who PostgreSQL runs as: for tests in every room."""

import os
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).parent.parent
TODAY = datetime.now(UTC).date()


def as_database_user():
    """How to run PostgreSQL's programs, which refuse to run as root."""
    return {"user": "nobody", "group": "nogroup", "extra_groups": []} if os.geteuid() == 0 else {}


def files_in(directory):
    """What is in a directory of GeoIP databases, but for what is remembered of them."""
    return sorted(set(os.listdir(directory)) - {".checked.json"})
