"""The sender of a request for a page or to the API."""

from dataclasses import dataclass
from hashlib import sha256
from uuid import UUID

from aiohttp import web

from telemetry_server.model import Role


@dataclass(frozen=True, slots=True)
class Viewer:
    """A browser with the secret of its session, or a program with the label of its token."""

    role: Role
    session: str | None
    label: str = "browser"
    token_id: UUID | None = None

    @property
    def actor(self) -> str:
        """The name for the history of the registry."""
        return f"api:{self.label}"

    @property
    def who(self) -> str:
        """The name for the log: the token's id, or the start of the session's digest."""
        if self.token_id is not None:
            return f"token {self.token_id}"
        return f"browser {sha256((self.session or '').encode()).hexdigest()[:12]}"

    @property
    def recorded_as(self) -> str:
        """The name for the audit log."""
        return f"{self.actor} ({self.who})"

    @property
    def csrf_token(self) -> str:
        """The CSRF token of this session's forms; a digest, so it does not reveal the session."""
        return sha256(b"csrf" + (self.session or "").encode()).hexdigest()


VIEWER = web.RequestKey("viewer", Viewer)
