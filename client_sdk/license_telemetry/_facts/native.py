"""Facts on systems without /proc: sysctl on macOS and the BSDs, the Windows registry."""

from __future__ import annotations

import sys


def sysctl(name: str) -> bytes | None:
    """The raw value of a sysctl by name; None where there is no such name or no sysctl."""
    if sys.platform.startswith(("linux", "win")):
        return None
    import ctypes  # noqa: PLC0415 - costs 10 ms, and Linux has no use for it

    try:
        call = ctypes.CDLL(None).sysctlbyname
    except (OSError, AttributeError):
        return None
    value = ctypes.create_string_buffer(1024)
    size = ctypes.c_size_t(len(value))
    failed = call(name.encode(), value, ctypes.byref(size), None, ctypes.c_size_t(0))
    return None if failed else value.raw[: size.value]


def sysctl_text(name: str) -> str | None:
    value = sysctl(name)
    return value.partition(b"\0")[0].decode("utf-8", "replace").strip() or None if value else None


def sysctl_flag(name: str) -> bool:
    return any(sysctl(name) or b"")


def registry(key: str, value: str) -> str | None:
    """A string below HKEY_LOCAL_MACHINE, in the 64-bit view; None where there is none."""
    if sys.platform == "win32":
        import winreg  # noqa: PLC0415 - exists on Windows only

        try:
            access = winreg.KEY_READ | winreg.KEY_WOW64_64KEY
            with winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, key, 0, access) as opened:
                return str(winreg.QueryValueEx(opened, value)[0]).strip() or None
        except OSError:
            return None
    return None
