"""Where the checkout is, what day it is, and who PostgreSQL runs as: for tests in every room."""

import os
import shutil
import tempfile
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).parent.parent
TODAY = datetime.now(UTC).date()


MEMORY, MEMORY_BYTES = Path("/dev/shm"), 3 << 30


def quick_directory():
    """A new directory that PostgreSQL's user can enter, with a path short enough for its socket.

    In memory where that has room: a test's database is 600 files. Tests of what a disk keeps mount their own.
    """
    in_memory = MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > MEMORY_BYTES
    directory = Path(tempfile.mkdtemp(prefix="tlm-", dir=MEMORY if in_memory else "/tmp"))
    directory.chmod(0o755)
    return directory


def as_database_user():
    """How to run PostgreSQL's programs, which refuse to run as root."""
    return {"user": "nobody", "group": "nogroup", "extra_groups": []} if os.geteuid() == 0 else {}


def files_in(directory):
    """What is in a directory of GeoIP databases, but for what is remembered of them."""
    return sorted(set(os.listdir(directory)) - {".checked.json"})
