"""Routes: one declaration registers a route, guards it and describes it in OpenAPI."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, TypeAlias

from telemetry_server.errors import TelemetryError
from telemetry_server.permissions import Permission


class Access(StrEnum):
    """The credentials that a route requires."""

    PUBLIC = "public"
    PRODUCT_KEY = "product_key"
    SIGNATURE = "signature"
    WEBHOOK = "webhook"  # signed by the shop
    PERSON = "person"  # a signed-in browser or an API token, with the route's permission


Shape: TypeAlias = type | str


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of the query or the path; `schema` is JSON Schema."""

    name: str
    text: str
    schema: Mapping[str, Any]
    where: str = "query"
    required: bool = False


@dataclass(frozen=True, slots=True)
class Route:
    """One method at one path.

    `body` and `answers` are types of msgspec, from which the OpenAPI document is made; or the name of a
    schema in show/schemas.py, or a media type (`text/html`). Pages (`page=True`) redirect people who are not
    signed in to the sign-in page; all others answer with a problem document. `step_up`: a browser must have
    given its credentials within the last ten minutes. `files`: its form may have a file, and takes
    `largest_form` bytes at most.

    `audited`: the kind of subject whose personal data it shows, such as "customer". Each GET is recorded in
    the audit log before its answer leaves, and so is each form that shows a page; a change is recorded in its
    own transaction.
    """

    method: str
    path: str
    handler: Callable[[Any], Awaitable[Any]]
    summary: str
    access: Access = Access.PERSON
    permission: Permission | None = None
    step_up: bool = False
    page: bool = False
    files: bool = False
    largest_form: int = 2**20
    audited: str | None = None
    parameters: tuple[Parameter, ...] = ()
    body: Shape | None = None
    answers: Mapping[int, Shape] = field(default_factory=dict)
    errors: tuple[type[TelemetryError], ...] = ()


HTML, FILE = "text/html", "application/octet-stream"


def get(
    path: str,
    handler: Callable[[Any], Awaitable[Any]],
    summary: str,
    answer: Shape,
    parameters: tuple[Parameter, ...] = (),
    **more: Any,
) -> Route:
    """A GET route that answers 200 with `answer`, a page if that is HTML; `more`: other fields of Route."""
    answers = {200: answer}
    return Route(
        "GET", path, handler, summary, page=answer == HTML, parameters=parameters, answers=answers, **more
    )


def plain_path(path: str) -> str:
    """The path without repeated slashes, and without one at its end."""
    return "/" + "/".join(filter(None, path.split("/")))
