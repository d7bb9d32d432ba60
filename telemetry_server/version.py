"""The version of this software. Imports nothing of ours."""

from functools import cache


@cache
def version() -> str:
    """The installed version, or "unreleased" in a source tree."""
    from importlib.metadata import PackageNotFoundError, version  # noqa: PLC0415  as slow as all of --help

    try:
        return version("license-telemetry-server")
    except PackageNotFoundError:
        return "unreleased"
