"""The SQL of this project: `sql/<area>.sql`, one named section a statement, loaded once.

A section is `-- name: the_name`, comment lines that say what it does, one statement.
"""

import re
from functools import cache
from importlib import resources

_SECTION = re.compile(r"^-- name: (\w+)\n", re.MULTILINE)


@cache
def load(area: str) -> dict[str, str]:
    """The statements of `sql/<area>.sql` by name."""
    text = resources.files("telemetry_server.store").joinpath("sql", f"{area}.sql").read_text("utf-8")
    _, *parts = _SECTION.split(text)
    return dict(zip(parts[::2], (part.strip() for part in parts[1::2]), strict=True))


def areas() -> list[str]:
    """Every area there is; the test that prepares each statement walks them."""
    folder = resources.files("telemetry_server.store").joinpath("sql")
    return sorted(
        entry.name.removesuffix(".sql") for entry in folder.iterdir() if entry.name.endswith(".sql")
    )
