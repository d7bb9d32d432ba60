"""Who looks at a page or asks the API."""

from dataclasses import dataclass
from hashlib import sha256

from aiohttp import web

from telemetry_server.model import Role


@dataclass(frozen=True, slots=True)
class Viewer:
    """Who looks. `session` is the cookie's secret; None for a program with a token."""

    role: Role
    session: str | None

    @property
    def csrf_token(self) -> str:
        """What a form of this session carries; tells nothing about the session itself."""
        return sha256(b"csrf" + (self.session or "").encode()).hexdigest()


VIEWER = web.RequestKey("viewer", Viewer)
