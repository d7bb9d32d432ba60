"""The commands of this environment, as people type them where the server runs. Imports nothing of ours."""

import shutil
import sys
from pathlib import Path


def command_of(name: str) -> str:
    """The command for a program: its path beside this Python, if it is not in PATH; else its name."""
    beside = Path(sys.executable).with_name(name)
    if not beside.exists() or shutil.which(name) == str(beside):
        return name
    return str(beside.relative_to(Path.cwd())) if beside.is_relative_to(Path.cwd()) else str(beside)
