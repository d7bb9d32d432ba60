"""Lines of `authorized_keys` that let a support team in for one case, until a time, from its networks."""

from __future__ import annotations

import os
import subprocess
import time
from typing import List, Sequence

from ._private_files import SAFELY

WHO_SECONDS = 5.0


def line(
    key: str, grant_id: str, *, case: str, networks: Sequence[str], until: float, authority: bool = False
) -> str:
    """The line for a public key; that of an `authority` lets in whom it certifies for this case.

    `until`, in seconds since 1970, is written in the time zone of this machine, in which sshd reads it.
    """
    options = ["restrict", "pty"]
    if authority:
        options += ["cert-authority", f'principals="case-{case}"']
    options.append(time.strftime('expiry-time="%Y%m%d%H%M%S"', time.localtime(until)))
    if networks:
        options.append(f'from="{",".join(networks)}"')
    algorithm, blob = key.split()[:2]
    return f"{','.join(options)} {algorithm} {blob} {_comment(grant_id)}"


def add(path: str, added: str) -> None:
    """Adds the line to the file, and makes the file private if it is new. Raises OSError."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | SAFELY, 0o600)
    with os.fdopen(descriptor, "r+b") as file:
        before = file.read()
        file.write((b"" if not before or before.endswith(b"\n") else b"\n") + added.encode() + b"\n")


def remove(path: str, grant_id: str) -> None:
    """Removes the lines of a grant. Raises OSError; a file that is gone has none."""
    try:
        descriptor = os.open(path, os.O_RDWR | SAFELY)
    except FileNotFoundError:
        return
    with os.fdopen(descriptor, "r+b") as file:
        lines = file.read().splitlines(keepends=True)
        kept = b"".join(each for each in lines if not each.rstrip().endswith(_comment(grant_id).encode()))
        file.seek(0)
        file.write(kept)
        file.truncate()


def open_sessions(user: object) -> List[str]:
    """The open sign-ins of a user as `who` shows them; empty also where it shows none."""
    try:
        shown = subprocess.run(
            ["who", "-u"],  # noqa: S607  as installed
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=WHO_SECONDS,
            check=False,
        ).stdout.decode("utf-8", "replace")
    except (OSError, subprocess.SubprocessError):
        return []
    return [each for each in shown.splitlines() if each.split()[:1] == [user]]


def _comment(grant_id: str) -> str:
    return f"license-telemetry-grant-{grant_id}"
