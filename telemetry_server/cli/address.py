"""The address at which the server of a data directory listens: "serve" keeps it for the other commands."""

import os
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from telemetry_server.cli.invocation import Invocation
from telemetry_server.settings import Settings

_NAME = "address"
_LONGEST = 300


def keep(data: Path, host: str, port: int) -> None:
    """Writes it, without waiting for the disk; where that fails, the commands need --listen."""
    fresh = data / f".{_NAME}.new"
    with suppress(OSError):
        fresh.write_text(f"{host}:{port}\n", "ascii")
        fresh.replace(data / _NAME)


def settings_of_server(invocation: Invocation, listen: str | None = None) -> Settings:
    """The settings, with the address of the server unless `listen` or the environment says one."""
    settings = invocation.settings(listen=listen)
    if listen or os.environ.get("TELEMETRY_LISTEN"):
        return settings
    with suppress(OSError, UnicodeDecodeError), (settings.data / _NAME).open("rb") as file:
        kept = file.read(_LONGEST).decode("ascii").strip()
        return replace(settings, listen=kept or settings.listen)
    return settings
