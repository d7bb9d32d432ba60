"""Who looks at a page or asks the API."""

from dataclasses import dataclass
from hashlib import sha256
from uuid import UUID

from aiohttp import web

from telemetry_server.model import Role


@dataclass(frozen=True, slots=True)
class Viewer:
    """Who looks: a browser with the secret of its session, or a program with the label of its token."""

    role: Role
    session: str | None
    label: str = "browser"
    token_id: UUID | None = None

    @property
    def actor(self) -> str:
        """Who it was, for the history of the registry."""
        return f"api:{self.label}"

    @property
    def who(self) -> str:
        """Who it is, for the log: the token's id, or how the digest of the session begins."""
        if self.token_id is not None:
            return f"token {self.token_id}"
        return f"browser {sha256((self.session or '').encode()).hexdigest()[:12]}"

    @property
    def csrf_token(self) -> str:
        """What a form of this session carries; tells nothing about the session itself."""
        return sha256(b"csrf" + (self.session or "").encode()).hexdigest()


VIEWER = web.RequestKey("viewer", Viewer)
