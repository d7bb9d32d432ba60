"""The sender of a request for a page or to the API."""

from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from uuid import UUID

from aiohttp import web

from telemetry_server.model import Role
from telemetry_server.permissions import Permission, Permissions
from telemetry_server.store.access.credentials import SignedIn


@dataclass(frozen=True, slots=True)
class Viewer:
    """A browser with the secret of its session, or a program with the label of its token.

    `person` is None for a one-time link and for the token of a service. `products` are the slugs of those it
    may see, None: all.
    """

    role: Role
    session: str | None
    label: str = "browser"
    token_id: UUID | None = None
    permissions: Permissions = frozenset()
    products: frozenset[str] | None = None
    person: SignedIn | None = None
    authenticated_at: datetime | None = None
    methods: tuple[str, ...] = ()

    def may(self, permission: str) -> bool:
        """Whether it has the permission; templates give its name."""
        return Permission(permission) in self.permissions

    def sees(self, product: str) -> bool:
        """Whether it may see the product of this slug."""
        return self.products is None or product in self.products

    @property
    def actor(self) -> str:
        """The name for the history of the registry."""
        return f"person:{self.person.email}" if self.person else f"api:{self.label}"

    @property
    def who(self) -> str:
        """The name for the log: the id of the token or the person, or the start of the session's digest."""
        if self.token_id is not None:
            return f"token {self.token_id}"
        if self.person is not None:
            return f"person {self.person.person_id}"
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

SHARED = web.RequestKey("shared", str)
"""The path before those of pages, if a share link shows them."""
