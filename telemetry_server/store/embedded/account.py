"""The operating system user that PostgreSQL runs as: never root."""

import os
import pwd
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from telemetry_server.store.embedded.errors import EmbeddedAccountUnusable


@dataclass(frozen=True, slots=True)
class Account:
    name: str
    uid: int
    gid: int

    @classmethod
    def of(cls, user: int | str) -> Self:
        """The account with this number or name. Raises EmbeddedAccountUnusable if there is none."""
        try:
            entry = pwd.getpwuid(user) if isinstance(user, int) else pwd.getpwnam(user)
        except KeyError:
            raise EmbeddedAccountUnusable(
                f"PostgreSQL needs an operating system user with a name, and {user!r} has none here. "
                "Add it to /etc/passwd, or run as an existing user."
            ) from None
        return cls(entry.pw_name, entry.pw_uid, entry.pw_gid)

    @property
    def is_other(self) -> bool:
        """Whether this process is root, and has to run PostgreSQL as this user."""
        return self.uid != os.geteuid()

    @property
    def identity(self) -> dict[str, Any]:
        """The arguments of `subprocess` that run a program as this user."""
        if not self.is_other:
            return {}
        groups = os.getgrouplist(self.name, self.gid)
        return {"user": self.uid, "group": self.gid, "extra_groups": groups}


def name_of(uid: int) -> str:
    """The user's name; #61234 of one without, as systemd's dynamic users are while they are not used."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"#{uid}"


def owner(path: Path) -> int:
    """The id of the owner of `path`; 0, that of root, also if it does not exist."""
    return path.stat().st_uid if path.exists() else 0
