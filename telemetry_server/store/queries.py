"""The SQL of a module: the file `<module>.sql` beside it, one named section per statement.

A section is `-- name: the_name`, comment lines that say what it does, and one statement. A slot has a valid
placeholder: TRUE /*:filter*/.
"""

import re
from functools import cache
from importlib import resources
from pathlib import Path

_SECTION = re.compile(r"^-- name: (\w+)\n", re.MULTILINE)
_SLOT = re.compile(r"\S+ /\*:(\w+)\*/")


@cache
def load(module: str) -> dict[str, str]:
    """The statements of a module by name; `module` is its `__name__`. Raises FileNotFoundError."""
    package, _, stem = module.rpartition(".")
    text = resources.files(package).joinpath(f"{stem}.sql").read_text("utf-8")
    _, *parts = _SECTION.split(text)
    return dict(zip(parts[::2], (part.strip() for part in parts[1::2]), strict=True))


def fill(statement: str, **slots: str) -> str:
    """The statement with its slots replaced by SQL."""
    return _SLOT.sub(lambda found: slots[found[1]], statement)


def modules() -> list[str]:
    """The names of all modules with statements, for the test that prepares each of them."""
    root = Path(str(resources.files("telemetry_server")))
    beside = [file.with_suffix("") for file in root.rglob("*.sql") if file.with_suffix(".py").is_file()]
    return sorted(".".join(module.relative_to(root.parent).parts) for module in beside)
